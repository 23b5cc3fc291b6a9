//! The Socket.IO side of one connection: its packets in, and its deadlines.

use crate::io::IoInner;
use crate::limits::ATTACHMENT_TIMEOUT;
use crate::link::{Held, Kept, Link, Route};
use crate::reason::DisconnectReason;
use crate::socket::Socket;
use crate::way_in;
use roomcast_engine::{CloseReason, Connection, SessionHandler};
use roomcast_protocol::{Assembled, DecodeError, Decoder, Event, Received};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// The receiving side: only the task that reads touches it.
pub(crate) struct Client {
    io: Arc<IoInner>,
    link: Arc<Link>,
    decoder: Decoder,
    /// Until then a namespace must have been joined, and once one was, the attachments that are awaited must have come.
    due: Option<Instant>,
    /// `due` is for attachments.
    joined: bool,
}

impl Client {
    pub(crate) fn new(io: Arc<IoInner>, connection: Arc<Connection>) -> Self {
        io.is_served();
        let due = Some(Instant::now() + io.config.connect_timeout);
        let decoder = Decoder::new(io.config.decoder);
        let link = Link::new(connection, io.config.max_handlers);
        Self { io, link, decoder, due, joined: false }
    }

    fn decoded(io: &Arc<IoInner>, link: &Arc<Link>, decoded: Result<Option<Received<'_>>, DecodeError>) {
        match decoded {
            Ok(None) => {}
            Ok(Some(packet)) => receive(io, link, packet),
            Err(error) => {
                metrics::counter!("roomcast_packets_malformed_total").increment(1);
                tracing::debug!(%error, "a client sent what is no packet; its connection is closed");
                link.connection.close_at_fault(CloseReason::ForcedClose);
            }
        }
    }

    fn await_attachments(&mut self) {
        if !self.joined {
            if !self.has_joined() {
                return;
            }
            (self.joined, self.due) = (true, None);
        }
        self.due = match (self.decoder.is_awaiting(), self.due) {
            (false, _) => None,
            (true, Some(by)) => Some(by),
            (true, None) => Some(Instant::now() + ATTACHMENT_TIMEOUT),
        };
    }

    /// Whether a namespace was joined once.
    fn has_joined(&self) -> bool {
        self.joined || self.link.has_joined()
    }
}

impl SessionHandler for Client {
    fn text(&mut self, text: &str) {
        Self::decoded(&self.io, &self.link, self.decoder.text(text));
        self.await_attachments();
    }

    fn binary(&mut self, bytes: &[u8]) {
        let assembled = self.decoder.binary(bytes);
        let received = assembled.as_ref().map(|packet| packet.as_ref().map(Assembled::received));
        Self::decoded(&self.io, &self.link, received.map_err(|error| *error));
        self.await_attachments();
    }

    fn closed(&mut self, reason: CloseReason) {
        let sockets = self.link.close(reason);
        if reason == CloseReason::SlowConsumer {
            let waits = self.link.connection.outstanding();
            for socket in &sockets {
                let (id, namespace) = (socket.id(), socket.namespace().name());
                tracing::info!(
                    socket = %id,
                    namespace,
                    packets = waits.packets,
                    bytes = waits.bytes,
                    "a client that does not read is disconnected; send it less, or await `socket.ready()` before more"
                );
            }
        }
        for socket in sockets {
            socket.finish(DisconnectReason::Connection(reason));
        }
    }

    fn is_established_by_a_message(&self) -> bool {
        // By its first namespace: see `welcome`.
        false
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.link.poll_ready(cx)
    }

    fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.decoder.is_awaiting() || !self.has_joined())
    }

    fn tick(&mut self, now: Instant) {
        if self.deadline().is_none_or(|due| due > now) {
            return;
        }
        let missing = if self.has_joined() { "the attachments of a packet" } else { "a namespace to join" };
        tracing::debug!(missing, "what a client had to send did not come in time; its connection is closed");
        self.link.connection.close_at_fault(CloseReason::ForcedServerClose);
        self.due = None;
    }
}

/// A whole packet.
fn receive(io: &Arc<IoInner>, link: &Arc<Link>, packet: Received<'_>) {
    let (Received::Connect { namespace, .. }
    | Received::Disconnect { namespace }
    | Received::Event { namespace, .. }
    | Received::Ack { namespace, .. }
    | Received::ConnectError { namespace }) = packet;
    if let Route::To(socket) = link.route(namespace, &packet) {
        handle(io, link, namespace, socket, packet);
    }
}

fn handle(io: &Arc<IoInner>, link: &Arc<Link>, namespace: &str, socket: Option<Socket>, packet: Received<'_>) {
    let in_turn = match (packet, socket) {
        (Received::Connect { auth, .. }, None) => way_in::connect(io, link, namespace, auth),
        (Received::Event { id, event, .. }, Some(socket)) => socket.dispatch(&event.name, event.args, id),
        (Received::Ack { id, args, .. }, Some(socket)) => socket.acknowledged(id, args),
        (Received::Disconnect { .. }, Some(socket)) => socket.leaves(),
        // CONNECT_ERROR only servers send.
        (Received::Connect { .. } | Received::ConnectError { .. }, _) => false,
        (_, None) => is_late(link, namespace),
    };
    if !in_turn {
        metrics::counter!("roomcast_packets_unexpected_total").increment(1);
        tracing::debug!("a client sent a packet out of turn; its connection is closed");
        link.connection.close_at_fault(CloseReason::ForcedServerClose);
    }
}

/// Whether a packet was sent before the client could know that it had been taken out of the namespace; it is ignored.
fn is_late(link: &Link, namespace: &str) -> bool {
    let late = link.has_left(namespace);
    if late {
        metrics::counter!("roomcast_packets_late_total").increment(1);
    }
    late
}

/// Handles what was kept while a socket stepped into its namespace.
pub(crate) fn catch_up(io: &Arc<IoInner>, link: &Arc<Link>, namespace: &str, held: &Held) {
    while let Some(kept) = held.next() {
        let socket = link.named(namespace);
        let packet = match &kept {
            Kept::Connect { auth } => Received::Connect { namespace, auth: auth.as_deref() },
            Kept::Event { name, args, id } => {
                let event = Event { name: name.into(), args: args.as_ref() };
                Received::Event { namespace, id: *id, event }
            }
            Kept::Disconnect => Received::Disconnect { namespace },
            Kept::End(reason) => {
                if let Some(socket) = socket {
                    socket.finish(DisconnectReason::Connection(*reason));
                }
                continue;
            }
        };
        handle(io, link, namespace, socket, packet);
    }
}

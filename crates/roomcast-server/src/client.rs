//! [`Client`]: the Socket.IO side of one connection. It decodes packets, passes them to the sockets, and keeps deadlines.

use crate::connect::connect;
use crate::excess;
use crate::limits::ATTACHMENT_TIMEOUT;
use crate::link::{InputHold, Kept, Link, Route};
use crate::parts::Socket;
use crate::rates::ConnectionRates;
use crate::reason::DisconnectReason;
use crate::registry::IoInner;
use crate::task;
use roomcast_engine::{CloseReason, Connection, InboxHold, SessionHandler};
use roomcast_protocol::{Assembled, DecodeError, Decoder, Event, Received, Unpacked};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// The receiving side of a connection. Only the task that reads from the client uses it.
pub(crate) struct Client {
    io: Arc<IoInner>,
    link: Arc<Link<Socket>>,
    decoder: Decoder,
    inbox: InboxHold,
    /// The deadline of what the client has to send next: the CONNECT of its first namespace, and later the attachments of a packet.
    due: Option<Instant>,
    /// Whether `due` is the deadline of attachments.
    joined: bool,
}

impl Client {
    pub(crate) fn new(io: Arc<IoInner>, connection: Arc<Connection>) -> Self {
        io.remember_runtime();
        let due = Some(Instant::now() + io.config.connect_timeout);
        let decoder = Decoder::new(io.config.decoder);
        let rates = io.rates.as_ref().map(|rates| ConnectionRates::new(rates, connection.handshake()));
        let link = Link::new(connection, io.config.max_handlers, rates);
        Self { io, link, decoder, inbox: InboxHold::default(), due, joined: false }
    }

    /// Takes what the decoder made of a message. A packet has that size with its attachments.
    fn decoded(
        io: &Arc<IoInner>,
        link: &Arc<Link<Socket>>,
        decoded: Result<Option<Received<'_>>, DecodeError>,
        size: usize,
    ) {
        match decoded {
            Ok(None) => {}
            Ok(Some(packet)) => receive(io, link, packet, size),
            Err(error) => {
                let first = !link.has_joined();
                if first && matches!(error, DecodeError::UnexpectedBinary | DecodeError::UnexpectedParser) {
                    io.tell_of_parser();
                }
                metrics::counter!("roomcast_packets_malformed_total").increment(1);
                tracing::debug!(%error, "a client sent something that is not a packet; its connection is closed");
                link.connection.close_at_fault(CloseReason::ForcedClose);
            }
        }
    }

    fn after_message(&mut self) {
        self.inbox.set(&self.link.connection, self.decoder.held_bytes());
        self.set_deadline();
    }

    fn set_deadline(&mut self) {
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

    /// Whether the client has joined a namespace, now or earlier.
    fn has_joined(&self) -> bool {
        self.joined || self.link.has_joined()
    }
}

impl SessionHandler for Client {
    fn text(&mut self, text: &str) {
        Self::decoded(&self.io, &self.link, self.decoder.text(text), text.len());
        self.after_message();
    }

    fn binary(&mut self, bytes: &[u8]) {
        let assembled = self.decoder.binary(bytes);
        let received = assembled.as_ref().map(|packet| packet.as_ref().map(Assembled::received));
        let size = assembled.as_ref().map_or(0, |packet| packet.as_ref().map_or(0, Assembled::size));
        Self::decoded(&self.io, &self.link, received.map_err(|error| *error), size);
        self.after_message();
    }

    fn upgraded(&mut self) {
        for socket in self.link.sockets() {
            for handler in socket.namespace().upgrade_handlers() {
                let (guard, socket) = (self.link.handler(), socket.clone());
                task::run("upgrade", move || Some(handler(socket)), guard);
            }
        }
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
                    "a client that does not read was disconnected; send it less, or await `socket.ready()` between emits"
                );
            }
        }
        for socket in sockets {
            socket.finish(DisconnectReason::Connection(reason));
        }
    }

    fn is_established_by_a_message(&self) -> bool {
        // `Link::joined` establishes it, when the client has joined its first namespace.
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
        tracing::debug!(missing, "a client did not send in time what it had to; its connection is closed");
        self.link.connection.close_at_fault(CloseReason::ForcedServerClose);
        self.due = None;
    }
}

/// A [`Client`] of a server whose parser is MessagePack. It is a type of its own, so that the default parser costs no more for it.
pub(crate) struct PackedClient(Client);

impl PackedClient {
    pub(crate) fn new(io: Arc<IoInner>, connection: Arc<Connection>) -> Self {
        Self(Client::new(io, connection))
    }
}

impl SessionHandler for PackedClient {
    fn text(&mut self, text: &str) {
        Client::decoded(&self.0.io, &self.0.link, Err(DecodeError::UnexpectedParser), text.len());
    }

    fn binary(&mut self, bytes: &[u8]) {
        let unpacked = Unpacked::read(bytes, self.0.io.config.decoder);
        let received = unpacked.as_ref().map(|packet| Some(packet.received()));
        Client::decoded(&self.0.io, &self.0.link, received.map_err(|error| *error), bytes.len());
        self.0.after_message();
    }

    fn upgraded(&mut self) {
        self.0.upgraded();
    }

    fn closed(&mut self, reason: CloseReason) {
        self.0.closed(reason);
    }

    fn is_established_by_a_message(&self) -> bool {
        self.0.is_established_by_a_message()
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_ready(cx)
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    fn tick(&mut self, now: Instant) {
        self.0.tick(now);
    }
}

/// Passes a packet to its socket, or keeps it if the socket is entering its namespace. A packet that exceeds a rate ends here.
fn receive(io: &Arc<IoInner>, link: &Arc<Link<Socket>>, packet: Received<'_>, size: usize) {
    if let Some(rates) = &link.rates
        && !excess::admits(rates, link, io.config.parser, &packet, size)
    {
        return;
    }
    let (Received::Connect { namespace, .. }
    | Received::Disconnect { namespace }
    | Received::Event { namespace, .. }
    | Received::Ack { namespace, .. }
    | Received::ConnectError { namespace }) = packet;
    if let Route::To(socket) = link.route(namespace, &packet) {
        handle(io, link, namespace, socket, packet);
    }
}

fn handle(io: &Arc<IoInner>, link: &Arc<Link<Socket>>, namespace: &str, socket: Option<Socket>, packet: Received<'_>) {
    let allowed = match (packet, socket) {
        (Received::Connect { auth, .. }, None) => connect(io, link, namespace, auth, replay),
        (Received::Event { id, event, .. }, Some(socket)) => socket.dispatch(&event.name, event.args, id),
        (Received::Ack { id, args, .. }, Some(socket)) => socket.acknowledged(id, args),
        (Received::Disconnect { .. }, Some(socket)) => socket.client_leaves(),
        // Only servers send CONNECT_ERROR.
        (Received::Connect { .. } | Received::ConnectError { .. }, _) => false,
        (_, None) => is_late(link, namespace),
    };
    if !allowed {
        metrics::counter!("roomcast_packets_unexpected_total").increment(1);
        tracing::debug!("a client sent a packet that it may not send now; its connection is closed");
        link.connection.close_at_fault(CloseReason::ForcedServerClose);
    }
}

/// Whether a packet may be ignored, as the client sent it before it knew that it was disconnected from the namespace.
fn is_late(link: &Link<Socket>, namespace: &str) -> bool {
    let late = link.has_left(namespace);
    if late {
        metrics::counter!("roomcast_packets_late_total").increment(1);
    }
    late
}

/// Handles what was kept while a socket entered its namespace.
fn replay(io: &Arc<IoInner>, link: &Arc<Link<Socket>>, namespace: &str, hold: &InputHold<Socket>) {
    while let Some(kept) = hold.next() {
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

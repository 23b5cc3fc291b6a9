//! Observers of what the server sends to one client ([`Socket::on_any_outgoing`]).
//!
//! A broadcast is encoded once and asks no socket what else to do with it. So that this stays free, a socket that is observed gives the
//! adapter another recipient in its place: [`Observed`].

use crate::dispatch::Incoming;
use crate::handler::{BoxedEvent, EventHandler, boxed_event};
use crate::listener_id::ListenerId;
use crate::listeners::{Every, How, OwnEvents};
use crate::parts::{Phase, Socket, SocketInner};
use roomcast_adapter::{Details, Recipient, Wakes};
use roomcast_protocol::limits::MAX_PACKET_BYTES;
use roomcast_protocol::{Decoder, DecoderLimits, Packet, Parser, Received, SocketId, Unpacked};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Wake, Waker};

impl Socket {
    /// Sees every event that is sent to this client: those of [`Socket::emit`], broadcasts of any server that reach it, and questions.
    /// Answers to the client's own events are none. The arguments begin with the event's name. As Node's `onAnyOutgoing`.
    ///
    /// Up to its first await the handler runs on the thread that emits, right after the event was put into the client's outbox; a volatile
    /// event is shown even if it is dropped there. Events that two threads emit at the same moment may be shown in the other order. What
    /// the handler itself emits to this client before its first await is not shown to it.
    ///
    /// A socket that is observed costs more: each event is read back from its packet. Other sockets cost nothing.
    ///
    /// ```
    /// # use roomcast_server::{EventName, Socket, SocketIo};
    /// # let io = SocketIo::builder().build();
    /// io.on_connection(|socket: Socket| async move {
    ///     socket.on_any_outgoing(|socket: Socket, EventName(event): EventName| println!("{} gets {event}", socket.id()));
    /// });
    /// ```
    pub fn on_any_outgoing<M>(&self, handler: impl EventHandler<Self, M>) -> ListenerId {
        self.add_outgoing(handler, How::Last)
    }

    /// As [`Socket::on_any_outgoing`], before those that were given already.
    pub fn prepend_any_outgoing<M>(&self, handler: impl EventHandler<Self, M>) -> ListenerId {
        self.add_outgoing(handler, How::First)
    }

    /// Removes all that [`Socket::on_any_outgoing`] and [`Socket::prepend_any_outgoing`] were given.
    pub fn off_any_outgoing(&self) {
        self.remove_events(OwnEvents::remove_outgoing);
    }

    fn add_outgoing<M>(&self, handler: impl EventHandler<Self, M>, how: How) -> ListenerId {
        let handler = boxed_event(None, handler);
        let mut state = self.0.state.lock();
        if matches!(state.phase, Phase::Disconnected(_)) {
            return ListenerId::default();
        }
        let (listener, _) = state.own.get_or_insert_default().events.add_every(Every::Outgoing, handler, how);
        let first = !std::mem::replace(&mut state.observed, true);
        if first && matches!(state.phase, Phase::Connected) {
            self.show_to_adapter();
        }
        listener
    }

    /// Has the adapter deliver to an observed socket. Call it under the lock of a connected socket's state: then what the adapter has under
    /// this id is this socket, and not another one that continues its session.
    pub(crate) fn show_to_adapter(&self) {
        self.0.namespace.adapter().replace(self.id(), Arc::new(Observed(self.0.clone())));
    }

    /// What the adapter is to deliver to.
    pub(crate) fn recipient(&self) -> Arc<dyn Recipient> {
        if self.0.state.lock().observed { Arc::new(Observed(self.0.clone())) } else { self.0.clone() }
    }

    /// Shows a packet to the observers, if it is an event.
    #[cold]
    pub(crate) fn show_outgoing(&self, packet: &Packet) {
        let observers: SmallVec<[BoxedEvent<Self>; 2]> = match &self.0.state.lock().own {
            Some(own) => own.events.outgoing().collect(),
            None => return,
        };
        if observers.is_empty() {
            return;
        }
        let Some(_showing) = Showing::begin(self.id()) else { return };
        let show = |received: Received<'_>| {
            if let Received::Event { event, .. } = received {
                let outgoing = Incoming { name: &event.name, args: event.args, id: None };
                observers.iter().for_each(|observer| self.observe(observer, outgoing, ()));
            }
        };
        if read(packet, self.parser(), show).is_none() {
            tracing::debug!(socket = %self.id(), "a packet could not be read back for those who observe what is sent");
        }
    }
}

/// Reads a packet as its client does.
fn read(packet: &Packet, parser: Parser, show: impl FnOnce(Received<'_>)) -> Option<()> {
    // What the server itself has written is not bounded as what clients send.
    let limits = DecoderLimits { max_attachments: usize::MAX, max_bytes: MAX_PACKET_BYTES, max_depth: usize::MAX };
    if parser == Parser::MessagePack {
        show(Unpacked::read(packet.binaries().next()?, limits).ok()?.received());
        return Some(());
    }
    let mut decoder = Decoder::new(limits);
    if let Some(received) = decoder.text(packet.text()?.strip_prefix('4')?).ok()? {
        show(received);
        return Some(());
    }
    for bytes in packet.binaries() {
        if let Some(assembled) = decoder.binary(bytes).ok()? {
            show(assembled.received());
            return Some(());
        }
    }
    None
}

thread_local! {
    /// The sockets whose observers this thread is calling.
    static SHOWING: RefCell<SmallVec<[SocketId; 2]>> = const { RefCell::new(SmallVec::new_const()) };
}

/// This thread calls the observers of a socket. Without it, an observer that emits to its own socket would call itself for ever.
struct Showing;

impl Showing {
    /// `None` if it does so already, or if the thread is ending and its list is gone.
    fn begin(id: SocketId) -> Option<Self> {
        let begun = SHOWING.try_with(|showing| {
            let mut showing = showing.borrow_mut();
            let begins = !showing.contains(&id);
            begins.then(|| showing.push(id))
        });
        begun.ok().flatten().map(|()| Self)
    }
}

impl Drop for Showing {
    fn drop(&mut self) {
        // The list is there, as it was when this began.
        let _ = SHOWING.try_with(|showing| showing.borrow_mut().pop());
    }
}

/// A socket as its adapter sees it, if what is sent to it is observed.
#[derive(Debug)]
pub(crate) struct Observed(pub(crate) Arc<SocketInner>);

impl Recipient for Observed {
    fn deliver(&self, packet: &Arc<Packet>, wakes: &mut Wakes) {
        self.0.deliver(packet, wakes);
        // The application's code runs outside the adapter's lock.
        wakes.push(Waker::from(Arc::new(Sent { socket: Socket(self.0.clone()), packet: packet.clone() })));
    }

    fn prefetch(&self) {
        self.0.prefetch();
    }

    fn disconnect(&self, close: bool) {
        self.0.disconnect(close);
    }

    fn supersede(&self) {
        self.0.supersede();
    }

    fn details(&self) -> Details {
        self.0.details()
    }
}

/// A packet that was put into the outbox of an observed socket. To wake it is to show it.
struct Sent {
    socket: Socket,
    packet: Arc<Packet>,
}

impl Wake for Sent {
    fn wake(self: Arc<Self>) {
        self.socket.show_outgoing(&self.packet);
    }
}

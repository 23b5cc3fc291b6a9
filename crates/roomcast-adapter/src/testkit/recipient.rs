//! Recipients that stand in for sockets: [`FakeRecipient`] records and answers, [`CountingRecipient`] only counts.

use crate::Adapter;
use crate::{Details, Recipient, Wakes};
use parking_lot::Mutex;
use roomcast_protocol::limits::MAX_PACKET_BYTES;
use roomcast_protocol::{Args, Decoder, DecoderLimits, Packet, Received, SocketId};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;

/// Records what it was sent, and may answer as a client would.
#[derive(Debug, Default)]
pub struct FakeRecipient {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    packets: Vec<Arc<Packet>>,
    disconnects: Vec<bool>,
    details: Details,
    answering: Option<Answering>,
}

/// How to answer: through which adapter (weak, as the adapter holds the recipient), as which socket, and with what.
#[derive(Debug, Clone)]
struct Answering {
    adapter: Weak<dyn Adapter>,
    id: SocketId,
    answer: Args,
    runtime: Handle,
}

/// An event as a client would read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedEvent {
    /// The namespace that the packet names.
    pub namespace: String,
    /// The event's name.
    pub name: String,
    /// The arguments after the name.
    pub args: Args,
    /// The id to answer to, if an acknowledgement is wanted.
    pub ack: Option<u64>,
    /// Whether the packet may be dropped if the transport cannot be written to at once.
    pub volatile: bool,
}

impl FakeRecipient {
    /// A recipient that records and does not answer.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on [`Recipient::details`] returns these.
    pub fn set_details(&self, details: Details) {
        self.state.lock().details = details;
    }

    /// From now on each event that wants an acknowledgement is answered with `answer`, as socket `id`, through
    /// `adapter`. The answer races the emit: another thread has begun to give it before `deliver` returns.
    ///
    /// # Panics
    /// Outside a tokio runtime, whose blocking threads give the answers.
    pub fn answer(&self, adapter: &Arc<dyn Adapter>, id: SocketId, answer: Args) {
        let answering = Answering { adapter: Arc::downgrade(adapter), id, answer, runtime: Handle::current() };
        self.state.lock().answering = Some(answering);
    }

    /// The packets that were delivered, in order.
    pub fn packets(&self) -> Vec<Arc<Packet>> {
        self.state.lock().packets.clone()
    }

    /// The events that were delivered, in order. Packets that are not events are left out.
    pub fn events(&self) -> Vec<ReceivedEvent> {
        self.packets().iter().filter_map(|packet| ReceivedEvent::of(packet)).collect()
    }

    /// The disconnects, in order, each with its `close`.
    pub fn disconnects(&self) -> Vec<bool> {
        self.state.lock().disconnects.clone()
    }
}

impl Recipient for FakeRecipient {
    fn deliver(&self, packet: &Arc<Packet>, _wakes: &mut Wakes) {
        let answering = {
            let mut state = self.state.lock();
            state.packets.push(packet.clone());
            state.answering.clone()
        };
        let Some(Answering { adapter, id, answer, runtime }) = answering else {
            return;
        };
        let Some(ack) = ReceivedEvent::of(packet).and_then(|event| event.ack) else {
            return;
        };
        let (begun, wait) = std::sync::mpsc::sync_channel(1);
        // tokio's paused clock does not advance while one of its blocking threads is busy.
        runtime.spawn_blocking(move || {
            let _ = begun.send(());
            if let Some(adapter) = adapter.upgrade() {
                adapter.ack(id, ack, answer);
            }
        });
        // A recipient must not block. This one waits for the other thread's first step, so that there always is a race.
        let _ = wait.recv_timeout(Duration::from_secs(1));
    }

    fn disconnect(&self, close: bool) {
        self.state.lock().disconnects.push(close);
    }

    fn details(&self) -> Details {
        self.state.lock().details.clone()
    }
}

impl ReceivedEvent {
    /// Reads a packet as a client would; `None` if it is not an event.
    pub fn of(packet: &Packet) -> Option<Self> {
        let limits =
            DecoderLimits { max_attachments: usize::MAX, max_bytes: MAX_PACKET_BYTES, ..DecoderLimits::default() };
        let mut decoder = Decoder::new(limits);
        let text = packet.text()?.strip_prefix('4')?;
        if let Some(received) = decoder.text(text).ok()? {
            return Self::event(received, packet);
        }
        for bytes in packet.binaries() {
            if let Some(assembled) = decoder.binary(bytes).ok()? {
                return Self::event(assembled.received(), packet);
            }
        }
        None
    }

    fn event(received: Received<'_>, packet: &Packet) -> Option<Self> {
        let Received::Event { namespace, id, event } = received else {
            return None;
        };
        Some(Self {
            namespace: namespace.to_owned(),
            name: event.name.into_owned(),
            args: event.args.to_owned(),
            ack: id,
            volatile: packet.is_volatile(),
        })
    }
}

/// Only counts what it was sent, with neither lock nor allocation, so that a benchmark measures the adapter.
#[derive(Debug, Default)]
pub struct CountingRecipient {
    packets: AtomicU64,
}

impl CountingRecipient {
    /// A recipient that was sent nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The number of packets that were delivered.
    pub fn count(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }
}

impl Recipient for CountingRecipient {
    fn deliver(&self, _packet: &Arc<Packet>, _wakes: &mut Wakes) {
        self.packets.fetch_add(1, Ordering::Relaxed);
    }

    fn disconnect(&self, _close: bool) {}

    fn details(&self) -> Details {
        Details::default()
    }
}

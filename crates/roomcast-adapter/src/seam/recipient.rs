//! [`Recipient`]: a socket as an adapter sees it.

use crate::seam::room::Room;
use roomcast_protocol::Packet;
use std::any::Any;
use std::cell::Cell;
use std::fmt::Debug;
use std::sync::Arc;
use std::task::Waker;

/// The receiving end of a socket. An adapter holds recipients and never sees a socket, so any adapter can be tested and
/// measured with fake recipients, and any transport can stand behind a recipient. It is [`Any`], so that whoever inserted
/// recipients knows them again in [`Adapter::local_recipients`](crate::Adapter::local_recipients).
pub trait Recipient: Any + Debug + Send + Sync {
    /// Puts a packet into the outbox. This is called under the namespace's lock: it must not block, must not call the
    /// adapter, and must leave waking the writer to `wakes`. A recipient whose outbox is full disconnects itself.
    fn deliver(&self, packet: &Arc<Packet>, wakes: &mut Wakes);

    /// Announces that a broadcast is about to reach this recipient: reads a little of what [`Recipient::deliver`] will
    /// touch, so that it is fetched from memory meanwhile. This is called under the namespace's lock, and changes
    /// nothing.
    fn prefetch(&self) {}

    /// Takes the socket out of the namespace, or with `close` ends its whole connection. Called outside the lock.
    fn disconnect(&self, close: bool);

    /// Its client has come back over another connection, before the loss of this one was noticed: ends the socket as that loss
    /// would, so that its session is kept. Called outside the lock. By default the connection is ended.
    fn supersede(&self) {
        self.disconnect(true);
    }

    /// What `fetch_sockets` says about the socket. This is called outside the lock.
    fn details(&self) -> Details;
}

/// What a recipient knows about its socket. The adapter adds the id and the rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// The handshake as a JSON object, like Node's `socket.handshake`.
    pub handshake: String,
    /// The socket's data as JSON: an object unless the application decided otherwise.
    pub data: String,
}

impl Default for Details {
    fn default() -> Self {
        Self { handshake: "{}".to_owned(), data: "{}".to_owned() }
    }
}

/// A socket on any server of the cluster, as `fetch_sockets` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketDetails {
    /// The socket's id. It is text, as other servers' ids may have another form than ours.
    pub id: String,
    /// Its rooms, including the room named after its id.
    pub rooms: Vec<Room>,
    /// Handshake and data.
    pub details: Details,
}

/// Writers that are woken once the namespace's lock is free again, and at the latest when this is dropped. Its storage
/// is reused per thread, so a broadcast allocates nothing per recipient.
#[derive(Debug, Default)]
pub struct Wakes {
    wakers: Vec<Waker>,
    around: Option<Around>,
}

/// What a transport does around the waking of its writers. It calls its argument once.
type Around = fn(&mut dyn FnMut());

/// Most wakers for which storage is kept: a thread that served 100,000 recipients once should not hold 1.6 MB for ever.
const KEPT_WAKERS: usize = 16_384;

thread_local! {
    static STORAGE: Cell<Vec<Waker>> = const { Cell::new(Vec::new()) };
}

impl Wakes {
    /// An empty list in this thread's storage.
    pub fn new() -> Self {
        // A thread that ends may emit too, when its storage is gone.
        Self { wakers: STORAGE.try_with(Cell::take).unwrap_or_default(), around: None }
    }

    /// Adds a writer.
    pub fn push(&mut self, waker: Waker) {
        self.wakers.push(waker);
    }

    /// Adds a writer of a transport that gathers its writes: `around` is called once for the whole list and wakes all
    /// of it, so that the transport can write everything together.
    pub fn push_within(&mut self, waker: Waker, around: fn(&mut dyn FnMut())) {
        self.around = Some(around);
        self.wakers.push(waker);
    }

    /// Number of writers to wake.
    pub fn len(&self) -> usize {
        self.wakers.len()
    }

    /// Whether there are no writers to wake.
    pub fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }

    /// Wakes all of them, in order.
    pub fn wake(self) {}

    fn wake_all(wakers: &mut Vec<Waker>) {
        wakers.drain(..).for_each(Waker::wake);
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        let Self { wakers, around } = self;
        match around {
            _ if wakers.is_empty() => {}
            // A single one is written at once, or with whatever else the thread gathers.
            Some(around) if wakers.len() > 1 => around(&mut || Self::wake_all(wakers)),
            _ => Self::wake_all(wakers),
        }
        if wakers.capacity() <= KEPT_WAKERS {
            let _ = STORAGE.try_with(|storage| storage.set(std::mem::take(wakers)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    thread_local! {
        static AROUND: Cell<usize> = const { Cell::new(0) };
    }

    fn around(wake: &mut dyn FnMut()) {
        AROUND.set(AROUND.get() + 1);
        wake();
    }

    #[test]
    fn dropping_a_list_wakes_its_writers_and_calls_around_once() {
        let count = Arc::new(Count::default());
        let mut wakes = Wakes::new();
        for _ in 0..3 {
            wakes.push_within(Waker::from(count.clone()), around);
        }
        drop(wakes);
        assert_eq!((count.0.load(SeqCst), AROUND.get()), (3, 1));
        let mut wakes = Wakes::new();
        wakes.push(Waker::from(count.clone()));
        wakes.wake();
        assert_eq!((count.0.load(SeqCst), AROUND.get()), (4, 1));
    }
}

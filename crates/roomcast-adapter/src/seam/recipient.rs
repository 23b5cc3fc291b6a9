//! [`Recipient`]: what an adapter knows of a socket.

use crate::seam::room::Room;
use roomcast_protocol::Packet;
use std::cell::Cell;
use std::fmt::Debug;
use std::sync::Arc;
use std::task::Waker;

/// The receiving end of a socket. An adapter holds recipients and never sees a socket, so that a fake one can test and
/// measure any adapter, and any transport can stand behind one.
pub trait Recipient: Debug + Send + Sync + 'static {
    /// Takes a packet into the outbox. It is called under the namespace's lock: it must not block, must not call the
    /// adapter, and must leave waking the writer to `wakes`. A recipient whose outbox is full disconnects itself.
    fn deliver(&self, packet: &Arc<Packet>, wakes: &mut Wakes);

    /// A broadcast will soon come to this recipient: reads a little of what [`Recipient::deliver`] will touch, so that it is on
    /// its way from memory meanwhile. It is called under the namespace's lock, and changes nothing.
    fn prefetch(&self) {}

    /// Takes the socket out of the namespace, or with `close` ends its whole connection. Called outside the lock.
    fn disconnect(&self, close: bool);

    /// What `fetch_sockets` tells of the socket. Called outside the lock.
    fn details(&self) -> Details;
}

/// What a recipient knows of its socket; the adapter adds id and rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// The handshake as a JSON object, as Node's `socket.handshake`.
    pub handshake: String,
    /// The socket's data as JSON, an object unless the application chose otherwise.
    pub data: String,
}

impl Default for Details {
    fn default() -> Self {
        Self { handshake: "{}".to_owned(), data: "{}".to_owned() }
    }
}

/// A socket of some server of the cluster, as `fetch_sockets` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketDetails {
    /// The socket's id. Another server may have ids of another form than ours, so it is text.
    pub id: String,
    /// Its rooms, the one of its own id among them.
    pub rooms: Vec<Room>,
    /// Handshake and data.
    pub details: Details,
}

/// Writers to wake once the namespace's lock is free again: when this is dropped, at the latest. Its storage is kept per
/// thread, so that a broadcast allocates nothing per recipient.
#[derive(Debug, Default)]
pub struct Wakes {
    wakers: Vec<Waker>,
    around: Option<Around>,
}

/// What a transport wants to do around the waking of its writers: it calls the argument once.
type Around = fn(&mut dyn FnMut());

/// Most wakers for which storage is kept: a thread that once served 100 000 recipients should not hold 1.6 MB for ever.
const KEPT_WAKERS: usize = 16_384;

thread_local! {
    static STORAGE: Cell<Vec<Waker>> = const { Cell::new(Vec::new()) };
}

impl Wakes {
    /// An empty list in this thread's storage.
    pub fn new() -> Self {
        Self { wakers: STORAGE.take(), around: None }
    }

    /// Adds a writer.
    pub fn push(&mut self, waker: Waker) {
        self.wakers.push(waker);
    }

    /// Adds a writer of a transport that wants `around` to be called with the waking of all of them, once for the list:
    /// so it can gather what it has to write.
    pub fn push_within(&mut self, waker: Waker, around: fn(&mut dyn FnMut())) {
        self.around = Some(around);
        self.wakers.push(waker);
    }

    /// Number of writers to wake.
    pub fn len(&self) -> usize {
        self.wakers.len()
    }

    /// Whether there is nobody to wake.
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
            // One is written at once, or with what else the thread gathers.
            Some(around) if wakers.len() > 1 => around(&mut || Self::wake_all(wakers)),
            _ => Self::wake_all(wakers),
        }
        if wakers.capacity() <= KEPT_WAKERS {
            STORAGE.set(std::mem::take(wakers));
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
    fn a_list_that_is_dropped_wakes_too_and_goes_around_once() {
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

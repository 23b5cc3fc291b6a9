//! [`Arrivals`]: the messages that have arrived on the subscriber connection, passed on to their listeners in batches.

use super::routes::Routes;
use crate::delivery::run::Run;
use crate::delivery::{Delivery, Listener};
use parking_lot::{Mutex, MutexGuard, RwLock};
use redis::{PushInfo, PushKind, Value};
use std::sync::Arc;
use tokio::sync::Notify;

/// When this many messages wait, the connection's own task passes them on, and reads no more meanwhile, unless another
/// task is already passing messages on.
const BATCH: usize = 64;

/// Most messages, and most bytes, that wait while others are passed on. Beyond that the connection's task blocks until
/// they are: it reads no more, and its thread does nothing else.
const MAX_WAITING: usize = 4_096;
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// The connection's task puts messages in, and another task takes them out: by the time it runs, everything that one
/// read has brought is there. Its messages to one client then leave in one write, instead of one write each.
#[derive(Default)]
pub(crate) struct Arrivals {
    waiting: Mutex<Waiting>,
    /// Held while messages are passed on, so that they keep their order. The vector is reused.
    passing_on: Mutex<Vec<PushInfo>>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: Vec<PushInfo>,
    bytes: usize,
    /// The connection was dropped: late messages on it would be out of order.
    is_closed: bool,
}

impl Arrivals {
    pub(crate) fn add(&self, push: PushInfo, routes: &RwLock<Routes>) {
        let waiting = {
            let mut waiting = self.waiting.lock();
            if waiting.is_closed {
                return;
            }
            waiting.bytes += bytes_of(&push);
            waiting.messages.push(push);
            if waiting.bytes > MAX_WAITING_BYTES { MAX_WAITING } else { waiting.messages.len() }
        };
        match waiting {
            1 => self.arrived.notify_one(),
            MAX_WAITING.. => self.pass_on(routes),
            BATCH.. => {
                if let Some(messages) = self.passing_on.try_lock() {
                    self.pass_on_with(messages, routes);
                }
            }
            _ => {}
        }
    }

    /// Resolves when a message waits.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    pub(crate) fn pass_on(&self, routes: &RwLock<Routes>) {
        self.pass_on_with(self.passing_on.lock(), routes);
    }

    fn pass_on_with(&self, mut messages: MutexGuard<'_, Vec<PushInfo>>, routes: &RwLock<Routes>) {
        {
            let mut waiting = self.waiting.lock();
            waiting.bytes = 0;
            std::mem::swap(&mut *messages, &mut waiting.messages);
        }
        let mut run = Run::<dyn Listener>::default();
        for push in messages.drain(..) {
            let Some(push) = Push::read(push) else { continue };
            let (first, further) = {
                let routes = routes.read();
                let Some((first, further)) = push.listeners(&routes).split_first() else { continue };
                // An empty vector does not allocate.
                (first.clone(), further.to_vec())
            };
            for listener in further {
                run.add(listener, push.message.clone());
            }
            run.add(first, push.message);
        }
        run.flush();
    }

    /// Passes on the waiting messages, and takes no more.
    pub(crate) fn close(&self, routes: &RwLock<Routes>) {
        self.waiting.lock().is_closed = true;
        self.pass_on(routes);
    }
}

fn bytes_of(push: &PushInfo) -> usize {
    let bytes = |value: &Value| match value {
        Value::BulkString(bytes) => bytes.len(),
        _ => 0,
    };
    push.data.iter().map(bytes).sum()
}

/// A message, and the pattern that it matched if it came by one.
struct Push {
    pattern: Option<Vec<u8>>,
    message: Delivery,
}

impl Push {
    fn read(push: PushInfo) -> Option<Self> {
        let mut data = push.data.into_iter().filter_map(|value| match value {
            Value::BulkString(bytes) => Some(bytes),
            Value::SimpleString(text) => Some(text.into_bytes()),
            _ => None,
        });
        let by_pattern = push.kind == PushKind::PMessage;
        let pattern = if by_pattern { Some(data.next()?) } else { None };
        Some(Self { pattern, message: Delivery { by_pattern, channel: data.next()?, payload: data.next()? } })
    }

    fn listeners<'a>(&self, routes: &'a Routes) -> &'a [Arc<dyn Listener>] {
        let name = self.pattern.as_ref().unwrap_or(&self.message.channel);
        std::str::from_utf8(name).map_or(&[], |name| routes.of(self.message.by_pattern, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::names::Name;

    /// Records the payloads of each run.
    #[derive(Default)]
    struct Notes(Mutex<Vec<Vec<Vec<u8>>>>);

    impl Listener for Notes {
        fn receive(&self, messages: Vec<Delivery>) {
            self.0.lock().push(messages.into_iter().map(|message| message.payload).collect());
        }

        fn connected(&self) {}
        fn lost(&self) {}
    }

    impl Notes {
        fn lengths(&self) -> Vec<usize> {
            self.0.lock().iter().map(Vec::len).collect()
        }
    }

    fn message(channel: &str, payload: usize) -> PushInfo {
        let bytes = |text: &str| Value::BulkString(text.into());
        PushInfo { kind: PushKind::Message, data: vec![bytes(channel), bytes(&payload.to_string())] }
    }

    fn listeners() -> (Arc<Notes>, Arc<Notes>, RwLock<Routes>) {
        let (a, b) = (Arc::<Notes>::default(), Arc::<Notes>::default());
        let mut routes = Routes::default();
        for (name, listener) in [("a", &a), ("b", &b)] {
            let listener: Arc<dyn Listener> = listener.clone();
            routes.add(&Name { is_pattern: false, is_counted: true, text: name.into() }, &listener);
        }
        (a, b, RwLock::new(routes))
    }

    #[test]
    fn messages_at_the_limit_and_one_below_it() {
        let (a, _, routes) = listeners();
        let arrivals = Arrivals::default();
        (1..BATCH).for_each(|number| arrivals.add(message("a", number), &routes));
        assert!(a.lengths().is_empty());
        arrivals.add(message("a", BATCH), &routes);
        assert_eq!(a.lengths(), [BATCH], "the connection's own task passes them on");
        arrivals.add(message("a", 0), &routes);
        assert_eq!((a.lengths(), arrivals.waiting.lock().messages.len()), (vec![BATCH], 1));
        arrivals.pass_on(&routes);
        assert_eq!((a.lengths(), arrivals.waiting.lock().messages.len()), (vec![BATCH, 1], 0));
    }

    #[test]
    fn each_listener_gets_its_own_in_order() {
        let (a, b, routes) = listeners();
        let arrivals = Arrivals::default();
        for (number, channel) in ["a", "a", "b", "nobody", "b", "a"].into_iter().enumerate() {
            arrivals.add(message(channel, number), &routes);
        }
        // A push that is not a message is ignored.
        arrivals.add(PushInfo { kind: PushKind::PMessage, data: Vec::new() }, &routes);
        arrivals.pass_on(&routes);
        let payloads = |payloads: &[&str]| payloads.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(*a.0.lock(), [payloads(&["0", "1"]), payloads(&["5"])]);
        assert_eq!(*b.0.lock(), [payloads(&["2", "4"])]);
    }

    #[test]
    fn a_channel_with_two_listeners() {
        let (a, b, routes) = listeners();
        let (name, second) =
            (Name { is_pattern: false, is_counted: true, text: "a".into() }, b.clone() as Arc<dyn Listener>);
        routes.write().add(&name, &second);
        let arrivals = Arrivals::default();
        arrivals.add(message("a", 1), &routes);
        arrivals.pass_on(&routes);
        assert_eq!((a.lengths(), b.lengths()), (vec![1], vec![1]));
        routes.write().remove(&name, &second);
        arrivals.add(message("a", 2), &routes);
        arrivals.pass_on(&routes);
        assert_eq!((a.lengths(), b.lengths()), (vec![1, 1], vec![1]));
    }

    /// Blocks in its first run until the test lets it go on.
    struct Slow(std::sync::Barrier, Mutex<Vec<usize>>);

    impl Listener for Slow {
        fn receive(&self, messages: Vec<Delivery>) {
            let is_first = self.1.lock().is_empty();
            self.1.lock().push(messages.len());
            if is_first {
                self.0.wait();
                self.0.wait();
            }
        }

        fn connected(&self) {}
        fn lost(&self) {}
    }

    /// Reading goes on while another task passes messages on, up to the bounds and not past them.
    #[test]
    fn the_connection_waits_at_the_bound_and_not_before() {
        for (payload, most) in [(1, MAX_WAITING - 1), (MAX_WAITING_BYTES / 4 - 1, 4)] {
            let (arrivals, routes) = (Arrivals::default(), RwLock::<Routes>::default());
            let slow = Arc::new(Slow(std::sync::Barrier::new(2), Mutex::default()));
            let listener: Arc<dyn Listener> = slow.clone();
            routes.write().add(&Name { is_pattern: false, is_counted: true, text: "s".into() }, &listener);
            let data = || vec![Value::BulkString(b"s".to_vec()), Value::BulkString(vec![0; payload])];
            let add = || arrivals.add(PushInfo { kind: PushKind::Message, data: data() }, &routes);
            std::thread::scope(|scope| {
                add();
                scope.spawn(|| arrivals.pass_on(&routes));
                slow.0.wait();
                (0..most).for_each(|_| add());
                assert_eq!(arrivals.waiting.lock().messages.len(), most, "it did not wait");
                let last = scope.spawn(add);
                while arrivals.waiting.lock().messages.len() == most {
                    std::thread::yield_now();
                }
                assert!(!last.is_finished(), "one past the bound waits");
                slow.0.wait();
            });
            assert_eq!(*slow.1.lock(), [1, most + 1]);
        }
    }

    /// Counts what it receives, and causes another arrival each time.
    struct More(Mutex<usize>, Arc<Arrivals>, Arc<RwLock<Routes>>);

    impl Listener for More {
        fn receive(&self, messages: Vec<Delivery>) {
            *self.0.lock() += messages.len();
            self.1.add(message("more", 2), &self.2);
        }

        fn connected(&self) {}
        fn lost(&self) {}
    }

    #[test]
    fn what_arrives_while_the_last_is_passed_on_is_dropped() {
        let (arrivals, routes) = (Arc::<Arrivals>::default(), Arc::<RwLock<Routes>>::default());
        let more = Arc::new(More(Mutex::default(), arrivals.clone(), routes.clone()));
        let listener: Arc<dyn Listener> = more.clone();
        routes.write().add(&Name { is_pattern: false, is_counted: true, text: "more".into() }, &listener);
        arrivals.add(message("more", 1), &routes);
        arrivals.close(&routes);
        assert_eq!((*more.0.lock(), arrivals.waiting.lock().messages.len()), (1, 0), "nothing is left waiting");
    }

    #[tokio::test]
    async fn the_first_waiting_message_wakes_the_task_that_passes_on() {
        let (a, _, routes) = listeners();
        let arrivals = Arrivals::default();
        arrivals.add(message("a", 1), &routes);
        arrivals.arrived().await;
        arrivals.add(message("a", 2), &routes);
        arrivals.pass_on(&routes);
        assert_eq!(a.lengths(), [2]);
        arrivals.add(message("a", 3), &routes);
        arrivals.arrived().await;
    }
}

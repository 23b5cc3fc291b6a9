//! [`Arrivals`]: the messages that have come on a connection, handed on together.

use super::routes::{Heard, Listener, Routes};
use parking_lot::{Mutex, MutexGuard, RwLock};
use redis::{PushInfo, PushKind, Value};
use std::sync::Arc;
use tokio::sync::Notify;

/// Messages that are handed on together. If so many wait the connection's task hands them on itself, and reads no more meanwhile,
/// unless that is being done.
const TOGETHER: usize = 64;

/// Messages that wait while others are handed on, and their bytes, before the connection's task waits for that: it reads no more
/// then, and the thread that it runs on does nothing else.
const MAX_WAITING: usize = 4_096;
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Where the task of a connection puts what has come, and another takes it: when it gets to it, all that one read has brought is
/// there. What that makes for a client then leaves in one write, where there would be one for each message.
#[derive(Default)]
pub(crate) struct Arrivals {
    waiting: Mutex<Waiting>,
    /// Held while messages are handed on, so that they keep their order; its storage is used again.
    handing_on: Mutex<Vec<PushInfo>>,
    come: Notify,
}

#[derive(Default)]
struct Waiting {
    messages: Vec<PushInfo>,
    bytes: usize,
    /// The connection was given up: what it still brings would come out of order.
    is_closed: bool,
}

impl Arrivals {
    /// A message has come.
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
            1 => self.come.notify_one(),
            MAX_WAITING.. => self.hand_on(routes),
            TOGETHER.. => {
                if let Some(messages) = self.handing_on.try_lock() {
                    self.hand_on_with(messages, routes);
                }
            }
            _ => {}
        }
    }

    /// Resolves when something waits.
    pub(crate) async fn come(&self) {
        self.come.notified().await;
    }

    /// Hands on what waits, in order.
    pub(crate) fn hand_on(&self, routes: &RwLock<Routes>) {
        self.hand_on_with(self.handing_on.lock(), routes);
    }

    fn hand_on_with(&self, mut messages: MutexGuard<'_, Vec<PushInfo>>, routes: &RwLock<Routes>) {
        {
            let mut waiting = self.waiting.lock();
            waiting.bytes = 0;
            std::mem::swap(&mut *messages, &mut waiting.messages);
        }
        let mut run: Option<(Arc<dyn Listener>, Vec<Heard>)> = None;
        for push in messages.drain(..) {
            let Some(heard) = Push::read(push) else { continue };
            let (first, further) = {
                let routes = routes.read();
                let Some((first, further)) = heard.listeners(&routes).split_first() else { continue };
                // No storage is taken for none.
                (first.clone(), further.to_vec())
            };
            for listener in further {
                hear(&mut run, listener, heard.message.clone());
            }
            hear(&mut run, first, heard.message);
        }
        if let Some((listener, heard)) = run {
            listener.heard(heard);
        }
    }

    /// Hands on what waits, and takes no more.
    pub(crate) fn close(&self, routes: &RwLock<Routes>) {
        self.waiting.lock().is_closed = true;
        self.hand_on(routes);
    }
}

fn bytes_of(push: &PushInfo) -> usize {
    let bytes = |value: &Value| match value {
        Value::BulkString(bytes) => bytes.len(),
        _ => 0,
    };
    push.data.iter().map(bytes).sum()
}

/// Messages in a row for one listener are handed on together.
fn hear(run: &mut Option<(Arc<dyn Listener>, Vec<Heard>)>, listener: Arc<dyn Listener>, heard: Heard) {
    match run {
        Some((before, run)) if Arc::ptr_eq(before, &listener) => run.push(heard),
        _ => {
            if let Some((listener, heard)) = run.replace((listener, vec![heard])) {
                listener.heard(heard);
            }
        }
    }
}

/// A message as Redis sends it.
struct Push {
    pattern: Option<Vec<u8>>,
    message: Heard,
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
        Some(Self { pattern, message: Heard { by_pattern, channel: data.next()?, payload: data.next()? } })
    }

    /// Who listens to it.
    fn listeners<'a>(&self, routes: &'a Routes) -> &'a [Arc<dyn Listener>] {
        let name = self.pattern.as_ref().unwrap_or(&self.message.channel);
        std::str::from_utf8(name).map_or(&[], |name| routes.of(self.message.by_pattern, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::routes::Name;

    /// Notes how many messages came together, and their payloads.
    #[derive(Default)]
    struct Notes(Mutex<Vec<Vec<Vec<u8>>>>);

    impl Listener for Notes {
        fn heard(&self, messages: Vec<Heard>) {
            self.0.lock().push(messages.into_iter().map(|heard| heard.payload).collect());
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
        (1..TOGETHER).for_each(|number| arrivals.add(message("a", number), &routes));
        assert!(a.lengths().is_empty());
        arrivals.add(message("a", TOGETHER), &routes);
        assert_eq!(a.lengths(), [TOGETHER], "the connection's own task hands them on");
        arrivals.add(message("a", 0), &routes);
        assert_eq!((a.lengths(), arrivals.waiting.lock().messages.len()), (vec![TOGETHER], 1));
        arrivals.hand_on(&routes);
        assert_eq!((a.lengths(), arrivals.waiting.lock().messages.len()), (vec![TOGETHER, 1], 0));
    }

    #[test]
    fn each_listener_gets_its_own_in_order() {
        let (a, b, routes) = listeners();
        let arrivals = Arrivals::default();
        for (number, channel) in ["a", "a", "b", "nobody", "b", "a"].into_iter().enumerate() {
            arrivals.add(message(channel, number), &routes);
        }
        // What is no message of ours is passed over.
        arrivals.add(PushInfo { kind: PushKind::PMessage, data: Vec::new() }, &routes);
        arrivals.hand_on(&routes);
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
        arrivals.hand_on(&routes);
        assert_eq!((a.lengths(), b.lengths()), (vec![1], vec![1]));
        routes.write().remove(&name, &second);
        arrivals.add(message("a", 2), &routes);
        arrivals.hand_on(&routes);
        assert_eq!((a.lengths(), b.lengths()), (vec![1, 1], vec![1]));
    }

    /// Is slow: what it hears it holds until the test lets it go on.
    struct Slow(std::sync::Barrier, Mutex<Vec<usize>>);

    impl Listener for Slow {
        fn heard(&self, messages: Vec<Heard>) {
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

    /// Whoever reads goes on while another hands on, up to the bounds and not past them.
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
                scope.spawn(|| arrivals.hand_on(&routes));
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

    /// Notes what it hears, and more comes meanwhile.
    struct More(Mutex<usize>, Arc<Arrivals>, Arc<RwLock<Routes>>);

    impl Listener for More {
        fn heard(&self, messages: Vec<Heard>) {
            *self.0.lock() += messages.len();
            self.1.add(message("more", 2), &self.2);
        }

        fn connected(&self) {}
        fn lost(&self) {}
    }

    #[test]
    fn what_comes_when_the_last_is_handed_on_is_lost_whole() {
        let (arrivals, routes) = (Arc::<Arrivals>::default(), Arc::<RwLock<Routes>>::default());
        let more = Arc::new(More(Mutex::default(), arrivals.clone(), routes.clone()));
        let listener: Arc<dyn Listener> = more.clone();
        routes.write().add(&Name { is_pattern: false, is_counted: true, text: "more".into() }, &listener);
        arrivals.add(message("more", 1), &routes);
        arrivals.close(&routes);
        assert_eq!((*more.0.lock(), arrivals.waiting.lock().messages.len()), (1, 0), "nothing waits that nobody takes");
    }

    #[tokio::test]
    async fn who_hands_on_is_told_of_the_first_that_waits() {
        let (a, _, routes) = listeners();
        let arrivals = Arrivals::default();
        arrivals.add(message("a", 1), &routes);
        arrivals.come().await;
        arrivals.add(message("a", 2), &routes);
        arrivals.hand_on(&routes);
        assert_eq!(a.lengths(), [2]);
        arrivals.add(message("a", 3), &routes);
        arrivals.come().await;
    }
}

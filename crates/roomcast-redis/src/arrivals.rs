//! [`Arrivals`]: the messages that have come on a connection, handed on together.

use crate::subscriber::{Heard, Listener, Routes};
use parking_lot::{Mutex, RwLock};
use redis::{PushInfo, PushKind, Value};
use std::sync::Arc;
use tokio::sync::Notify;

/// Messages that are handed on together. As many may wait beside those that are being handed on: the connection's task then does
/// it itself, and reads no more meanwhile.
const TOGETHER: usize = 64;

/// Where the task of a connection puts what has come, and another takes it: when it gets to it, all that one read has brought is
/// there. What that makes for a client then leaves in one write, where there would be one for each message.
#[derive(Default)]
pub(crate) struct Arrivals {
    waiting: Mutex<Vec<PushInfo>>,
    /// Held while messages are handed on, so that they keep their order; its storage is used again.
    handing_on: Mutex<Vec<PushInfo>>,
    come: Notify,
}

impl Arrivals {
    /// A message has come.
    pub(crate) fn add(&self, push: PushInfo, routes: &RwLock<Routes>) {
        let waiting = {
            let mut waiting = self.waiting.lock();
            waiting.push(push);
            waiting.len()
        };
        match waiting {
            1 => self.come.notify_one(),
            TOGETHER.. => self.hand_on(routes),
            _ => {}
        }
    }

    /// Resolves when something waits.
    pub(crate) async fn come(&self) {
        self.come.notified().await;
    }

    /// Hands on what waits, in order.
    pub(crate) fn hand_on(&self, routes: &RwLock<Routes>) {
        let mut messages = self.handing_on.lock();
        std::mem::swap(&mut *messages, &mut *self.waiting.lock());
        let mut run: Option<(Arc<dyn Listener>, Vec<Heard>)> = None;
        for push in messages.drain(..) {
            let Some((listener, heard)) = route(push, routes) else { continue };
            match &mut run {
                Some((before, run)) if Arc::ptr_eq(before, &listener) => run.push(heard),
                _ => {
                    if let Some((listener, heard)) = run.replace((listener, vec![heard])) {
                        listener.heard(heard);
                    }
                }
            }
        }
        if let Some((listener, heard)) = run {
            listener.heard(heard);
        }
    }
}

/// Who listens to a message.
fn route(push: PushInfo, routes: &RwLock<Routes>) -> Option<(Arc<dyn Listener>, Heard)> {
    let mut data = push.data.into_iter().filter_map(|value| match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    });
    let by_pattern = push.kind == PushKind::PMessage;
    let pattern = if by_pattern { Some(data.next()?) } else { None };
    let heard = Heard { by_pattern, channel: data.next()?, payload: data.next()? };
    let routes = routes.read();
    let (names, name) = match &pattern {
        Some(pattern) => (&routes.patterns, pattern),
        None => (&routes.channels, &heard.channel),
    };
    let listener = names.get(std::str::from_utf8(name).ok()?)?.clone();
    Some((listener, heard))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        routes.channels.insert("a".to_owned(), a.clone());
        routes.channels.insert("b".to_owned(), b.clone());
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
        assert_eq!((a.lengths(), arrivals.waiting.lock().len()), (vec![TOGETHER], 1));
        arrivals.hand_on(&routes);
        assert_eq!((a.lengths(), arrivals.waiting.lock().len()), (vec![TOGETHER, 1], 0));
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

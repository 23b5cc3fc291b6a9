//! Servers that come and go while questions are asked.
//!
//! Who asks a question counts the subscribers of the request channel first, and then publishes. Between the two a server may
//! subscribe or unsubscribe. One that has left would be waited for in vain until the timeout; the answer of one that is new
//! would be taken for that of another server, whose own then comes too late. So both answer late: who has counted them waits
//! for the answer, and who has not is done by then and ignores it.
//!
//! A server that leaves hears the request channel by a pattern a moment longer, as a subscription by pattern is not counted.

use super::broker::Namespace;
use super::decode;
use crate::subscriber::Listener;
use bytes::Bytes;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Body, Inbox, Message};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Time that Redis has to confirm the pattern.
pub(super) const CONFIRMATION: Duration = Duration::from_millis(500);

/// How long after a subscription's beginning or end servers may ask who have counted before it: they publish when their PUBSUB
/// NUMSUB was answered, within a millisecond unless their event loop is busy.
pub(super) const ASKED_WITHIN: Duration = Duration::from_millis(100);

/// How much later the answers are given. Other servers' answers are there by then.
pub(super) const ANSWERS_AFTER: Duration = Duration::from_millis(150);

/// Most questions that are kept; further ones are not answered.
const MAX_KEPT: usize = 1_024;

/// Whether every server is asked and counted. An event that clients are to acknowledge is not put off: it would come to them
/// out of order.
pub(super) fn is_question(body: &Body) -> bool {
    matches!(
        body,
        Body::FetchSockets { .. }
            | Body::FetchIds { .. }
            | Body::FetchRooms { .. }
            | Body::ServerSideEmit { request: Some(_), .. }
    )
}

/// Hands a question to its inbox late. Its number is told at once, with nothing else, as what comes behind it is numbered too.
pub(super) fn answer_late(question: Message, inbox: Arc<dyn Inbox>) {
    let Message { sender, number, .. } = &question;
    let nothing = Body::Alive { numbers: Vec::new() };
    inbox.receive(Message { sender: sender.clone(), to: None, number: *number, body: nothing });
    tokio::spawn(async move {
        sleep(ANSWERS_AFTER).await;
        inbox.receive(Message { number: None, ..question });
    });
}

/// Hears the request channel of a namespace by pattern.
pub(super) struct Leaving {
    namespace: Arc<Namespace>,
    /// Questions that will be answered late; `None` when no more are taken.
    kept: Mutex<Option<Vec<Message>>>,
    confirmed: Notify,
}

impl Leaving {
    pub(super) fn new(namespace: Arc<Namespace>) -> Arc<Self> {
        Arc::new(Self { namespace, kept: Mutex::new(Some(Vec::new())), confirmed: Notify::new() })
    }

    /// Resolves when the pattern is subscribed.
    pub(super) async fn confirmed(&self) {
        self.confirmed.notified().await;
    }

    /// The questions so far; no more are taken.
    pub(super) fn take(&self) -> Vec<Message> {
        self.kept.lock().take().unwrap_or_default()
    }
}

impl Listener for Leaving {
    fn heard(&self, _: Option<&str>, _: &[u8], payload: Vec<u8>) {
        // As long as both are subscribed, each message comes by its channel first, and by the pattern right after.
        if self.namespace.has_just_heard(&payload) {
            return;
        }
        let Ok(Some(message)) = decode::request(&Bytes::from(payload), &self.namespace.name) else { return };
        if let Some(kept) = &mut *self.kept.lock()
            && kept.len() < MAX_KEPT
            && message.sender.as_ref() != Some(&self.namespace.id)
        {
            // Numbers are no matter in a namespace that is left.
            kept.push(Message { number: None, ..message });
        }
    }

    fn connected(&self) {
        self.confirmed.notify_one();
    }

    fn lost(&self) {}
}

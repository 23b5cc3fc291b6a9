//! The [`Broker`] seam: carries messages between the servers of a cluster.

use super::message::{Message, ServerId};
use async_trait::async_trait;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// The namespace of messages that concern servers and no namespace: [`Body::Alive`](super::Body::Alive) and
/// [`Body::Goodbye`](super::Body::Goodbye). Only roomcast servers open it.
pub const SERVERS: &str = "";

/// Carries messages. Implement it to bring another message system than those that roomcast has; the cluster's logic (who is
/// asked what, retries, the outage window, numbers and losses) is not its business.
///
/// The contract, which `testkit::broker_contract` checks, with many a rule more:
/// - a message reaches every open inbox of its namespace; the publisher's own too, unless the broker says that it keeps its
///   server's own messages from it;
/// - messages of one publisher on one channel arrive in the order published, except those that are lost;
/// - a failed `publish` may have sent a part, and is repeated with the rest: doubles are the receiver's business;
/// - a broker that is not connected fails at once, it does not queue.
#[async_trait]
pub trait Broker: Debug + Send + Sync + 'static {
    /// Begins to hear a namespace for the server `id`. It returns at once; the inbox is told when messages really come, and
    /// again after each interruption. Opening twice changes nothing.
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>);

    /// Stops hearing a namespace, but for questions ([`Body::is_question`](super::Body::is_question)): see
    /// [`lingers`](Self::lingers).
    async fn close(&self, namespace: &str);

    /// How long after `close` the inbox may still be given questions. Servers that counted this one before it closed, and
    /// ask after, wait for its answer too. A broker whose servers know who is asked need not.
    fn lingers(&self) -> Duration {
        Duration::ZERO
    }

    /// Publishes in order. It works without an open namespace too (an emitter does that).
    ///
    /// # Errors
    /// [`PublishError`]: how many went out for sure, and why not all.
    async fn publish(&self, batch: &[Outgoing]) -> Result<(), PublishError>;

    /// The channel that a message would go out on. Messages are numbered per channel, as only within one is there order.
    fn channel_of(&self, outgoing: &Outgoing) -> Arc<str>;

    /// Number of servers that hear the namespace now, this one among them if it does: from the moment on in which its inbox was
    /// told so.
    ///
    /// # Errors
    /// [`BrokerError`] when it cannot be told.
    async fn peers(&self, namespace: &str) -> Result<usize, BrokerError>;

    /// How old a message may be when it goes out after an outage; `None` if the broker keeps history and age is no matter.
    fn max_age(&self) -> Option<Duration>;
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// The namespace, or [`SERVERS`].
    pub namespace: Arc<str>,
    /// The message.
    pub message: Message,
}

/// Where a broker puts what it hears.
pub trait Inbox: Send + Sync + 'static {
    /// Whether anybody here would get a broadcast to this room alone. Asked before decoding, as most broadcasts of a large
    /// cluster are for others.
    fn wants(&self, room: &str) -> bool;

    /// A message has come.
    fn receive(&self, message: Message);

    /// Messages have come at once, in this order: what they make for one client may leave together. As [`Inbox::receive`] for each
    /// of them.
    fn receive_all(&self, messages: Vec<Message>) {
        messages.into_iter().for_each(|message| self.receive(message));
    }

    /// What came was no message. Never fatal: it is counted.
    fn malformed(&self, error: &str);

    /// From now on messages come.
    fn connected(&self);

    /// Messages do not come for now.
    fn lost(&self);
}

/// A broker cannot do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokerError(pub String);

/// A batch did not go out whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (after {sent} messages)")]
pub struct PublishError {
    /// Messages at the front of the batch that went out for sure.
    pub sent: usize,
    /// Why the next one did not.
    pub reason: String,
    /// The message at `sent` can never go out (it is too large, say) and is not to be tried again.
    pub permanent: bool,
}

//! The [`Broker`] seam: carries messages between the servers of a cluster.

use super::message::{Message, ServerId};
use super::trailer::Arrival;
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
/// - messages of one publisher in one series ([`Lane`](super::Lane)) of a namespace arrive in the order published, except those
///   that are lost;
/// - the trailer of what nobody here wants arrives too: what is neither handed over nor passed over counts as lost;
/// - what is told to be published [`Again`](Outcome::Again) may have gone out: doubles are the receiver's business;
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

    /// Publishes in order, and tells what became of each message, in their order; those missing at the end were not tried. It
    /// works without an open namespace too (an emitter does that).
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome>;

    /// Number of servers that hear the namespace now, this one among them if it does: from the moment on in which its inbox was
    /// told so.
    ///
    /// # Errors
    /// [`BrokerError`] when it cannot be told.
    async fn count(&self, namespace: &str) -> Result<Count, BrokerError>;

    /// Whether what goes out can be read again later, so that its age is no matter: no message is too old to go out after an
    /// outage.
    fn keeps_history(&self) -> bool {
        false
    }
}

/// How many servers hear a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// Those that could be counted.
    pub servers: usize,
    /// Whether these are all; there may be more where a part of the broker does not tell.
    pub complete: bool,
}

impl Count {
    /// All of them.
    pub fn of(servers: usize) -> Self {
        Self { servers, complete: true }
    }

    /// Some of them: a part of the broker did not tell its own.
    pub fn at_least(servers: usize) -> Self {
        Self { servers, complete: false }
    }
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
    /// Whether anybody here would get a broadcast to this room alone, once all that was handed over has been applied. It may be
    /// asked before decoding, as most broadcasts of a large cluster are for others; what is not decoded for it is handed over as
    /// [`Arrival::PassedOver`].
    fn wants(&self, room: &str) -> bool;

    /// These have come, in this order. What comes together is handed over together: what it makes for one client leaves in one
    /// write.
    fn receive(&self, arrivals: Vec<Arrival>);

    /// From now on messages come.
    fn connected(&self);

    /// Messages do not come for now.
    fn lost(&self);
}

/// A broker cannot do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokerError(pub String);

/// What became of a message that was to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It went out.
    Sent,
    /// It did not, or nobody knows; why. It is published again.
    Again(String),
    /// It can never go out, for it is too large, say, or forbidden; why. It is dropped, and counted.
    Never(String),
}

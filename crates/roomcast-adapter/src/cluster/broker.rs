//! The [`Broker`] seam: carries messages between the servers of a cluster.

use super::message::{Body, Message, ServerId};
use super::trailer::{Arrival, Lane};
use crate::target::Room;
use async_trait::async_trait;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The namespace of messages that concern servers and no namespace: [`Body::Alive`], [`Body::Hello`] and [`Body::Goodbye`]. Only
/// roomcast servers open it. What is [`to`](Message::to) one server there should reach that one alone: a server that has just
/// come is told something by each of the others.
pub const SERVERS: &str = "";

/// Carries messages. Implement it to bring another message system than those that roomcast has; the cluster's logic (who is
/// asked what, retries, the outage window, numbers and losses) is not its business.
///
/// The contract, which `testkit::broker_contract` checks, with many a rule more:
/// - a message reaches every open inbox of its namespace; the publisher's own too, unless the broker says that it keeps its
///   server's own messages from it;
/// - messages of one publisher in one series ([`Lane`]) of a namespace arrive in the order published, except those
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
    /// told so. `None`, the default, of a broker that counts nobody: then there must be no servers but roomcast's, which know one
    /// another by name. Count where servers of other software can be there too, as they are awaited by their number.
    ///
    /// # Errors
    /// [`BrokerError`] when it cannot be told.
    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        let _ = namespace;
        Ok(None)
    }

    /// Who can answer a question in this dialect; everybody.
    fn speaks(&self, question: &Body) -> Speaks {
        let _ = question;
        Speaks::Everybody
    }

    /// Whether this server hears all of a series, wanted or not; yes. Gaps are losses only there: a broker that hears the channels
    /// of rooms that have members here, and no others, does not hear all of [`Lane::Rooms`].
    fn hears_all(&self, lane: Lane) -> bool {
        let _ = lane;
        true
    }

    /// Whether [`look`](Self::look) is called; no.
    fn looks(&self) -> bool {
        false
    }

    /// A room here may have got its first member or lost its last one, the room of a socket's own id among them. It is a hint, in no
    /// order: the broker asks [`Inbox::wants`] when it comes to it, and hears the room's channel or not. It returns at once.
    ///
    /// What is returned resolves when the room is heard: what the same server of the broker is given to publish from then on comes.
    /// `None`: it is heard already, or wanted no more.
    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        let _ = (namespace, room);
        None
    }

    /// Most bytes of a message ([`Body::size`]) that can go out; no bound of its own. What is larger is refused where it is
    /// emitted.
    fn largest(&self) -> usize {
        usize::MAX
    }

    /// Whether what goes out can be read again later, so that its age is no matter: no message is too old to go out after an
    /// outage.
    fn keeps_history(&self) -> bool {
        false
    }
}

/// Resolves when a room is heard, or when it cannot be.
pub type Looked = Pin<Box<dyn Future<Output = Result<(), BrokerError>> + Send>>;

/// Who can answer a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Speaks {
    /// All servers.
    Everybody,
    /// Roomcast's servers only: others do not know such a question, and are reported as missing at once.
    Ours,
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

    /// Whether an answer to this question is awaited here. It may be asked before decoding: in dialects in which all hear all answers,
    /// most are for others.
    fn awaits(&self, request: &str) -> bool {
        let _ = request;
        true
    }

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

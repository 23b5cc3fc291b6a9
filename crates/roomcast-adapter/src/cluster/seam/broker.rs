//! The [`Broker`] seam: carries messages between the servers of a cluster.

use crate::cluster::seam::ids::ServerId;
use crate::cluster::seam::inbox::Inbox;
use crate::cluster::seam::message::{Body, Message};
use crate::cluster::seam::series::Series;
use crate::seam::room::Room;
use async_trait::async_trait;
use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The namespace of messages between servers that belong to no namespace: [`Body::Alive`], [`Body::Hello`] and
/// [`Body::Goodbye`]. Only roomcast servers open it. A message [`to`](Message::to) one server should reach only that
/// server here, as every other server has something to tell a new one. (In other namespaces it may reach all servers;
/// those that it is not for ignore it.) This name is empty, which names of channels must allow for.
pub const SERVERS: &str = "";

/// Carries messages between servers. Implement it to use a message system that roomcast does not support yet. The
/// cluster's logic (whom to ask what, retries, the outage window, numbering, loss counts) is not the broker's business.
///
/// Start from one of two brokers in this crate's `examples/`: `tcp_broker`, the shortest, or `nats_broker`, which has a
/// subject for each room. [`codec`](crate::cluster::codec) encodes messages as bytes.
///
/// The contract, which `testkit::broker_contract` checks together with many more rules:
/// - A message reaches every open inbox of its namespace. This includes the publisher's own inbox, unless the broker
///   keeps its server's own messages from it: state that in the suite's `Dialect`, and give an
///   [`Emitter`](crate::cluster::Emitter) beside the server a broker of its own.
/// - Messages of one publisher in one [`Series`] of a namespace arrive in the order published. Exceptions are lost
///   messages, and series for which [`hears`](Broker::hears) returns [`EachRoom`](Hears::EachRoom).
/// - Where the broker [hears](Broker::hears) all of a series, it hands over the trailers of messages that nobody here
///   wants, too. A message that is neither handed over nor passed over counts as lost there.
/// - A message whose outcome is [`Again`](Outcome::Again) may have gone out. The receiver removes doubles.
/// - A broker that is not connected fails at once; it does not queue. It reconnects by itself, however long that takes.
///
/// No namespace is locked while a broker is called, so the broker may call [`Inbox::wants`] and [`Inbox::awaits`] under
/// a lock of its own. But it must call `receive`, `connected` and `lost` without holding a lock that
/// [`open`](Broker::open) or [`look`](Broker::look) takes, as the inbox may call these. It makes one of these calls at
/// a time to each inbox.
#[async_trait]
pub trait Broker: Debug + Send + Sync + 'static {
    /// Subscribes to a namespace for the server `id`. It returns at once; the inbox is told when messages start to
    /// arrive, and again after each interruption. Opening an open namespace changes nothing.
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>);

    /// Unsubscribes from a namespace and its rooms; only questions ([`Body::is_question`]) may still arrive, see
    /// [`lingers`](Self::lingers). Once this resolves, the inbox gets no other message, not even one that was in
    /// flight. Closing a namespace that is not open is harmless. The namespace may be opened again, with another inbox;
    /// it then has no rooms until [`look`](Self::look) is called again.
    async fn close(&self, namespace: &str);

    /// How long after `close` the inbox may still be given questions. Defaults to zero. A server that counted this one
    /// before it closed, and asks afterwards, waits for its answer too, unless the broker's servers know whom they ask.
    fn lingers(&self) -> Duration {
        Duration::ZERO
    }

    /// Publishes messages in order, and returns the outcome of each, in the same order. Messages without an outcome at
    /// the end of the batch were not tried. No namespace needs to be open, as in an emitter. A server has at most one
    /// batch in flight on each [road](Broker::route), of up to 4,096 messages, and beside these its own announcements.
    ///
    /// Where rooms have channels of their own, a message [`to`](Message::to) a server goes to that server, a broadcast
    /// to one room ([`Body::room`]) to that room's channel, whatever `except` and `one` are, and everything else to every
    /// server of the namespace. The name of a room that sockets can join
    /// has at most 1,024 bytes, but an emitter may use any name: if no channel can have such a name, the outcome is
    /// [`Outcome::Never`].
    ///
    /// A call that takes longer than 3 s is dropped, and its messages are published again. What the dropped call left
    /// behind may still go out, but not after anything that is published later.
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome>;

    /// The number of servers that are subscribed to the namespace now. It includes this server when its inbox has been
    /// told that messages arrive, and perhaps a moment earlier. `None`, the default, means that this broker cannot
    /// count: then all servers must be roomcast servers, which know one another by name. Implement it if servers of
    /// other software can take part, as the number of their answers is all that is known of them. The suite's `Dialect`
    /// states whether a broker counts.
    ///
    /// # Errors
    /// [`BrokerError`] if the servers cannot be counted now.
    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        let _ = namespace;
        Ok(None)
    }

    /// Who understands a question in this dialect. Defaults to everybody.
    fn speaks(&self, question: &Body) -> Speaks {
        let _ = question;
        Speaks::Everybody
    }

    /// How much of a series this server receives. Defaults to all of it. Only there is a gap a loss: a broker that
    /// subscribes only to the channels of rooms that have members here does not receive all of [`Series::Rooms`]. It is
    /// asked once, when the server joins its cluster.
    fn hears(&self, series: Series) -> Hears {
        let _ = series;
        Hears::All
    }

    /// The channel and road that a message takes. Defaults to the same for all. It is asked when a message joins the
    /// queue, so it must be quick and must not block. The answer may change over time: while messages of a channel
    /// wait, later ones of that channel take the same road.
    ///
    /// When [`SERVERS`] is [lost](Inbox::lost), the queue knows that other servers may have to subscribe again, too, and
    /// waits for them. If this server's subscriptions on another road were interrupted a moment ago, the broker must
    /// tell: its outcome for the next batch on that road is [`Outcome::Again`].
    fn route(&self, outgoing: &Outgoing) -> Route {
        let _ = outgoing;
        Route::default()
    }

    /// Whether a message could go out on this road now. Defaults to yes. It is asked during an outage of the road,
    /// except on the road of announcements, where each announcement shows it.
    ///
    /// # Errors
    /// [`BrokerError`] with the reason why not.
    async fn ready(&self, road: u64) -> Result<(), BrokerError> {
        let _ = road;
        Ok(())
    }

    /// Whether [`look`](Self::look) is to be called. Defaults to no, and must never change.
    fn looks(&self) -> bool {
        false
    }

    /// Tells the broker that a room may have got its first member here or lost its last one; the rooms named after
    /// socket ids are included. It is a hint, and hints come in no particular order: when the broker gets to it, it
    /// asks [`Inbox::wants`], and subscribes to the room's channel or unsubscribes. It returns at once.
    ///
    /// The returned future resolves when the room is subscribed: what is given to the same server of the message system
    /// to publish from then on arrives here. `None` if the room is subscribed already, is no longer wanted, or the
    /// namespace is not open. Dropping the future changes nothing.
    ///
    /// This is also called while the broker is not connected. The future may then fail at once, but the room is
    /// remembered: whenever the broker calls [`Inbox::connected`], it is subscribed to all rooms that were looked at
    /// since `open` and are still wanted.
    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        let _ = (namespace, room);
        None
    }

    /// Most bytes of a message ([`Body::size`]) that can be published. Defaults to no limit. An emit whose data alone
    /// is larger is refused at the call; a server keeps its announcements below the limit, and splits large answers
    /// into parts of at most half of it. The size is only an estimate of the bytes on the wire: the outcome of a
    /// message that proves too large when it is published must be [`Outcome::Never`], or it would be published for
    /// ever. With [`codec`](crate::cluster::codec) the limit is [`codec::MAX_BYTES`](crate::cluster::codec::MAX_BYTES)
    /// or less.
    fn largest(&self) -> usize {
        usize::MAX
    }

    /// Whether published messages can be read again later. Defaults to no. If so, their age does not matter, and no
    /// message is dropped as too old after an outage.
    fn keeps_history(&self) -> bool {
        false
    }
}

/// Resolves when a room is subscribed, or with an error when it cannot be.
pub type Looked = Pin<Box<dyn Future<Output = Result<(), BrokerError>> + Send>>;

/// How much of a series a server receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hears {
    /// All of it, in the order published.
    All,
    /// Only what is wanted here, in the order published.
    Some,
    /// Only what is wanted here, in the order published within each room: rooms have channels of their own, on servers
    /// of the message system that are independent of one another.
    EachRoom,
}

/// The way that a message takes through the message system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Route {
    /// Messages of a series on the same channel arrive in the order published. 0: all messages take the same road.
    pub channel: u64,
    /// Messages on the same road wait for one another; a road is a connection, for example. Each road has its own batch
    /// in flight and its own outages, while other roads go on. There should be few roads, and a server of the message
    /// system that replaces another one should keep its road.
    pub road: u64,
}

/// Who understands a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Speaks {
    /// All servers.
    Everybody,
    /// Only roomcast servers: others do not know the question, and are reported as missing at once.
    Ours,
}

/// How many servers are subscribed to a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// The servers that could be counted.
    pub servers: usize,
    /// Whether these are all. If not, a part of the message system did not answer, and there may be more.
    pub complete: bool,
}

impl Count {
    /// A complete count.
    pub fn of(servers: usize) -> Self {
        Self { servers, complete: true }
    }

    /// A partial count: a part of the message system did not answer.
    pub fn at_least(servers: usize) -> Self {
        Self { servers, complete: false }
    }
}

/// A message that is to be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// The namespace, or [`SERVERS`]. It is not part of the message: the broker carries it, in a channel's name for
    /// example.
    pub namespace: Arc<str>,
    /// The message.
    pub message: Message,
}

/// A broker cannot do what it was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokerError(pub String);

/// What became of a message that was to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It went out: the message system has confirmed it, if it can confirm messages. Having written it to a connection
    /// is not enough, as a connection that breaks loses it silently.
    Sent,
    /// It did not go out, or nobody knows, with the reason. It will be published again.
    Again(String),
    /// It can never go out, with the reason; it is too large or forbidden, for example. It is dropped and counted.
    Never(String),
}

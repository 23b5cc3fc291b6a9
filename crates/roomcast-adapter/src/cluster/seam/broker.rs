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

/// The namespace of messages that concern servers and no namespace: [`Body::Alive`], [`Body::Hello`] and [`Body::Goodbye`]. Only
/// roomcast servers open it. What is [`to`](Message::to) one server there should reach that one alone: a server that has just
/// come is told something by each of the others. (In other namespaces it may come to all, who ignore what is for another.) The name is
/// empty, which the names of channels that are made of it must allow for.
pub const SERVERS: &str = "";

/// Carries messages. Implement it to bring another message system than those that roomcast has; the cluster's logic (who is
/// asked what, retries, the outage window, numbers and losses) is not its business.
///
/// Two brokers to begin from are in `examples/` of this crate: `tcp_broker`, the shortest, and `nats_broker`, with a subject for each
/// room. [`codec`](super::codec) makes bytes of messages.
///
/// The contract, which `testkit::broker_contract` checks, with many a rule more:
/// - a message reaches every open inbox of its namespace; the publisher's own too, unless the broker keeps its server's own messages
///   from it (the suite is told so by its `Dialect`; an [`Emitter`](super::Emitter) beside the server then needs a broker of its own);
/// - messages of one publisher in one series ([`Series`]) of a namespace arrive in the order published, except those
///   that are lost, and but for where the broker says of the series that it hears it by [`EachRoom`](Hears::EachRoom);
/// - the trailer of what nobody here wants arrives too, where the broker [hears](Broker::hears) all of a series: what is neither
///   handed over nor passed over counts as lost there;
/// - what is told to be published [`Again`](Outcome::Again) may have gone out: doubles are the receiver's business;
/// - a broker that is not connected fails at once, it does not queue. It connects again by itself, however long that takes.
///
/// No namespace is locked while a broker is called. So it may ask [`Inbox::wants`] and [`Inbox::awaits`] under a lock of its own. But
/// it must tell the inbox what comes (`receive`, `connected`, `lost`) under no lock that [`open`](Broker::open) or
/// [`look`](Broker::look) takes, as the inbox may call these; and it tells one inbox one thing at a time.
#[async_trait]
pub trait Broker: Debug + Send + Sync + 'static {
    /// Begins to hear a namespace for the server `id`. It returns at once; the inbox is told when messages really come, and
    /// again after each interruption. Opening twice changes nothing.
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>);

    /// Stops hearing a namespace and its rooms, but for questions ([`Body::is_question`](super::Body::is_question)): see
    /// [`lingers`](Self::lingers). When it resolves, no other message comes to the inbox any more, not even one that was on its way
    /// to it. Closing what is not open is harmless. It may be opened again, with another inbox; rooms are looked at anew then.
    async fn close(&self, namespace: &str);

    /// How long after `close` the inbox may still be given questions. Servers that counted this one before it closed, and
    /// ask after, wait for its answer too. A broker whose servers know who is asked need not.
    fn lingers(&self) -> Duration {
        Duration::ZERO
    }

    /// Publishes in order, and tells what became of each message, in their order; those missing at the end were not tried. It
    /// works without an open namespace too (an emitter does that). A server has one batch under way on each
    /// [road](Broker::route), of up to 4,096 messages, and beside it what it tells the others of itself.
    ///
    /// Where there are channels for rooms: what is [`to`](Message::to) a server goes to that server, a broadcast of [`Series::Rooms`]
    /// ([`Series::of`] tells) to the channel of `target.rooms.first()`, whatever `except` and `one` say, and all else to every server of
    /// the namespace. A name of a room that can be joined has 1,024 bytes at most, but an emitter may name any: what no channel can
    /// be named for is [`Outcome::Never`].
    ///
    /// A call that takes longer than 3 s is dropped, and its messages are published again. What is left of it may still go out, but
    /// not behind what is published later.
    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome>;

    /// Number of servers that hear the namespace now, this one among them if it does: from the moment on in which its inbox was
    /// told so. `None`, the default, of a broker that counts nobody: then there must be no servers but roomcast's, which know one
    /// another by name. Count where servers of other software can be there too, as they are awaited by their number.
    /// The suite is told which by its `Dialect`.
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

    /// What this server hears of a series; all. Gaps are losses only there: a broker that hears the channels of rooms that have members
    /// here, and no others, does not hear all of [`Series::Rooms`]. It is asked when the server joins its cluster, and holds from then
    /// on.
    fn hears(&self, series: Series) -> Hears {
        let _ = series;
        Hears::All
    }

    /// How a message goes out; all the same way. It is asked when a message joins the queue, so it must be quick and wait for nothing.
    /// The answer may change with time: while something of a channel waits, what is behind it takes its road.
    fn route(&self, outgoing: &Outgoing) -> Route {
        let _ = outgoing;
        Route::default()
    }

    /// Whether something that takes this road could go out now; yes. It is asked in an outage of the road, but for that of
    /// announcements, which tell it by themselves.
    ///
    /// # Errors
    /// [`BrokerError`]: why not.
    async fn ready(&self, road: u64) -> Result<(), BrokerError> {
        let _ = road;
        Ok(())
    }

    /// Whether [`look`](Self::look) is called; no. The same at all times.
    fn looks(&self) -> bool {
        false
    }

    /// A room here may have got its first member or lost its last one, the room of a socket's own id among them. It is a hint, in no
    /// order: the broker asks [`Inbox::wants`] when it comes to it, and hears the room's channel or not. It returns at once.
    ///
    /// What is returned resolves when the room is heard: what the same server of the broker is given to publish from then on comes.
    /// `None`: it is heard already, or wanted no more, or the namespace is not open. It may be dropped, which changes nothing.
    ///
    /// Rooms are looked at while the broker is not connected, too. What is returned may then be an error at once, but the room is not
    /// forgotten: whenever [`Inbox::connected`] is told, all rooms that were looked at since `open` and are still wanted are heard.
    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        let _ = (namespace, room);
        None
    }

    /// Most bytes of a message ([`Body::size`]) that can go out; no bound of its own. An emit whose data alone is larger is refused at the
    /// call; a server keeps what it tells the others of itself below it, and gives large answers in parts of at most half of it. The
    /// size is only an estimate of the bytes on the wire: what proves too large when it is published must be [`Outcome::Never`], or
    /// it would be published for ever. With [`codec`](super::codec) it is
    /// [`codec::MAX_BYTES`](super::codec::MAX_BYTES) or less.
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

/// What a server hears of a series of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hears {
    /// All of it, in the order published.
    All,
    /// What is wanted here, in the order published.
    Some,
    /// What is wanted here, in the order of each room: rooms have channels of their own, on servers that know nothing of one another.
    EachRoom,
}

/// How a message goes out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Route {
    /// Messages of a series that have this in common arrive in the order published. 0: all on the same road.
    pub channel: u64,
    /// Messages that have this in common wait for one another: a connection, say. Each road has a batch under way, and outages of its
    /// own, in which the others go on. There should be few, and a server that takes another's place should have its road.
    pub road: u64,
}

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
    /// The namespace, or [`SERVERS`]. The message does not hold it, so a broker must carry it, in a channel's name say.
    pub namespace: Arc<str>,
    /// The message.
    pub message: Message,
}

/// A broker cannot do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokerError(pub String);

/// What became of a message that was to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It went out: the message system has said that it has it, if it can. That it was written to a connection is not enough, as one
    /// that breaks loses that in silence.
    Sent,
    /// It did not, or nobody knows; why. It is published again.
    Again(String),
    /// It can never go out, for it is too large, say, or forbidden; why. It is dropped, and counted.
    Never(String),
}

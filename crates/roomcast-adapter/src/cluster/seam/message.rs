//! [`Message`]: what servers of a cluster send one another, independent of any dialect.

use crate::cluster::seam::alive::Alive;
use crate::cluster::seam::ids::{RequestId, ServerId};
use crate::cluster::seam::series::Series;
use crate::cluster::seam::trailer::Trailer;
use crate::seam::recipient::SocketDetails;
use crate::seam::room::Room;
use crate::seam::target::Target;
use roomcast_protocol::Args;
use std::time::Duration;

/// A message between servers.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The sender. Answers in the classic dialect of Node's servers, and some messages of emitters, do not name it.
    pub sender: Option<ServerId>,
    /// The server that the message is for, as in an answer. `None` means every server of the namespace.
    pub to: Option<ServerId>,
    /// The process that published the message, and the message's numbers. Only roomcast's messages have a trailer.
    pub trailer: Option<Trailer>,
    /// What the message says.
    pub body: Body,
}

/// What a message says or asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Send an event to clients.
    Broadcast {
        /// The event's name, then its arguments.
        data: Args,
        /// Which sockets.
        target: Target,
        /// Drop it for clients whose transport cannot be written to at once.
        volatile: bool,
        /// Whether it may be compressed.
        compress: bool,
    },
    /// Send an event to clients, tell how many clients there are, and forward their acknowledgements.
    BroadcastWithAck {
        /// Names the question.
        request: RequestId,
        /// The event's name, then its arguments.
        data: Args,
        /// Which sockets.
        target: Target,
        /// How long the asker waits, if it says so.
        timeout: Option<Duration>,
    },
    /// Answer to [`Body::BroadcastWithAck`]: how many clients were asked.
    AskedClients {
        /// Names the question.
        request: RequestId,
        /// The number of clients.
        count: u64,
    },
    /// Answer to [`Body::BroadcastWithAck`]: one client's acknowledgement.
    ClientAck {
        /// Names the question.
        request: RequestId,
        /// The acknowledgement. Only the first argument travels.
        args: Args,
    },
    /// Put sockets into rooms.
    Join {
        /// Which sockets.
        target: Target,
        /// Rooms to join.
        rooms: Vec<Room>,
        /// Set by old servers: the server that has the socket answers with [`Body::Done`].
        request: Option<RequestId>,
    },
    /// Take sockets out of rooms.
    Leave {
        /// Which sockets.
        target: Target,
        /// Rooms to leave.
        rooms: Vec<Room>,
        /// As in [`Body::Join`].
        request: Option<RequestId>,
    },
    /// Disconnect sockets.
    Disconnect {
        /// Which sockets.
        target: Target,
        /// Whether to close their whole connections.
        close: bool,
        /// As in [`Body::Join`].
        request: Option<RequestId>,
    },
    /// Answer to an old server: the change has been made.
    Done {
        /// Names the question.
        request: RequestId,
    },
    /// Which sockets match?
    FetchSockets {
        /// Names the question.
        request: RequestId,
        /// Which sockets.
        target: Target,
    },
    /// How many sockets match? Servers of other software may answer with the sockets themselves ([`Body::Sockets`]).
    Count {
        /// Names the question.
        request: RequestId,
        /// Which sockets.
        target: Target,
    },
    /// Answer to [`Body::Count`].
    Counted {
        /// Names the question.
        request: RequestId,
        /// The number of matching sockets on the server that answers.
        count: u64,
    },
    /// Answer to [`Body::FetchSockets`].
    Sockets {
        /// Names the question.
        request: RequestId,
        /// The matching sockets of the server that answers.
        sockets: Vec<SocketDetails>,
        /// The number of messages that make up this answer. More than 1 only between roomcast servers.
        parts: u64,
    },
    /// The ids of matching sockets, as servers older than Socket.IO 4 ask for them.
    FetchIds {
        /// Names the question.
        request: RequestId,
        /// Which sockets.
        target: Target,
    },
    /// Answer to [`Body::FetchIds`].
    Ids {
        /// Names the question.
        request: RequestId,
        /// The ids.
        ids: Vec<String>,
    },
    /// Which rooms have members?
    FetchRooms {
        /// Names the question.
        request: RequestId,
    },
    /// Answer to [`Body::FetchRooms`].
    Rooms {
        /// Names the question.
        request: RequestId,
        /// The rooms of the server that answers.
        rooms: Vec<Room>,
        /// As in [`Body::Sockets`].
        parts: u64,
    },
    /// An event for the servers themselves.
    ServerSideEmit {
        /// Set if an answer is wanted.
        request: Option<RequestId>,
        /// The event's name, then its arguments.
        data: Args,
    },
    /// Answer to [`Body::ServerSideEmit`].
    ServerAnswer {
        /// Names the question.
        request: RequestId,
        /// The answer. Only one argument travels.
        args: Args,
    },
    /// Answer of a roomcast server to another one: there will be no answer.
    Refused {
        /// Names the question.
        request: RequestId,
    },
    /// A roomcast server is alive.
    Alive(Alive),
    /// A roomcast server is new, or has missed something, and asks for everything ([`Alive::whole`]).
    Hello,
    /// A roomcast server leaves.
    Goodbye,
}

impl Body {
    /// The room of a broadcast to a single room, perhaps named several times: the messages of [`Series::Rooms`], and no others, have one.
    /// Where rooms have channels of their own, such a message goes to the channel of this room.
    pub fn room(&self) -> Option<&Room> {
        match self {
            Self::Broadcast { target, .. } if Series::of(self) == Some(Series::Rooms) => target.rooms.first(),
            _ => None,
        }
    }

    /// The question that this answers; `None` if it is not an answer.
    pub fn answers(&self) -> Option<&RequestId> {
        match self {
            Self::AskedClients { request, .. }
            | Self::ClientAck { request, .. }
            | Self::Done { request }
            | Self::Sockets { request, .. }
            | Self::Counted { request, .. }
            | Self::Ids { request, .. }
            | Self::Rooms { request, .. }
            | Self::Refused { request }
            | Self::ServerAnswer { request, .. } => Some(request),
            Self::Broadcast { .. }
            | Self::BroadcastWithAck { .. }
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::Disconnect { .. }
            | Self::FetchSockets { .. }
            | Self::Count { .. }
            | Self::FetchIds { .. }
            | Self::FetchRooms { .. }
            | Self::ServerSideEmit { .. }
            | Self::Alive(_)
            | Self::Hello
            | Self::Goodbye => None,
        }
    }

    /// The number of messages that make up this answer.
    pub(crate) fn parts(&self) -> u64 {
        match self {
            Self::Sockets { parts, .. } | Self::Rooms { parts, .. } => *parts,
            _ => 1,
        }
    }

    /// Whether this is a question, whose sender waits for the answers of other servers.
    pub fn is_question(&self) -> bool {
        match self {
            Self::FetchSockets { .. }
            | Self::Count { .. }
            | Self::FetchIds { .. }
            | Self::FetchRooms { .. }
            | Self::BroadcastWithAck { .. } => true,
            Self::ServerSideEmit { request, .. } => request.is_some(),
            // Servers of other software may ask for a confirmation (`Body::Done`) of the first three; no roomcast server does.
            Self::Join { .. }
            | Self::Leave { .. }
            | Self::Disconnect { .. }
            | Self::Broadcast { .. }
            | Self::AskedClients { .. }
            | Self::ClientAck { .. }
            | Self::Done { .. }
            | Self::Sockets { .. }
            | Self::Counted { .. }
            | Self::Ids { .. }
            | Self::Rooms { .. }
            | Self::Refused { .. }
            | Self::ServerAnswer { .. }
            | Self::Alive(_)
            | Self::Hello
            | Self::Goodbye => false,
        }
    }

    /// The bytes that this takes of a queue's limit: an estimate of its size on the wire.
    pub fn size(&self) -> usize {
        let args = |args: &Args| {
            args.attachments().iter().fold(args.items_bytes().len(), |size, bytes| size.saturating_add(bytes.len()))
        };
        let rooms = |rooms: &[Room]| rooms.iter().map(room_bytes).fold(0, usize::saturating_add);
        let target = |target: &Target| rooms(&target.rooms).saturating_add(rooms(&target.except));
        let variable = match self {
            Self::Broadcast { data, target: to, .. } | Self::BroadcastWithAck { data, target: to, .. } => {
                args(data).saturating_add(target(to))
            }
            Self::ServerSideEmit { data, .. }
            | Self::ClientAck { args: data, .. }
            | Self::ServerAnswer { args: data, .. } => args(data),
            Self::Join { target: to, rooms: names, .. } | Self::Leave { target: to, rooms: names, .. } => {
                target(to).saturating_add(rooms(names))
            }
            Self::Disconnect { target: to, .. }
            | Self::FetchSockets { target: to, .. }
            | Self::Count { target: to, .. }
            | Self::FetchIds { target: to, .. } => target(to),
            Self::Sockets { sockets, .. } => sockets.iter().map(socket_bytes).fold(0, usize::saturating_add),
            Self::Ids { ids, .. } => ids.iter().map(String::len).fold(0, usize::saturating_add),
            Self::Rooms { rooms: names, .. } => rooms(names),
            // An announcement has a limit of its own, `ANNOUNCEMENT_BYTES`.
            Self::Alive(_)
            | Self::AskedClients { .. }
            | Self::Done { .. }
            | Self::Counted { .. }
            | Self::FetchRooms { .. }
            | Self::Refused { .. }
            | Self::Hello
            | Self::Goodbye => 0,
        };
        variable.saturating_add(ENVELOPE)
    }
}

/// Bytes of a message without data and rooms: generous, as these are a few hundred at most.
pub(crate) const ENVELOPE: usize = 256;

/// Bytes of a room's name in a message.
pub(crate) fn room_bytes(room: &Room) -> usize {
    room.len() + 16
}

/// Bytes of a socket in an answer.
pub(crate) fn socket_bytes(socket: &SocketDetails) -> usize {
    /// The names of its fields.
    const FIELDS: usize = 64;
    let details = socket.details.handshake.len().saturating_add(socket.details.data.len());
    socket.rooms.iter().map(room_bytes).fold(details + socket.id.len() + FIELDS, usize::saturating_add)
}

impl Series {
    /// The series of a message. Answers are in none: an answer that is lost is noticed as missing.
    pub fn of(body: &Body) -> Option<Self> {
        match body {
            Body::Broadcast { target, .. } => {
                let mut rooms = target.rooms.iter();
                let first = rooms.next();
                let one = first.is_some_and(|first| rooms.all(|room| room == first));
                Some(if one { Self::Rooms } else { Self::Main })
            }
            Body::Alive(_) | Body::Hello | Body::Goodbye => None,
            body => body.answers().is_none().then_some(Self::Main),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_that_is_named_twice_is_one_room() {
        let series = |rooms: &[&str]| {
            let rooms = rooms.iter().map(|room| Room::from(*room)).collect();
            let target = Target { rooms, ..Target::default() }.except("x");
            Series::of(&Body::Broadcast { data: Args::none(), target, volatile: false, compress: true })
        };
        assert_eq!([series(&["a"]), series(&["a", "a"])], [Some(Series::Rooms); 2]);
        assert_eq!([series(&[]), series(&["a", "b"])], [Some(Series::Main); 2]);
    }
}

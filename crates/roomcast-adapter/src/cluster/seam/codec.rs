//! A codec for brokers whose dialect is nobody else's: [`encode`] and [`decode`] carry every field of a [`Message`].
//!
//! A broker that talks to servers of other software has a dialect of theirs; one that brings another message system may
//! take this. The namespace is not among them: the channel's name tells it, or the broker writes it beside. The bytes are, in this order:
//!
//! ```text
//! 1 byte    version, 2
//! 4 bytes   length of the head, big endian
//! n bytes   the head: JSON with everything but the event's arguments
//! n bytes   the arguments, the raw JSON array as it is sent to clients (nothing, if the message has none)
//! n bytes   each attachment; the head tells how long they are
//! 30 bytes  the trailer ([`Trailer`]); zeros, if the message has none
//! ```
//!
//! So arguments and attachments are copied and neither escaped nor expanded. Keys of the head that a later release adds are
//! ignored; a version that is not 2, a body that is not known, a length that does not add up, text that is not JSON, nesting
//! over [`MAX_DEPTH`] and placeholders without an attachment are errors. Nothing is allocated by a length that is only told.

use crate::cluster::seam::alive::Alive;
use crate::cluster::seam::ids::{RequestId, ServerId};
use crate::cluster::seam::message::{Body, Message};
use crate::cluster::seam::trailer::Trailer;
use crate::seam::recipient::{Details, SocketDetails};
use crate::seam::room::Room;
use crate::seam::target::Target;
use bytes::Bytes;
use roomcast_protocol::json::{self, JsonKind};
use roomcast_protocol::limits::MAX_DEPTH_OPTION;
use roomcast_protocol::{Args, ByteStr, Decoder, DecoderLimits};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a message that [`decode`] takes: as many as wait in a server's queue by default. A broker should refuse to
/// publish more ([`Outcome::Never`](super::Outcome::Never)).
pub const MAX_BYTES: usize = 8_000_000;

/// Deepest nesting of a message's arguments: all that an emit can hold. The check needs no stack.
pub const MAX_DEPTH: usize = MAX_DEPTH_OPTION;

/// Most attachments of a message. An empty one costs two bytes and 32 in memory, so their number has a bound of its own.
pub const MAX_ATTACHMENTS: usize = 65_536;

const VERSION: u8 = 2;

/// Version and length of the head.
const PREFIX: usize = 5;

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// More than [`MAX_BYTES`].
    #[error("a message of {0} bytes: at most {MAX_BYTES} are taken")]
    TooLarge(usize),
    /// Another version of this codec, or none.
    #[error("not a message of version {VERSION}")]
    Version,
    /// Lengths that do not add up: the message was cut off, or is followed by something.
    #[error("the message's parts are not as long as it says")]
    Length,
    /// The head cannot be read.
    #[error("the message's head is malformed: {0}")]
    Head(String),
    /// Arguments, handshake or data are not JSON of the right kind, nest too deeply, or name attachments that are missing.
    #[error("the message's data is malformed: {0}")]
    Data(String),
}

/// A message as bytes.
pub fn encode(message: &Message) -> Vec<u8> {
    let (body, args) = WireBody::of(&message.body);
    let attachments = args.map_or(&[][..], Args::attachments);
    let head = Head {
        sender: message.sender.clone().map(|id| id.as_str().into()),
        to: message.to.clone().map(|id| id.as_str().into()),
        args: args.map_or(0, |args| args.items_bytes().len() + 2),
        attachments: attachments.iter().map(Bytes::len).collect(),
        body,
    };
    // Text, numbers and lists of them always serialise; were it otherwise, an empty head would be refused by the reader.
    let head = serde_json::to_vec(&head).unwrap_or_default();
    let size = attachments.iter().map(Bytes::len).sum::<usize>();
    let mut bytes =
        Vec::with_capacity(PREFIX + head.len() + args.map_or(0, |args| args.items_bytes().len() + 2) + size);
    bytes.push(VERSION);
    // A head over 4 GiB does not exist: its parts come out of a queue of bounded size.
    bytes.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&head);
    if let Some(args) = args {
        bytes.push(b'[');
        bytes.extend_from_slice(args.items_bytes());
        bytes.push(b']');
    }
    for attachment in attachments {
        bytes.extend_from_slice(attachment);
    }
    bytes.extend_from_slice(&message.trailer.map_or([0; Trailer::BYTES], Trailer::to_bytes));
    bytes
}

/// The trailer of the message that these bytes are, read without the rest: enough for a broadcast to a room that nobody here is in
/// ([`Arrival::PassedOver`](super::Arrival::PassedOver)).
pub fn trailer(bytes: &[u8]) -> Option<Trailer> {
    Trailer::from_bytes(bytes.last_chunk::<{ Trailer::BYTES }>()?)
}

/// The message that [`encode`] made these bytes of.
///
/// # Errors
/// [`CodecError`], for whatever is no such message.
pub fn decode(bytes: &[u8]) -> Result<Message, CodecError> {
    if bytes.len() > MAX_BYTES {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    let (version, rest) = bytes.split_first().ok_or(CodecError::Version)?;
    if *version != VERSION {
        return Err(CodecError::Version);
    }
    let (rest, trailer) = rest.split_last_chunk::<{ Trailer::BYTES }>().ok_or(CodecError::Length)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(CodecError::Length)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| CodecError::Length)?;
    let (head, rest) = rest.split_at_checked(length).ok_or(CodecError::Length)?;
    let head: Head = serde_json::from_slice(head).map_err(|error| CodecError::Head(error.to_string()))?;
    if head.attachments.len() > MAX_ATTACHMENTS {
        return Err(CodecError::Head(format!("{} attachments", head.attachments.len())));
    }
    let (items, mut rest) = rest.split_at_checked(head.args).ok_or(CodecError::Length)?;
    let mut attachments = Vec::new();
    for length in head.attachments {
        let (attachment, after) = rest.split_at_checked(length).ok_or(CodecError::Length)?;
        attachments.push(attachment.to_vec().into());
        rest = after;
    }
    if !rest.is_empty() {
        return Err(CodecError::Length);
    }
    let args = if items.is_empty() && attachments.is_empty() { None } else { Some(args(items, attachments)?) };
    let id = |id: Arc<str>| ServerId::from(&*id);
    let body = head.body.with(args)?;
    Ok(Message { sender: head.sender.map(id), to: head.to.map(id), trailer: Trailer::from_bytes(trailer), body })
}

/// Arguments out of a JSON array.
fn args(array: &[u8], attachments: Vec<Bytes>) -> Result<Args, CodecError> {
    let malformed = |error: &dyn std::fmt::Display| CodecError::Data(error.to_string());
    let array = std::str::from_utf8(array).map_err(|error| malformed(&error))?;
    if json::check(array, MAX_DEPTH).map_err(|error| malformed(&error))? != JsonKind::Array {
        return Err(malformed(&"the arguments are no array"));
    }
    if !attachments.is_empty() {
        // What clients would be sent is read as they would read it: each placeholder must have its attachment.
        let limits = DecoderLimits { max_attachments: MAX_ATTACHMENTS, max_bytes: MAX_BYTES, max_depth: MAX_DEPTH };
        let (mut decoder, text) = (Decoder::new(limits), format!("6{}-0{array}", attachments.len()));
        decoder.text(&text).map_err(|error| malformed(&error))?;
        for _ in &attachments {
            decoder.binary(&[]).map_err(|error| malformed(&error))?;
        }
    }
    let items = array.trim_ascii();
    let items = items.get(1..items.len() - 1).unwrap_or_default().trim_ascii();
    Ok(Args::from_parts(ByteStr::from(items), attachments))
}

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Arc<str>>,
    /// Bytes of the arguments, brackets included.
    #[serde(default)]
    args: usize,
    /// Bytes of each attachment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<usize>,
    body: WireBody,
}

/// [`Body`] without arguments.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireBody {
    Broadcast {
        target: WireTarget,
        volatile: bool,
        compress: bool,
    },
    BroadcastWithAck {
        request: Arc<str>,
        target: WireTarget,
        timeout: Option<Duration>,
    },
    AskedClients {
        request: Arc<str>,
        count: u64,
    },
    ClientAck {
        request: Arc<str>,
    },
    Join {
        target: WireTarget,
        rooms: Vec<Arc<str>>,
        request: Option<Arc<str>>,
    },
    Leave {
        target: WireTarget,
        rooms: Vec<Arc<str>>,
        request: Option<Arc<str>>,
    },
    Disconnect {
        target: WireTarget,
        close: bool,
        request: Option<Arc<str>>,
    },
    Done {
        request: Arc<str>,
    },
    FetchSockets {
        request: Arc<str>,
        target: WireTarget,
    },
    Count {
        request: Arc<str>,
        target: WireTarget,
    },
    Counted {
        request: Arc<str>,
        count: u64,
    },
    Sockets {
        request: Arc<str>,
        sockets: Vec<WireSocket>,
        #[serde(default = "one")]
        parts: u64,
    },
    FetchIds {
        request: Arc<str>,
        target: WireTarget,
    },
    Ids {
        request: Arc<str>,
        ids: Vec<String>,
    },
    FetchRooms {
        request: Arc<str>,
    },
    Rooms {
        request: Arc<str>,
        rooms: Vec<Arc<str>>,
        #[serde(default = "one")]
        parts: u64,
    },
    Refused {
        request: Arc<str>,
    },
    ServerSideEmit {
        request: Option<Arc<str>>,
    },
    ServerAnswer {
        request: Arc<str>,
    },
    Alive(Alive),
    Hello,
    Goodbye,
}

fn one() -> u64 {
    1
}

#[derive(Serialize, Deserialize)]
struct WireTarget {
    rooms: Vec<Arc<str>>,
    except: Vec<Arc<str>>,
    local: bool,
}

#[derive(Serialize, Deserialize)]
struct WireSocket {
    id: String,
    rooms: Vec<Arc<str>>,
    handshake: String,
    data: String,
}

fn texts(rooms: &[Room]) -> Vec<Arc<str>> {
    rooms.iter().map(|room| Arc::from(&**room)).collect()
}

fn rooms(texts: &[Arc<str>]) -> Vec<Room> {
    texts.iter().map(|text| Room::from(&**text)).collect()
}

impl WireTarget {
    fn of(target: &Target) -> Self {
        Self { rooms: texts(&target.rooms), except: texts(&target.except), local: target.local }
    }

    fn target(self) -> Target {
        Target { rooms: rooms(&self.rooms), except: rooms(&self.except), local: self.local, one: false }
    }
}

impl WireSocket {
    fn of(socket: &SocketDetails) -> Self {
        let Details { handshake, data } = socket.details.clone();
        Self { id: socket.id.clone(), rooms: texts(&socket.rooms), handshake, data }
    }

    fn socket(self) -> Result<SocketDetails, CodecError> {
        for (name, text) in [("handshake", &self.handshake), ("data", &self.data)] {
            json::check(text, MAX_DEPTH).map_err(|error| CodecError::Data(format!("{name}: {error}")))?;
        }
        let details = Details { handshake: self.handshake, data: self.data };
        Ok(SocketDetails { id: self.id, rooms: rooms(&self.rooms), details })
    }
}

impl WireBody {
    fn of(body: &Body) -> (Self, Option<&Args>) {
        let id = |request: &RequestId| request.0.clone();
        let ids = |request: &Option<RequestId>| request.as_ref().map(id);
        let mut args = None;
        let wire = match body {
            Body::Broadcast { data, target, volatile, compress } => {
                args = Some(data);
                Self::Broadcast { target: WireTarget::of(target), volatile: *volatile, compress: *compress }
            }
            Body::BroadcastWithAck { request, data, target, timeout } => {
                args = Some(data);
                Self::BroadcastWithAck { request: id(request), target: WireTarget::of(target), timeout: *timeout }
            }
            Body::AskedClients { request, count } => Self::AskedClients { request: id(request), count: *count },
            Body::ClientAck { request, args: answer } => {
                args = Some(answer);
                Self::ClientAck { request: id(request) }
            }
            Body::Join { target, rooms, request } => {
                Self::Join { target: WireTarget::of(target), rooms: texts(rooms), request: ids(request) }
            }
            Body::Leave { target, rooms, request } => {
                Self::Leave { target: WireTarget::of(target), rooms: texts(rooms), request: ids(request) }
            }
            Body::Disconnect { target, close, request } => {
                Self::Disconnect { target: WireTarget::of(target), close: *close, request: ids(request) }
            }
            Body::Done { request } => Self::Done { request: id(request) },
            Body::Count { request, target } => Self::Count { request: id(request), target: WireTarget::of(target) },
            Body::Counted { request, count } => Self::Counted { request: id(request), count: *count },
            Body::FetchSockets { request, target } => {
                Self::FetchSockets { request: id(request), target: WireTarget::of(target) }
            }
            Body::Sockets { request, sockets, parts } => {
                let sockets = sockets.iter().map(WireSocket::of).collect();
                Self::Sockets { request: id(request), sockets, parts: *parts }
            }
            Body::FetchIds { request, target } => {
                Self::FetchIds { request: id(request), target: WireTarget::of(target) }
            }
            Body::Ids { request, ids } => Self::Ids { request: id(request), ids: ids.clone() },
            Body::FetchRooms { request } => Self::FetchRooms { request: id(request) },
            Body::Rooms { request, rooms, parts } => {
                Self::Rooms { request: id(request), rooms: texts(rooms), parts: *parts }
            }
            Body::Refused { request } => Self::Refused { request: id(request) },
            Body::ServerSideEmit { request, data } => {
                args = Some(data);
                Self::ServerSideEmit { request: ids(request) }
            }
            Body::ServerAnswer { request, args: answer } => {
                args = Some(answer);
                Self::ServerAnswer { request: id(request) }
            }
            Body::Alive(alive) => Self::Alive(alive.clone()),
            Body::Hello => Self::Hello,
            Body::Goodbye => Self::Goodbye,
        };
        (wire, args)
    }

    fn with(self, args: Option<Args>) -> Result<Body, CodecError> {
        let mut args = args;
        let mut data = || args.take().ok_or_else(|| CodecError::Data("the arguments are missing".to_owned()));
        let body = match self {
            Self::Broadcast { target, volatile, compress } => {
                Body::Broadcast { data: data()?, target: target.target(), volatile, compress }
            }
            Self::BroadcastWithAck { request, target, timeout } => {
                let request = RequestId(request);
                Body::BroadcastWithAck { request, data: data()?, target: target.target(), timeout }
            }
            Self::AskedClients { request, count } => Body::AskedClients { request: RequestId(request), count },
            Self::ClientAck { request } => Body::ClientAck { request: RequestId(request), args: data()? },
            Self::Join { target, rooms: names, request } => {
                Body::Join { target: target.target(), rooms: rooms(&names), request: request.map(RequestId) }
            }
            Self::Leave { target, rooms: names, request } => {
                Body::Leave { target: target.target(), rooms: rooms(&names), request: request.map(RequestId) }
            }
            Self::Disconnect { target, close, request } => {
                Body::Disconnect { target: target.target(), close, request: request.map(RequestId) }
            }
            Self::Done { request } => Body::Done { request: RequestId(request) },
            Self::Count { request, target } => Body::Count { request: RequestId(request), target: target.target() },
            Self::Counted { request, count } => Body::Counted { request: RequestId(request), count },
            Self::FetchSockets { request, target } => {
                Body::FetchSockets { request: RequestId(request), target: target.target() }
            }
            Self::Sockets { request, sockets, parts } => {
                let sockets = sockets.into_iter().map(WireSocket::socket).collect::<Result<_, _>>()?;
                Body::Sockets { request: RequestId(request), sockets, parts }
            }
            Self::FetchIds { request, target } => {
                Body::FetchIds { request: RequestId(request), target: target.target() }
            }
            Self::Ids { request, ids } => Body::Ids { request: RequestId(request), ids },
            Self::FetchRooms { request } => Body::FetchRooms { request: RequestId(request) },
            Self::Rooms { request, rooms: names, parts } => {
                Body::Rooms { request: RequestId(request), rooms: rooms(&names), parts }
            }
            Self::Refused { request } => Body::Refused { request: RequestId(request) },
            Self::ServerSideEmit { request } => Body::ServerSideEmit { request: request.map(RequestId), data: data()? },
            Self::ServerAnswer { request } => Body::ServerAnswer { request: RequestId(request), args: data()? },
            Self::Alive(alive) => Body::Alive(alive),
            Self::Hello => Body::Hello,
            Self::Goodbye => Body::Goodbye,
        };
        if args.is_some() {
            return Err(CodecError::Data("a message without arguments has some".to_owned()));
        }
        Ok(body)
    }
}

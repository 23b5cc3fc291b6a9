//! A codec for brokers without a dialect of their own: [`encode`] and [`decode`] carry every field of a [`Message`].
//!
//! A broker that talks to servers of other software speaks their dialect; a broker for another message system can use
//! this codec. The namespace is not part of the bytes: the channel's name tells it, or the broker writes it beside
//! them. The bytes are, in this order:
//!
//! ```text
//! 1 byte    version, 2
//! 4 bytes   length of the head, big endian
//! n bytes   the head: JSON with everything but the event's arguments
//! n bytes   the arguments: the raw JSON array as it is sent to clients (nothing if the message has none)
//! n bytes   each attachment; the head has their lengths
//! 30 bytes  the trailer ([`Trailer`]); zeros if the message has none
//! ```
//!
//! Arguments and attachments are therefore copied, neither escaped nor expanded. Keys of the head that a later release
//! adds are ignored. Errors are: a version that is not 2, an unknown body, lengths that do not add up, text that is not
//! JSON, nesting deeper than [`MAX_DEPTH`], and placeholders without an attachment. No length in the bytes leads to an
//! allocation before that many bytes are there.

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
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a message that [`decode`] accepts. A broker should refuse to publish more
/// ([`Outcome::Never`](crate::cluster::Outcome::Never)).
pub const MAX_BYTES: usize = 8_000_000;

/// Deepest nesting of a message's arguments: as deep as an emit may be. Checking it needs no stack.
pub const MAX_DEPTH: usize = MAX_DEPTH_OPTION;

/// Most attachments of a message. An empty one takes two bytes on the wire but 32 in memory.
pub const MAX_ATTACHMENTS: usize = 65_536;

const VERSION: u8 = 2;

/// Bytes of the version and the length of the head.
const PREFIX: usize = 5;

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The message has more than [`MAX_BYTES`].
    #[error("a message of {0} bytes: at most {MAX_BYTES} are taken")]
    TooLarge(usize),
    /// The bytes are of another version of this codec, or not of this codec at all.
    #[error("not a message of version {VERSION}")]
    Version,
    /// The lengths do not add up: the message is incomplete, or something follows it.
    #[error("the message's parts are not as long as it says")]
    Length,
    /// The head cannot be read.
    #[error("the message's head is malformed: {0}")]
    Head(String),
    /// Arguments, handshake or data are not JSON of the right kind, nest too deeply, or name missing attachments.
    #[error("the message's data is malformed: {0}")]
    Data(String),
}

/// Encodes a message.
pub fn encode(message: &Message) -> Vec<u8> {
    let args = args_of(&message.body);
    let attachments = args.map_or(&[][..], Args::attachments);
    let head = Head {
        sender: message.sender.clone().map(|id| id.as_str().into()),
        to: message.to.clone().map(|id| id.as_str().into()),
        args: args.map_or(0, |args| args.items_bytes().len() + 2),
        attachments: attachments.iter().map(Bytes::len).collect(),
        body: Written(&message.body),
    };
    // Texts, numbers and lists of them always serialize. If they did not, the receiver would refuse the empty head.
    let head = serde_json::to_vec(&head).unwrap_or_default();
    let size = attachments.iter().map(Bytes::len).sum::<usize>();
    let mut bytes =
        Vec::with_capacity(PREFIX + head.len() + args.map_or(0, |args| args.items_bytes().len() + 2) + size);
    bytes.push(VERSION);
    // No head is longer than 4 GiB: its parts come from a queue of bounded size.
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

/// Reads only the trailer of an encoded message, which is enough for a broadcast to a room that nobody here is in
/// ([`Arrival::PassedOver`](crate::cluster::Arrival::PassedOver)).
pub fn trailer(bytes: &[u8]) -> Option<Trailer> {
    Trailer::from_bytes(bytes.last_chunk::<{ Trailer::BYTES }>()?)
}

/// Decodes a message.
///
/// # Errors
/// [`CodecError`] if the bytes are not a message that [`encode`] made.
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
    let head: Head<Read> = serde_json::from_slice(head).map_err(|error| CodecError::Head(error.to_string()))?;
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
    let body = complete(head.body.0, args)?;
    Ok(Message { sender: head.sender.map(id), to: head.to.map(id), trailer: Trailer::from_bytes(trailer), body })
}

/// Reads arguments from a JSON array.
fn args(array: &[u8], attachments: Vec<Bytes>) -> Result<Args, CodecError> {
    let malformed = |error: &dyn std::fmt::Display| CodecError::Data(error.to_string());
    let array = std::str::from_utf8(array).map_err(|error| malformed(&error))?;
    if json::check(array, MAX_DEPTH).map_err(|error| malformed(&error))? != JsonKind::Array {
        return Err(malformed(&"the arguments are no array"));
    }
    if !attachments.is_empty() {
        // Read the arguments as a client would: each placeholder must have its attachment.
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

/// The JSON in front of the arguments.
#[derive(Serialize, Deserialize)]
struct Head<B> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Arc<str>>,
    /// Bytes of the arguments, including the brackets.
    #[serde(default)]
    args: usize,
    /// Bytes of each attachment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<usize>,
    body: B,
}

/// The body in a head that is being written.
struct Written<'a>(&'a Body);

/// The body in a head that was read. Its arguments follow the head.
struct Read(Body);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        WireBody::serialize(self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WireBody::deserialize(deserializer).map(Self)
    }
}

/// How serde writes a [`Body`]: the same variants and fields (which the compiler checks), without the arguments.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Body", rename_all = "snake_case")]
enum WireBody {
    Broadcast {
        #[serde(skip, default = "Args::none")]
        data: Args,
        #[serde(with = "WireTarget")]
        target: Target,
        volatile: bool,
        compress: bool,
    },
    BroadcastWithAck {
        request: RequestId,
        #[serde(skip, default = "Args::none")]
        data: Args,
        #[serde(with = "WireTarget")]
        target: Target,
        timeout: Option<Duration>,
    },
    AskedClients {
        request: RequestId,
        count: u64,
    },
    ClientAck {
        request: RequestId,
        #[serde(skip, default = "Args::none")]
        args: Args,
    },
    Join {
        #[serde(with = "WireTarget")]
        target: Target,
        rooms: Vec<Room>,
        request: Option<RequestId>,
    },
    Leave {
        #[serde(with = "WireTarget")]
        target: Target,
        rooms: Vec<Room>,
        request: Option<RequestId>,
    },
    Disconnect {
        #[serde(with = "WireTarget")]
        target: Target,
        close: bool,
        request: Option<RequestId>,
    },
    Done {
        request: RequestId,
    },
    FetchSockets {
        request: RequestId,
        #[serde(with = "WireTarget")]
        target: Target,
    },
    Count {
        request: RequestId,
        #[serde(with = "WireTarget")]
        target: Target,
    },
    Counted {
        request: RequestId,
        count: u64,
    },
    Sockets {
        request: RequestId,
        #[serde(serialize_with = "write_sockets", deserialize_with = "read_sockets")]
        sockets: Vec<SocketDetails>,
        #[serde(default = "one")]
        parts: u64,
    },
    FetchIds {
        request: RequestId,
        #[serde(with = "WireTarget")]
        target: Target,
    },
    Ids {
        request: RequestId,
        ids: Vec<String>,
    },
    FetchRooms {
        request: RequestId,
    },
    Rooms {
        request: RequestId,
        rooms: Vec<Room>,
        #[serde(default = "one")]
        parts: u64,
    },
    Refused {
        request: RequestId,
    },
    ServerSideEmit {
        request: Option<RequestId>,
        #[serde(skip, default = "Args::none")]
        data: Args,
    },
    ServerAnswer {
        request: RequestId,
        #[serde(skip, default = "Args::none")]
        args: Args,
    },
    Alive(Alive),
    Hello,
    Goodbye,
}

fn one() -> u64 {
    1
}

/// How serde writes a [`Target`]. `one` travels in the trailer.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Target")]
struct WireTarget {
    rooms: Vec<Room>,
    except: Vec<Room>,
    local: bool,
    #[serde(skip)]
    one: bool,
}

#[derive(Serialize, Deserialize)]
struct WireSocket<T> {
    id: T,
    rooms: Vec<Room>,
    handshake: T,
    data: T,
}

fn write_sockets<S: Serializer>(sockets: &[SocketDetails], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(sockets.iter().map(|SocketDetails { id, rooms, details }| WireSocket {
        id,
        rooms: rooms.clone(),
        handshake: &details.handshake,
        data: &details.data,
    }))
}

fn read_sockets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketDetails>, D::Error> {
    let sockets = Vec::<WireSocket<String>>::deserialize(deserializer)?.into_iter();
    let socket = |WireSocket { id, rooms, handshake, data }| {
        let details = Details { handshake, data };
        SocketDetails { id, rooms, details }
    };
    Ok(sockets.map(socket).collect())
}

/// The arguments of a message, if messages of its kind have any.
fn args_of(body: &Body) -> Option<&Args> {
    match body {
        Body::Broadcast { data: args, .. }
        | Body::BroadcastWithAck { data: args, .. }
        | Body::ClientAck { args, .. }
        | Body::ServerSideEmit { data: args, .. }
        | Body::ServerAnswer { args, .. } => Some(args),
        _ => None,
    }
}

/// Adds the arguments to a body that was read without them, and checks the JSON of its sockets.
fn complete(mut body: Body, args: Option<Args>) -> Result<Body, CodecError> {
    let data = |what: &str| CodecError::Data(what.to_owned());
    match (&mut body, args) {
        (
            Body::Broadcast { data: place, .. }
            | Body::BroadcastWithAck { data: place, .. }
            | Body::ClientAck { args: place, .. }
            | Body::ServerSideEmit { data: place, .. }
            | Body::ServerAnswer { args: place, .. },
            args,
        ) => *place = args.ok_or_else(|| data("the arguments are missing"))?,
        (_, Some(_)) => return Err(data("a message without arguments has some")),
        (Body::Sockets { sockets, .. }, None) => {
            for Details { handshake, data } in sockets.iter().map(|socket| &socket.details) {
                for (name, text) in [("handshake", handshake), ("data", data)] {
                    json::check(text, MAX_DEPTH).map_err(|error| CodecError::Data(format!("{name}: {error}")))?;
                }
            }
        }
        _ => {}
    }
    Ok(body)
}

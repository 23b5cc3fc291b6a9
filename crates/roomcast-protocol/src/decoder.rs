//! [`Decoder`]: Socket.IO packets out of Engine.IO messages, as a state machine.

use crate::args::ArgsRef;
use crate::grammar::{self, Header, PacketKind};
use crate::json::{self, JsonError, JsonKind, Scanner};
use crate::limits::{MAX_ATTACHMENTS, MAX_DEPTH, MAX_PAYLOAD};
use crate::number;
use crate::placeholder::Placeholders;
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Range;

/// A packet from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received<'a> {
    /// The client asks to join a namespace.
    Connect {
        /// The namespace's name, its query (if any) included.
        namespace: &'a str,
        /// The auth payload: a JSON object, or nothing.
        auth: Option<&'a str>,
    },
    /// The client leaves a namespace.
    Disconnect {
        /// The namespace's name.
        namespace: &'a str,
    },
    /// The client emits an event.
    Event {
        /// The namespace's name.
        namespace: &'a str,
        /// Set if the client wants an answer.
        id: Option<u64>,
        /// What it emits.
        event: Event<'a>,
    },
    /// The client answers an event.
    Ack {
        /// The namespace's name.
        namespace: &'a str,
        /// The id of the event that is answered; without one the answer is for nobody.
        id: Option<u64>,
        /// The answer.
        args: ArgsRef<'a>,
    },
    /// Only a server may send this.
    ConnectError {
        /// The namespace's name.
        namespace: &'a str,
    },
}

/// An event as it was received: nothing is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The event's name; a numeric name in JavaScript's spelling.
    pub name: Cow<'a, str>,
    /// The arguments after the name.
    pub args: ArgsRef<'a>,
}

/// Bounds of a [`Decoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderLimits {
    /// Most attachments of a packet; [`MAX_ATTACHMENTS`] by default.
    pub max_attachments: usize,
    /// Most bytes of a packet's attachments together; [`MAX_PAYLOAD`] by default.
    pub max_bytes: usize,
    /// Deepest nesting of JSON; [`MAX_DEPTH`] by default. More is for arguments that stay [`Args`](crate::Args): typed
    /// ones nest at most [`MAX_TYPED_DEPTH`](crate::limits::MAX_TYPED_DEPTH) levels.
    pub max_depth: usize,
}

impl Default for DecoderLimits {
    fn default() -> Self {
        Self { max_attachments: MAX_ATTACHMENTS, max_bytes: MAX_PAYLOAD, max_depth: MAX_DEPTH }
    }
}

/// Why a message is not a packet. Each ends the connection; the text is what Node says, where Node has a word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The first character is no packet type (`None`: there is no character).
    #[error("unknown packet type {}", .0.map_or_else(|| "NaN".to_owned(), |c| c.to_digit(10).map_or_else(|| "NaN".to_owned(), |digit| digit.to_string())))]
    UnknownType(Option<char>),
    /// The attachment count is no number from 1, or the dash is missing.
    #[error("Illegal attachments")]
    IllegalAttachments,
    /// More attachments than allowed.
    #[error("too many attachments")]
    TooManyAttachments,
    /// The attachments together are larger than allowed.
    #[error("attachments too large")]
    AttachmentsTooLarge,
    /// A namespace name over [`MAX_NAMESPACE_BYTES`](crate::limits::MAX_NAMESPACE_BYTES).
    #[error("namespace name too long")]
    NamespaceTooLong,
    /// An ack id over [`MAX_ACK_ID`](crate::limits::MAX_ACK_ID).
    #[error("invalid packet id")]
    InvalidId,
    /// The payload is not JSON, or not what the packet's type asks for.
    #[error("invalid payload")]
    InvalidPayload,
    /// JSON nested deeper than allowed.
    #[error("payload nested too deeply")]
    TooDeep,
    /// A placeholder stands for no attachment.
    #[error("illegal attachments")]
    IllegalPlaceholder,
    /// A text message while attachments are awaited.
    #[error("got plaintext data when reconstructing a packet")]
    UnexpectedText,
    /// A binary message while none is awaited.
    #[error("got binary data when not reconstructing a packet")]
    UnexpectedBinary,
}

impl From<JsonError> for DecodeError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Depth => Self::TooDeep,
            JsonError::Syntax => Self::InvalidPayload,
        }
    }
}

/// Event names that neither side may use: they are the library's own.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The decoder of one connection. Between packets it holds nothing: what it has put together it gives away.
#[derive(Debug)]
pub struct Decoder {
    limits: DecoderLimits,
    awaiting: Option<Box<Awaiting>>,
}

/// A packet whose attachments have not all come.
#[derive(Debug, Default)]
struct Awaiting {
    packet: Assembled,
    /// Attachments that are still to come. None are after an error: then it is empty, and only keeps the decoder from
    /// taking up another packet, as Node's does.
    missing: usize,
    bytes: usize,
    /// Set when a placeholder names no attachment; told when the last one is in, as Node does.
    illegal: bool,
}

/// A packet whose attachments have all come, with its text and its bytes.
#[derive(Debug, Default)]
pub struct Assembled {
    text: Box<str>,
    parts: Parts,
    attachments: Vec<Bytes>,
}

/// Where the parts of a packet lie in its text, so that it is read once only.
#[derive(Debug, Default)]
struct Parts {
    namespace: Part,
    id: Option<u64>,
    /// The event's name; an acknowledgement has none.
    name: Option<Name>,
    items: Part,
}

#[derive(Debug)]
enum Name {
    Plain(Part),
    /// Its spelling had escapes, or was a number.
    Rewritten(Box<str>),
}

/// A piece of the text, or one that it leaves out: the namespace `/`, no arguments.
#[derive(Debug)]
enum Part {
    Inside(Range<usize>),
    Outside(&'static str),
}

impl Decoder {
    /// A decoder with these bounds.
    pub fn new(limits: DecoderLimits) -> Self {
        Self { limits, awaiting: None }
    }

    /// Whether attachments of a packet are still to come.
    pub fn is_awaiting(&self) -> bool {
        self.awaiting.as_ref().is_some_and(|awaiting| awaiting.missing > 0)
    }

    /// Takes a text message. `None` means that attachments must follow.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection is to be closed.
    pub fn text<'a>(&mut self, text: &'a str) -> Result<Option<Received<'a>>, DecodeError> {
        if self.awaiting.is_some() {
            return self.fail(DecodeError::UnexpectedText);
        }
        let header = grammar::header(text)?;
        if header.attachments == 0 {
            return packet(&header, None, self.limits.max_depth).map(Some);
        }
        if header.attachments > self.limits.max_attachments {
            return Err(DecodeError::TooManyAttachments);
        }
        let mut placeholders = Placeholders::checking(header.attachments);
        let parts = Parts::of(text, packet(&header, Some(&mut placeholders), self.limits.max_depth)?);
        // A count that a client names never sizes an allocation: the limit is an option, and may have been lifted.
        let attachments = Vec::with_capacity(header.attachments.min(MAX_ATTACHMENTS));
        self.awaiting = Some(Box::new(Awaiting {
            packet: Assembled { text: text.into(), parts, attachments },
            missing: header.attachments,
            bytes: 0,
            illegal: placeholders.is_illegal(),
        }));
        Ok(None)
    }

    /// Takes a binary message: an attachment. `None` means that more must follow.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection is to be closed.
    pub fn binary(&mut self, bytes: &[u8]) -> Result<Option<Assembled>, DecodeError> {
        let Some(mut awaiting) = self.awaiting.take_if(|awaiting| awaiting.missing > 0) else {
            return Err(DecodeError::UnexpectedBinary);
        };
        awaiting.bytes = awaiting.bytes.saturating_add(bytes.len());
        if awaiting.bytes > self.limits.max_bytes {
            return self.fail(DecodeError::AttachmentsTooLarge);
        }
        awaiting.missing -= 1;
        if awaiting.missing == 0 && awaiting.illegal {
            return self.fail(DecodeError::IllegalPlaceholder);
        }
        awaiting.packet.attachments.push(Bytes::copy_from_slice(bytes));
        if awaiting.missing == 0 {
            return Ok(Some(awaiting.packet));
        }
        self.awaiting = Some(awaiting);
        Ok(None)
    }

    /// Drops what was awaited; nothing completes a packet any more.
    fn fail<T>(&mut self, error: DecodeError) -> Result<T, DecodeError> {
        self.awaiting = Some(Box::default());
        Err(error)
    }
}

impl Assembled {
    /// The packet.
    pub fn received(&self) -> Received<'_> {
        let Parts { namespace, id, name, items } = &self.parts;
        let (namespace, id) = (namespace.piece(&self.text), *id);
        let args = ArgsRef { items: items.piece(&self.text), attachments: &self.attachments };
        match name {
            None => Received::Ack { namespace, id, args },
            Some(name) => {
                let name = match name {
                    Name::Plain(part) => part.piece(&self.text),
                    Name::Rewritten(name) => name,
                };
                Received::Event { namespace, id, event: Event { name: Cow::Borrowed(name), args } }
            }
        }
    }
}

impl Default for Part {
    fn default() -> Self {
        Self::Outside("")
    }
}

impl Parts {
    fn of(text: &str, packet: Received<'_>) -> Self {
        let part = |piece: &str, otherwise| Part::of(text, piece, otherwise);
        let (namespace, id, name, items) = match packet {
            Received::Event { namespace, id, event } => {
                let name = match event.name {
                    Cow::Borrowed(name) => Name::Plain(part(name, "")),
                    Cow::Owned(name) => Name::Rewritten(name.into()),
                };
                (namespace, id, Some(name), event.args.items)
            }
            Received::Ack { namespace, id, args } => (namespace, id, None, args.items),
            // Only events and acknowledgements have attachments.
            Received::Connect { namespace, .. }
            | Received::Disconnect { namespace }
            | Received::ConnectError { namespace } => (namespace, None, None, ""),
        };
        Self { namespace: part(namespace, "/"), id, name, items: part(items, "") }
    }
}

impl Part {
    /// Where `piece` lies in `text`; if it does not, it is `otherwise`.
    fn of(text: &str, piece: &str, otherwise: &'static str) -> Self {
        let inside = (piece.as_ptr() as usize).checked_sub(text.as_ptr() as usize);
        let range = inside.and_then(|start| Some(start..start.checked_add(piece.len())?));
        range.filter(|range| range.end <= text.len()).map_or(Self::Outside(otherwise), Self::Inside)
    }

    fn piece<'a>(&'a self, text: &'a str) -> &'a str {
        match self {
            Self::Inside(range) => text.get(range.clone()).unwrap_or_default(),
            Self::Outside(text) => text,
        }
    }
}

fn packet<'a>(
    header: &Header<'a>,
    placeholders: Option<&mut Placeholders>,
    max_depth: usize,
) -> Result<Received<'a>, DecodeError> {
    let Header { kind, namespace, id, json, .. } = *header;
    match kind {
        PacketKind::Connect => {
            let auth = if json.is_empty() { None } else { Some(json) };
            if auth.is_some() && json::check(json, max_depth)? != JsonKind::Object {
                return Err(DecodeError::InvalidPayload);
            }
            Ok(Received::Connect { namespace, auth })
        }
        PacketKind::Disconnect if json.is_empty() => Ok(Received::Disconnect { namespace }),
        PacketKind::Disconnect => Err(DecodeError::InvalidPayload),
        PacketKind::ConnectError => {
            if json.is_empty() || matches!(json::check(json, max_depth)?, JsonKind::Object | JsonKind::String) {
                Ok(Received::ConnectError { namespace })
            } else {
                Err(DecodeError::InvalidPayload)
            }
        }
        PacketKind::Event | PacketKind::BinaryEvent => {
            let event = event(json, placeholders, max_depth)?;
            Ok(Received::Event { namespace, id, event })
        }
        PacketKind::Ack | PacketKind::BinaryAck => {
            // An answer without a payload is one without arguments.
            let items = if json.is_empty() { "" } else { items(json, placeholders, max_depth)? };
            Ok(Received::Ack { namespace, id, args: ArgsRef { items, attachments: &[] } })
        }
    }
}

/// `[...]` without its brackets.
fn items<'a>(json: &'a str, placeholders: Option<&mut Placeholders>, max_depth: usize) -> Result<&'a str, DecodeError> {
    let mut scanner = Scanner::new(json, max_depth);
    if scanner.value(placeholders)? != JsonKind::Array {
        return Err(DecodeError::InvalidPayload);
    }
    let end = scanner.position();
    scanner.end()?;
    let array = json[..end].trim_ascii_start();
    Ok(array[1..array.len() - 1].trim_ascii())
}

/// `["name", ...]`: one pass that checks the text and finds where the name ends.
fn event<'a>(
    json: &'a str,
    mut placeholders: Option<&mut Placeholders>,
    max_depth: usize,
) -> Result<Event<'a>, DecodeError> {
    // The array around the arguments is a level too.
    let mut scanner = Scanner::new(json, max_depth.saturating_sub(1));
    scanner.skip_white_space();
    if max_depth == 0 || !scanner.take(b'[') {
        return Err(DecodeError::InvalidPayload);
    }
    scanner.skip_white_space();
    let start = scanner.position();
    let kind = match scanner.peek() {
        Some(b'"' | b'-' | b'0'..=b'9') => scanner.value(None)?,
        _ => return Err(DecodeError::InvalidPayload),
    };
    let name = event_name(&json[start..scanner.position()], kind)?;
    scanner.skip_white_space();
    let args_start = scanner.position() + 1;
    let mut args_end = args_start;
    while scanner.take(b',') {
        scanner.value(placeholders.as_deref_mut())?;
        args_end = scanner.position();
        scanner.skip_white_space();
    }
    if !scanner.take(b']') {
        return Err(DecodeError::InvalidPayload);
    }
    scanner.end()?;
    let items = json.get(args_start..args_end).unwrap_or_default().trim_ascii_start();
    Ok(Event { name, args: ArgsRef { items, attachments: &[] } })
}

fn event_name(raw: &str, kind: JsonKind) -> Result<Cow<'_, str>, DecodeError> {
    let name = if kind == JsonKind::String {
        let plain = &raw[1..raw.len() - 1];
        if plain.contains('\\') {
            // A name with a lone surrogate names no handler; it is kept as it was written.
            let unescaped = serde_json::from_str::<String>(raw);
            Cow::Owned(unescaped.unwrap_or_else(|_| plain.to_owned()))
        } else {
            Cow::Borrowed(plain)
        }
    } else {
        let number: f64 = raw.parse().map_err(|_| DecodeError::InvalidPayload)?;
        if !number.is_finite() {
            return Err(DecodeError::InvalidPayload);
        }
        Cow::Owned(number::javascript(number))
    };
    if RESERVED_EVENTS.contains(&&*name) { Err(DecodeError::InvalidPayload) } else { Ok(name) }
}

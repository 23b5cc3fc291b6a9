//! [`Decoder`]: Socket.IO packets out of Engine.IO messages, as a state machine.

use crate::arguments::args::ArgsRef;
use crate::arguments::number;
use crate::json::kind::JsonKind;
use crate::json::scanner::{Scanner, check};
use crate::limits::{MAX_ATTACHMENTS, MAX_DEPTH, MAX_PAYLOAD};
use crate::placeholder::finder::PlaceholderFinder;
use crate::socketio::assembled::Assembled;
use crate::socketio::decode_error::DecodeError;
use crate::socketio::grammar::{self, Header, PacketKind};
use crate::socketio::received::{Event, Received};
use std::borrow::Cow;

/// Bounds of a [`Decoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecoderLimits {
    /// Most attachments of a packet. Defaults to [`MAX_ATTACHMENTS`].
    pub max_attachments: usize,
    /// Most bytes of a packet's attachments together. Defaults to [`MAX_PAYLOAD`].
    pub max_bytes: usize,
    /// Deepest nesting of JSON. Defaults to [`MAX_DEPTH`]. More is of use only for arguments that stay
    /// [`Args`](crate::Args): typed ones nest at most [`MAX_TYPED_DEPTH`](crate::limits::MAX_TYPED_DEPTH) levels.
    pub max_depth: usize,
}

impl Default for DecoderLimits {
    fn default() -> Self {
        Self { max_attachments: MAX_ATTACHMENTS, max_bytes: MAX_PAYLOAD, max_depth: MAX_DEPTH }
    }
}

/// Event names that neither side may use, as the library itself uses them.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The decoder of one connection. Between packets it holds nothing, as it gives away what it has assembled.
#[derive(Debug)]
pub struct Decoder {
    limits: DecoderLimits,
    awaiting: Option<Box<Awaiting>>,
}

/// A packet whose attachments have not all come.
#[derive(Debug, Default)]
struct Awaiting {
    packet: Assembled,
    /// Attachments that are still to come. After an error there are none: then the packet is empty, and only keeps the
    /// decoder from accepting another one, as in Node.
    missing: usize,
    bytes: usize,
    /// A placeholder names no attachment. As in Node, that is an error only once the last attachment has come.
    illegal: bool,
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

    /// Bytes that are kept of a packet whose attachments have not all come.
    pub fn held_bytes(&self) -> usize {
        self.awaiting.as_ref().map_or(0, |awaiting| awaiting.packet.text_bytes() + awaiting.bytes)
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
        let mut placeholders = PlaceholderFinder::checking(header.attachments);
        let packet = packet(&header, Some(&mut placeholders), self.limits.max_depth)?;
        self.awaiting = Some(Box::new(Awaiting {
            // A count that a client names never sizes an allocation, as the limit is an option and may be very high.
            packet: Assembled::new(text, packet, header.attachments.min(MAX_ATTACHMENTS)),
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
        awaiting.packet.push(bytes);
        if awaiting.missing == 0 {
            return Ok(Some(awaiting.packet));
        }
        self.awaiting = Some(awaiting);
        Ok(None)
    }

    /// Drops the packet that was awaited. No message completes a packet any more.
    fn fail<T>(&mut self, error: DecodeError) -> Result<T, DecodeError> {
        self.awaiting = Some(Box::default());
        Err(error)
    }
}

fn packet<'a>(
    header: &Header<'a>,
    placeholders: Option<&mut PlaceholderFinder>,
    max_depth: usize,
) -> Result<Received<'a>, DecodeError> {
    let Header { kind, namespace, id, json, .. } = *header;
    match kind {
        PacketKind::Connect => {
            let auth = if json.is_empty() { None } else { Some(json) };
            if auth.is_some() && check(json, max_depth)? != JsonKind::Object {
                return Err(DecodeError::InvalidPayload);
            }
            Ok(Received::Connect { namespace, auth })
        }
        PacketKind::Disconnect if json.is_empty() => Ok(Received::Disconnect { namespace }),
        PacketKind::Disconnect => Err(DecodeError::InvalidPayload),
        PacketKind::ConnectError => {
            if json.is_empty() || matches!(check(json, max_depth)?, JsonKind::Object | JsonKind::String) {
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
            // An answer without a payload has no arguments.
            let items = if json.is_empty() { "" } else { items(json, placeholders, max_depth)? };
            Ok(Received::Ack { namespace, id, args: ArgsRef { items, attachments: &[] } })
        }
    }
}

/// `[...]` without its brackets.
fn items<'a>(
    json: &'a str,
    placeholders: Option<&mut PlaceholderFinder>,
    max_depth: usize,
) -> Result<&'a str, DecodeError> {
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
    mut placeholders: Option<&mut PlaceholderFinder>,
    max_depth: usize,
) -> Result<Event<'a>, DecodeError> {
    // The array around the arguments counts as a level.
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
            // A name with a lone surrogate names no handler. It is kept as it was written.
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

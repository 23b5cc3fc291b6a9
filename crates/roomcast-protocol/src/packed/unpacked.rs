//! [`Unpacked`]: a packet that was read from one binary message.

use crate::arguments::args::ArgsRef;
use crate::arguments::number;
use crate::limits::{MAX_ACK_ID, MAX_NAMESPACE_BYTES, MAX_UNPACKED_PAYLOADS};
use crate::msgpack::{Bounds, Kind, MsgpackError, Reader, values};
use crate::socketio::decode_error::DecodeError;
use crate::socketio::decoder::{DecoderLimits, RESERVED_EVENTS};
use crate::socketio::grammar::PacketKind;
use crate::socketio::received::{Event, Received};
use bytes::Bytes;
use std::borrow::Cow;

/// A client's packet, read from the binary message in which socket.io-msgpack-parser sends it. Nothing is kept for the
/// next message, so no decoder is needed.
///
/// Arguments become JSON text with attachments, as they are everywhere else: the documentation of
/// [`msgpack`](crate::msgpack) says what becomes of values that JSON cannot hold, except that ext −1 is no timestamp to
/// notepack 2. Bytes in an auth payload are spelled out as `{"type":"Buffer","data":[…]}`, because an auth payload is JSON.
///
/// What an event, a namespace and an id may be is the same as for the default parser. There may be any number of
/// attachments: [`DecoderLimits::max_attachments`] does not count here, as in Node. The text and the bytes together have
/// at most [`MAX_UNPACKED_PAYLOADS`] times [`DecoderLimits::max_bytes`].
///
/// ```
/// use roomcast_protocol::{Args, DecoderLimits, Parser, Received, Unpacked};
///
/// let packet = Parser::MessagePack.event("/chat", Some(7), &Args::event("hi", &(1, "a"))?)?;
/// let message = packet.binaries().next().unwrap_or_default();
/// let unpacked = Unpacked::read(message, DecoderLimits::default())?;
/// let Received::Event { namespace: "/chat", id: Some(7), event } = unpacked.received() else { unreachable!() };
/// assert_eq!((&*event.name, event.args.items), ("hi", r#"1,"a""#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Unpacked<'a> {
    kind: PacketKind,
    namespace: Cow<'a, str>,
    id: Option<u64>,
    name: Cow<'a, str>,
    /// The arguments, or the auth payload. Empty if there are none.
    json: String,
    attachments: Vec<Bytes>,
}

impl<'a> Unpacked<'a> {
    /// Reads a whole message. The checks and their order are those of socket.io-msgpack-parser.
    ///
    /// # Errors
    /// [`DecodeError`]: the connection is to be closed.
    pub fn read(message: &'a [u8], limits: DecoderLimits) -> Result<Self, DecodeError> {
        let fields = Fields::of(message)?;
        let (kind, namespace) = (fields.kind()?, fields.namespace()?);
        let mut packet =
            Self { kind, namespace, id: None, name: Cow::Borrowed(""), json: String::new(), attachments: Vec::new() };
        packet.take(fields.data, limits)?;
        packet.id = fields.id()?;
        Ok(packet)
    }

    /// The packet.
    pub fn received(&self) -> Received<'_> {
        let namespace = &*self.namespace;
        let args = ArgsRef { items: &self.json, attachments: &self.attachments };
        match self.kind {
            PacketKind::Connect => {
                Received::Connect { namespace, auth: Some(&*self.json).filter(|auth| !auth.is_empty()) }
            }
            PacketKind::Disconnect => Received::Disconnect { namespace },
            PacketKind::ConnectError => Received::ConnectError { namespace },
            PacketKind::Event | PacketKind::BinaryEvent => {
                let event = Event { name: Cow::Borrowed(&*self.name), args };
                Received::Event { namespace, id: self.id, event }
            }
            PacketKind::Ack | PacketKind::BinaryAck => Received::Ack { namespace, id: self.id, args },
        }
    }

    /// Reads the data, which has to be of the shape that the packet's type requires.
    fn take(&mut self, data: Option<&'a [u8]>, limits: DecoderLimits) -> Result<(), DecodeError> {
        let max_bytes = limits.max_bytes.saturating_mul(MAX_UNPACKED_PAYLOADS);
        let bounds = Bounds { max_depth: limits.max_depth, max_bytes, timestamps: false, spelled: false };
        let mut reader = Reader::new(data.unwrap_or_default());
        let found = data.and_then(|_| reader.peek().ok());
        match (self.kind, found) {
            (PacketKind::Connect | PacketKind::Disconnect, None)
            // Only a server sends it, so its data is of no interest.
            | (PacketKind::ConnectError, Some(Kind::Str | Kind::Map)) => Ok(()),
            (PacketKind::Connect, Some(Kind::Map)) => self.transcribe(&mut reader, 1, Bounds { spelled: true, ..bounds }),
            (PacketKind::Event, Some(Kind::Array)) => {
                let arguments = reader.array_len()?.checked_sub(1).ok_or(DecodeError::InvalidPayload)?;
                self.name = name(&mut reader)?;
                self.transcribe(&mut reader, arguments, inside(bounds)?)
            }
            (PacketKind::Ack, Some(Kind::Array)) => {
                let arguments = reader.array_len()?;
                self.transcribe(&mut reader, arguments, inside(bounds)?)
            }
            _ => Err(DecodeError::InvalidPayload),
        }
    }

    fn transcribe(&mut self, reader: &mut Reader<'_>, count: usize, bounds: Bounds) -> Result<(), DecodeError> {
        let mut json = Vec::new();
        values(reader, count, &mut json, &mut self.attachments, bounds)?;
        // Only UTF-8 was written, so this cannot fail.
        self.json = String::from_utf8(json).map_err(|_| DecodeError::Unreadable)?;
        Ok(())
    }
}

/// The array around the arguments is a level itself.
fn inside(bounds: Bounds) -> Result<Bounds, DecodeError> {
    let max_depth = bounds.max_depth.checked_sub(1).ok_or(DecodeError::TooDeep)?;
    Ok(Bounds { max_depth, ..bounds })
}

/// An event's name: text or a finite number, and not a reserved one.
fn name<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, DecodeError> {
    let name = match reader.peek()? {
        Kind::Str => reader.str_lossy()?,
        Kind::Int | Kind::Float => {
            let number = Some(reader.f64()?).filter(|number| number.is_finite());
            number::javascript(number.ok_or(DecodeError::InvalidPayload)?).into()
        }
        _ => return Err(DecodeError::InvalidPayload),
    };
    if RESERVED_EVENTS.contains(&&*name) { Err(DecodeError::InvalidPayload) } else { Ok(name) }
}

/// The values of a packet's keys, not read yet. `None` if a key is absent or its value is `undefined`. Of equal keys the
/// last counts, as in JavaScript.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a [u8]>,
    namespace: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// Splits a message, all of which has to be MessagePack.
    fn of(message: &'a [u8]) -> Result<Self, DecodeError> {
        let (mut reader, mut fields) = (Reader::new(message), Self::default());
        if reader.peek()? != Kind::Map {
            reader.skip_value()?;
            reader.finish()?;
            return Err(DecodeError::InvalidType);
        }
        for _ in 0..reader.map_len()? {
            let key = reader.key()?;
            let is_undefined = reader.peek()? == Kind::Undefined;
            let value = Some(reader.raw_value()?).filter(|_| !is_undefined);
            match &*key {
                "type" => fields.kind = value,
                "nsp" => fields.namespace = value,
                "data" => fields.data = value,
                "id" => fields.id = value,
                _ => {}
            }
        }
        reader.finish()?;
        Ok(fields)
    }

    fn kind(&self) -> Result<PacketKind, DecodeError> {
        match whole(self.kind.unwrap_or_default()) {
            Some(0) => Ok(PacketKind::Connect),
            Some(1) => Ok(PacketKind::Disconnect),
            Some(2) => Ok(PacketKind::Event),
            Some(3) => Ok(PacketKind::Ack),
            Some(4) => Ok(PacketKind::ConnectError),
            _ => Err(DecodeError::InvalidType),
        }
    }

    fn namespace(&self) -> Result<Cow<'a, str>, DecodeError> {
        let name = Reader::new(self.namespace.unwrap_or_default()).str_lossy();
        let name = name.ok().filter(|name| name.starts_with('/')).ok_or(DecodeError::InvalidNamespace)?;
        if name.len() > MAX_NAMESPACE_BYTES { Err(DecodeError::NamespaceTooLong) } else { Ok(name) }
    }

    fn id(&self) -> Result<Option<u64>, DecodeError> {
        let Some(raw) = self.id else { return Ok(None) };
        let id = whole(raw).filter(|id| *id <= MAX_ACK_ID);
        id.map(Some).ok_or(DecodeError::InvalidId)
    }
}

/// A whole number of at least 0, as an integer or a float.
fn whole(raw: &[u8]) -> Option<u64> {
    Reader::new(raw).uint().ok()
}

impl From<MsgpackError> for DecodeError {
    fn from(error: MsgpackError) -> Self {
        match error {
            MsgpackError::Trailing(bytes) => Self::Trailing(bytes),
            MsgpackError::Depth => Self::TooDeep,
            MsgpackError::TooLarge => Self::PayloadTooLarge,
            MsgpackError::Key => Self::InvalidPayload,
            _ => Self::Unreadable,
        }
    }
}

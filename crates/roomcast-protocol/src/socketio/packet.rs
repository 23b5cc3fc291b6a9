//! [`Packet`]: a packet to send, encoded once and shared by all its recipients.

use crate::arguments::args::Args;
use crate::engineio::packet::EngineKind;
use crate::engineio::payload::SEPARATOR;
use crate::frame::{Opcode, frame_header, push_frame};
use crate::limits::MAX_PACKET_BYTES;
use crate::socketio::meter::{Charge, Meter};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Write as _;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// An encoded packet. Its WebSocket frames are in one buffer, ready to be sent: first text, then the attachments. The
/// form for polling is made when it is first needed, and shared too. Packets are passed as `Arc<Packet>`.
#[derive(Debug)]
pub struct Packet {
    frames: Vec<u8>,
    first: Part,
    /// Binary messages after the first part. Most packets have none, and an empty box owns no heap.
    attachments: Box<[Range<u32>]>,
    volatile: bool,
    /// The polling payload of a packet with binary parts. Text alone is taken from `frames`.
    polling: OnceLock<Box<[u8]>>,
    /// WebSocket frames for clients that asked for base64 (`b64` in the URL).
    base64_frames: OnceLock<Box<[u8]>>,
    /// Its memory on a meter, while it waits for a client that does not take it at once.
    charge: OnceLock<Charge>,
}

#[derive(Debug)]
struct Part {
    binary: bool,
    payload: Range<u32>,
}

/// Encoding failed: the packet would be larger than [`MAX_PACKET_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("larger than the {MAX_PACKET_BYTES} bytes of one packet")]
pub struct PacketTooLarge;

impl Packet {
    /// An event in the namespace. An `id` asks the client for an acknowledgement. The first value of `data` is the
    /// event's name ([`Args::event`]).
    ///
    /// # Errors
    /// [`PacketTooLarge`], as every constructor here that takes data of any size.
    pub fn event(namespace: &str, id: Option<u64>, data: &Args) -> Result<Self, PacketTooLarge> {
        Self::with_args(b'2', namespace, id, data)
    }

    /// The answer to the event with that id.
    ///
    /// # Errors
    /// [`PacketTooLarge`].
    pub fn ack(namespace: &str, id: u64, args: &Args) -> Result<Self, PacketTooLarge> {
        Self::with_args(b'3', namespace, Some(id), args)
    }

    /// The answer to a client's CONNECT; `json` is an object.
    ///
    /// # Errors
    /// [`PacketTooLarge`].
    pub fn connect(namespace: &str, json: &str) -> Result<Self, PacketTooLarge> {
        Self::socket_text(b'0', None, namespace, None, &[json.as_bytes()])
    }

    /// The refusal of a client's CONNECT; `json` is an object.
    ///
    /// # Errors
    /// [`PacketTooLarge`].
    pub fn connect_error(namespace: &str, json: &str) -> Result<Self, PacketTooLarge> {
        Self::socket_text(b'4', None, namespace, None, &[json.as_bytes()])
    }

    /// Tells the client that its socket has left the namespace.
    ///
    /// # Errors
    /// [`PacketTooLarge`].
    pub fn disconnect(namespace: &str) -> Result<Self, PacketTooLarge> {
        Self::socket_text(b'1', None, namespace, None, &[])
    }

    /// An Engine.IO packet with text data.
    ///
    /// # Errors
    /// [`PacketTooLarge`].
    pub fn engine(kind: EngineKind, text: &str) -> Result<Self, PacketTooLarge> {
        Self::text_frame(&[&[kind as u8], text.as_bytes()])
    }

    /// A binary Engine.IO message.
    ///
    /// # Errors
    /// [`PacketTooLarge`].
    pub fn binary(bytes: &[u8]) -> Result<Self, PacketTooLarge> {
        fits(bytes.len())?;
        let header = frame_header(Opcode::Binary, bytes.len());
        let mut frames = Vec::with_capacity(header.len() + bytes.len());
        frames.extend_from_slice(&header);
        frames.extend_from_slice(bytes);
        let payload = range(header.len(), frames.len());
        Ok(Self::new(frames, Part { binary: true, payload }, Box::default()))
    }

    /// A binary message that `write` appends to what it is given: about `room` bytes.
    pub(crate) fn packed<E: From<PacketTooLarge>>(
        room: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Self, E> {
        /// The header of up to 125 bytes, which most messages have. A longer one moves the message.
        const SHORT: usize = 2;
        let mut frames = Vec::with_capacity(room.min(MAX_PACKET_BYTES).saturating_add(10));
        frames.extend_from_slice(&[0; SHORT]);
        write(&mut frames)?;
        let length = frames.len() - SHORT;
        fits(length)?;
        let header = frame_header(Opcode::Binary, length);
        let start = header.len();
        drop(frames.splice(..SHORT, header.iter().copied()));
        // What waits for clients is counted by its length.
        if frames.capacity() - frames.len() > frames.len() / 4 + 64 {
            frames.shrink_to_fit();
        }
        let payload = range(start, frames.len());
        Ok(Self::new(frames, Part { binary: true, payload }, Box::default()))
    }

    /// A WebSocket control frame. It is only for the outbox of a WebSocket.
    pub fn control(frame: Vec<u8>) -> Self {
        // It carries no message, so there is nothing that `b64` would change.
        Self::new(frame, Part { binary: false, payload: range(0, 0) }, Box::default())
    }

    /// The same packet, to be dropped where the transport is not writable at once.
    #[must_use]
    pub fn with_volatile(mut self, volatile: bool) -> Self {
        self.volatile = volatile;
        self
    }

    /// Whether the packet is to be dropped where the transport is not writable at once.
    pub fn is_volatile(&self) -> bool {
        self.volatile
    }

    /// The WebSocket frames: text, then attachments. With `base64`, attachments are text frames `b…`, for clients with
    /// `b64` in their URL.
    pub fn frames(&self, base64: bool) -> &[u8] {
        if base64 && self.has_binary() {
            self.base64_frames.get_or_init(|| self.encode_base64_frames())
        } else {
            &self.frames
        }
    }

    /// Number of Engine.IO packets: WebSocket messages, or parts of a payload.
    pub fn parts(&self) -> usize {
        1 + self.attachments.len()
    }

    /// Its size in the bound of a queue: the bytes of its frames.
    pub fn size(&self) -> usize {
        self.frames.len()
    }

    /// Counts `bytes` on a meter until the packet is dropped. Only the first call counts.
    pub fn charge(&self, meter: &Arc<Meter>, bytes: usize) {
        self.charge.get_or_init(|| meter.charge(bytes));
    }

    /// Appends the packet to a polling payload, after a separator if it is not the first.
    pub fn push_polling(&self, payload: &mut Vec<u8>) {
        if !payload.is_empty() {
            payload.push(SEPARATOR);
        }
        if self.has_binary() {
            payload.extend_from_slice(self.polling.get_or_init(|| self.encode_polling()));
        } else {
            payload.extend_from_slice(self.payload(&self.first.payload));
        }
    }

    /// The text of the packet, beginning with its Engine.IO type character. `None` if it is a binary message.
    pub fn text(&self) -> Option<&str> {
        if self.first.binary { None } else { std::str::from_utf8(self.payload(&self.first.payload)).ok() }
    }

    /// The bytes of the binary messages, in order.
    pub fn binaries(&self) -> impl Iterator<Item = &[u8]> {
        let first = self.first.binary.then(|| self.payload(&self.first.payload));
        first.into_iter().chain(self.attachments.iter().map(|range| self.payload(range)))
    }

    fn with_args(kind: u8, namespace: &str, id: Option<u64>, args: &Args) -> Result<Self, PacketTooLarge> {
        let items: [&[u8]; 3] = [b"[", args.items_bytes(), b"]"];
        let attachments = args.attachments();
        if attachments.is_empty() {
            return Self::socket_text(kind, None, namespace, id, &items);
        }
        // A packet with attachments is BINARY_EVENT or BINARY_ACK: three above the plain type.
        let mut packet = Self::socket_text(kind + 3, Some(attachments.len()), namespace, id, &items)?;
        fits(attachments.iter().fold(packet.frames.len(), |size, bytes| size.saturating_add(bytes.len() + 10)))?;
        packet.attachments = attachments
            .iter()
            .map(|bytes| {
                push_frame(&mut packet.frames, Opcode::Binary, bytes);
                range(packet.frames.len() - bytes.len(), packet.frames.len())
            })
            .collect();
        Ok(packet)
    }

    /// A Socket.IO packet inside an Engine.IO message: `4<type>[<attachments>-][<namespace>,][<id>]<json>`.
    fn socket_text(
        kind: u8,
        attachments: Option<usize>,
        namespace: &str,
        id: Option<u64>,
        json: &[&[u8]],
    ) -> Result<Self, PacketTooLarge> {
        // `4`, the type, a count with its dash and an id have at most 64 bytes.
        let mut buffer = [0u8; 64];
        let mut free = &mut buffer[..];
        let mut written = free.write_all(&[EngineKind::Message as u8, kind]);
        if let Some(count) = attachments {
            written = written.and_then(|()| write!(free, "{count}-"));
        }
        let before_namespace = 64 - free.len();
        if let Some(id) = id {
            written = written.and_then(|()| write!(free, "{id}"));
        }
        let length = 64 - free.len();
        written.map_err(|_| PacketTooLarge)?;
        let (prefix, id) = buffer.get(..length).unwrap_or_default().split_at(before_namespace);
        let (namespace, comma): (&str, &[u8]) = if namespace == "/" { ("", b"") } else { (namespace, b",") };
        let (open, items, close) = match json {
            [one] => (*one, &b""[..], &b""[..]),
            [open, items, close] => (*open, *items, *close),
            _ => (&b""[..], &b""[..], &b""[..]),
        };
        Self::text_frame(&[prefix, namespace.as_bytes(), comma, id, open, items, close])
    }

    fn text_frame(pieces: &[&[u8]]) -> Result<Self, PacketTooLarge> {
        let length = pieces.iter().fold(0usize, |length, piece| length.saturating_add(piece.len()));
        fits(length)?;
        let header = frame_header(Opcode::Text, length);
        let mut frames = Vec::with_capacity(header.len() + length);
        frames.extend_from_slice(&header);
        for piece in pieces {
            frames.extend_from_slice(piece);
        }
        let payload = range(header.len(), frames.len());
        Ok(Self::new(frames, Part { binary: false, payload }, Box::default()))
    }

    fn new(frames: Vec<u8>, first: Part, attachments: Box<[Range<u32>]>) -> Self {
        Self {
            frames,
            first,
            attachments,
            volatile: false,
            polling: OnceLock::new(),
            base64_frames: OnceLock::new(),
            charge: OnceLock::new(),
        }
    }

    fn has_binary(&self) -> bool {
        self.first.binary || !self.attachments.is_empty()
    }

    fn payload(&self, range: &Range<u32>) -> &[u8] {
        self.frames.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    fn encode_polling(&self) -> Box<[u8]> {
        let mut payload = self.text().unwrap_or_default().as_bytes().to_vec();
        for bytes in self.binaries() {
            if !payload.is_empty() {
                payload.push(SEPARATOR);
            }
            payload.extend_from_slice(base64_text(bytes).as_bytes());
        }
        payload.into_boxed_slice()
    }

    fn encode_base64_frames(&self) -> Box<[u8]> {
        let mut frames = Vec::new();
        if let Some(text) = self.text() {
            push_frame(&mut frames, Opcode::Text, text.as_bytes());
        }
        for bytes in self.binaries() {
            push_frame(&mut frames, Opcode::Text, base64_text(bytes).as_bytes());
        }
        frames.into_boxed_slice()
    }
}

fn base64_text(bytes: &[u8]) -> String {
    let mut text = String::from("b");
    STANDARD.encode_string(bytes, &mut text);
    text
}

fn fits(bytes: usize) -> Result<(), PacketTooLarge> {
    if bytes <= MAX_PACKET_BYTES { Ok(()) } else { Err(PacketTooLarge) }
}

/// Offsets fit 32 bits, since [`MAX_PACKET_BYTES`] does.
fn range(start: usize, end: usize) -> Range<u32> {
    start as u32..end as u32
}

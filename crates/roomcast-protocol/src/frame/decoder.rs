//! The state machine that turns a client's bytes into messages.

use super::close_code::is_sendable_close_code;
use super::error::FrameError;
use super::limits::{FrameLimits, MAX_CONTROL_PAYLOAD};
use super::message::Message;
use super::opcode::{FIN, LENGTH_16, LENGTH_64, Opcode, RSV1};
use crate::deflate::inflate;
use std::fmt;

/// Bytes of the longest header that a client sends: 2, a 64-bit length and the masking key.
const MAX_CLIENT_HEADER: usize = 2 + 8 + 4;

const RSV: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const SHORT_LENGTH: u8 = 0x7f;

/// Decodes what one client sends.
///
/// It holds only what an unfinished frame or message needs. That memory grows with the bytes that arrive, never by a
/// declared length: at most twice the received bytes, and never more than [`FrameLimits::max_payload`] (plus a constant
/// of about 100 bytes and a control frame).
pub struct FrameDecoder {
    max_payload: usize,
    max_fragments: u32,
    /// permessage-deflate was negotiated.
    deflate: bool,
    state: State,
    unfinished: Option<Box<Unfinished>>,
}

// A server has one decoder per connection, most of them idle.
const _: () = assert!(size_of::<FrameDecoder>() <= 48);

enum State {
    /// Between frames, or inside a header of which `len` bytes have come.
    Header {
        bytes: [u8; MAX_CLIENT_HEADER],
        len: u8,
    },
    /// The header is read, some of the payload is missing.
    Payload(Frame),
    /// Between frames. The message that was returned last is lent from stored bytes, which the next call releases.
    Delivered(Opcode),
    /// A close frame was returned.
    Closed,
    Failed(FrameError),
}

impl State {
    const BETWEEN_FRAMES: Self = Self::Header { bytes: [0; MAX_CLIENT_HEADER], len: 0 };
}

/// What the header says about a frame, minus the payload that was already taken.
#[derive(Clone, Copy)]
struct Frame {
    /// `None` is a continuation.
    opcode: Option<Opcode>,
    fin: bool,
    /// The message that begins with this frame is compressed.
    compressed: bool,
    /// Rotated so that the first byte is for the next byte of payload.
    mask: [u8; 4],
    remaining: usize,
}

/// Bytes that could not be lent from the input.
#[derive(Default)]
struct Unfinished {
    message: Option<OpenMessage>,
    /// The payload of a control frame that came in parts, maybe between the fragments of `message`.
    control: Vec<u8>,
}

/// What an unfinished frame or message costs in addition to its bytes.
pub(super) const UNFINISHED_BYTES: usize = size_of::<Unfinished>();

/// A text or binary message of which something is here and something is missing.
struct OpenMessage {
    opcode: Opcode,
    /// `bytes` are compressed. They are inflated once all have come.
    compressed: bool,
    fragments: u32,
    bytes: Vec<u8>,
    /// Of a text: the bytes that are known to be complete characters. At most three more bytes follow.
    checked: usize,
}

/// A frame that completes a message or is a control frame; the payload is `None` if it is in `Unfinished`.
struct Complete<'i> {
    opcode: Opcode,
    payload: Option<&'i [u8]>,
}

impl FrameDecoder {
    /// A decoder for the bytes that follow the opening handshake.
    pub fn new(limits: FrameLimits) -> Self {
        let FrameLimits { max_payload, max_fragments } = limits;
        Self { max_payload, max_fragments, deflate: false, state: State::BETWEEN_FRAMES, unfinished: None }
    }

    /// The same decoder, for a connection on which permessage-deflate was negotiated, without context takeover by the
    /// client ([`deflate::negotiate`](crate::deflate::negotiate)).
    ///
    /// `max_payload` then bounds both the compressed message and what it inflates to. While a compressed message is
    /// inflated, both are held: at most twice `max_payload`.
    #[must_use]
    pub fn with_deflate(mut self, deflate: bool) -> Self {
        self.deflate = deflate;
        self
    }

    /// Takes bytes from the front of `input`, unmasking them in place, and returns the next message. `None` means that
    /// more bytes are needed; `input` is then empty. Call it until it returns `None`: only then is the memory of a
    /// message that came in parts released.
    ///
    /// After [`Message::Close`] all further bytes are discarded, and the result is `None`.
    ///
    /// # Errors
    ///
    /// The rule or limit that the client broke, as soon as the bytes show it (text is checked while it arrives). What
    /// follows cannot be understood: every further call discards its input and returns the same error.
    pub fn decode<'a, 'i: 'a>(&'a mut self, input: &mut &'i mut [u8]) -> Result<Option<Message<'a>>, FrameError> {
        self.release();
        let Complete { opcode, payload } = match self.advance(input) {
            Ok(Some(complete)) => complete,
            Ok(None) => return Ok(None),
            Err(error) => {
                *input = &mut [];
                self.unfinished = None;
                self.state = State::Failed(error.clone());
                return Err(error);
            }
        };
        let payload: &'a [u8] = match payload {
            Some(lent) => lent,
            None => self.unfinished.as_deref().map_or(&[], |unfinished| unfinished.payload(opcode)),
        };
        let message = match opcode {
            Opcode::Text => str::from_utf8(payload).map(Message::Text).map_err(|_| FrameError::InvalidText),
            Opcode::Binary => Ok(Message::Binary(payload)),
            Opcode::Ping => Ok(Message::Ping(payload)),
            Opcode::Pong => Ok(Message::Pong(payload)),
            Opcode::Close => parse_close(payload).map(Message::Close),
        };
        if let Err(error) = &message {
            *input = &mut [];
            self.state = State::Failed(error.clone());
        }
        message.map(Some)
    }

    /// Whether nothing is buffered: no part of a frame and no part of a message.
    pub fn is_idle(&self) -> bool {
        let message_open = self.unfinished.as_deref().is_some_and(|unfinished| unfinished.message.is_some());
        match self.state {
            State::Header { len, .. } => len == 0 && !message_open,
            State::Payload(_) => false,
            State::Delivered(opcode) => !opcode.is_control() || !message_open,
            State::Closed | State::Failed(_) => true,
        }
    }

    /// Bytes of heap held now; 0 when idle after a [`decode`](Self::decode) that returned `None`.
    pub fn heap_bytes(&self) -> usize {
        self.unfinished.as_deref().map_or(0, |unfinished| {
            let message = unfinished.message.as_ref().map_or(0, |message| message.bytes.capacity());
            UNFINISHED_BYTES + message + unfinished.control.capacity()
        })
    }

    /// Frees the bytes from which the previous call's message was lent.
    fn release(&mut self) {
        match self.state {
            State::Header { .. } | State::Payload(_) => {}
            State::Delivered(opcode) => {
                self.state = State::BETWEEN_FRAMES;
                match self.unfinished.as_deref_mut() {
                    Some(unfinished) if opcode.is_control() && unfinished.message.is_some() => {
                        unfinished.control = Vec::new();
                    }
                    _ => self.unfinished = None,
                }
            }
            State::Closed | State::Failed(_) => self.unfinished = None,
        }
    }

    /// Reads frames until one completes a message or is a control frame.
    fn advance<'i>(&mut self, input: &mut &'i mut [u8]) -> Result<Option<Complete<'i>>, FrameError> {
        loop {
            let mut frame = match &self.state {
                State::Payload(frame) => *frame,
                State::Header { .. } | State::Delivered(_) => match self.read_header(input)? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
                State::Closed => {
                    *input = &mut [];
                    return Ok(None);
                }
                State::Failed(error) => return Err(error.clone()),
            };

            let chunk = take_front(input, frame.remaining);
            if chunk.is_empty() && frame.remaining > 0 {
                // Only the header has come. Nothing is stored yet, so the payload can still be lent if it comes in one
                // piece.
                self.state = State::Payload(frame);
                return Ok(None);
            }
            unmask(chunk, frame.mask);

            let is_whole = chunk.len() == frame.remaining && frame.fin && !self.has_stored_part_of(&frame);
            if let (Some(opcode), true) = (frame.opcode, is_whole) {
                if frame.compressed {
                    let message = OpenMessage::inflated(opcode, chunk, self.max_payload)?;
                    self.unfinished.get_or_insert_default().message = Some(message);
                    self.check_stored(opcode)?;
                    self.state = State::Delivered(opcode);
                    return Ok(Some(Complete { opcode, payload: None }));
                }
                self.state = if opcode == Opcode::Close { State::Closed } else { State::BETWEEN_FRAMES };
                return Ok(Some(Complete { opcode, payload: Some(chunk) }));
            }

            let opcode = self.store(&frame, chunk)?;
            frame.remaining -= chunk.len();
            if frame.remaining > 0 {
                frame.mask.rotate_left(chunk.len() % 4);
                self.state = State::Payload(frame);
                return Ok(None);
            }
            if frame.fin {
                self.inflate_stored(opcode)?;
                self.check_stored(opcode)?;
                self.state = if opcode == Opcode::Close { State::Closed } else { State::Delivered(opcode) };
                return Ok(Some(Complete { opcode, payload: None }));
            }
            self.state = State::BETWEEN_FRAMES;
        }
    }

    /// Takes a header from the front of `input`, and stores an incomplete one.
    fn read_header(&mut self, input: &mut &mut [u8]) -> Result<Option<Frame>, FrameError> {
        let (mut bytes, kept) = match self.state {
            State::Header { bytes, len } if len > 0 => (bytes, usize::from(len)),
            _ => {
                // The usual case: the header is parsed in place.
                if let Some((frame, len)) = self.parse_header(input)? {
                    take_front(input, len);
                    return Ok(Some(frame));
                }
                ([0; MAX_CLIENT_HEADER], 0)
            }
        };
        let room = bytes.get_mut(kept..).unwrap_or_default();
        let new = input.len().min(room.len());
        for (to, from) in room.iter_mut().zip(&**input) {
            *to = *from;
        }
        if let Some((frame, len)) = self.parse_header(bytes.get(..kept + new).unwrap_or(&bytes))? {
            // What was stored was not a complete header, so at least one byte of it is new.
            take_front(input, len - kept);
            return Ok(Some(frame));
        }
        // A header is at most MAX_CLIENT_HEADER bytes, so an incomplete one means that all of the input was copied.
        take_front(input, new);
        self.state = State::Header { bytes, len: (kept + new) as u8 };
        Ok(None)
    }

    /// The header at the front of `bytes` and its length, or `None` if it is incomplete. Each rule is checked as soon
    /// as the byte that can break it has come.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<(Frame, usize)>, FrameError> {
        let Some((&first, after_first)) = bytes.split_first() else {
            return Ok(None);
        };
        let reserved = first & RSV;
        if reserved != 0 && (reserved != RSV1 || !self.deflate) {
            return Err(FrameError::ReservedBits);
        }
        let compressed = reserved != 0;
        let fin = first & FIN != 0;
        let opcode = match first & OPCODE {
            0x0 => None,
            0x1 => Some(Opcode::Text),
            0x2 => Some(Opcode::Binary),
            0x8 => Some(Opcode::Close),
            0x9 => Some(Opcode::Ping),
            0xa => Some(Opcode::Pong),
            unknown => return Err(FrameError::UnknownOpcode(unknown)),
        };
        let open = self.unfinished.as_deref().and_then(|unfinished| unfinished.message.as_ref());
        let is_control = opcode.is_some_and(Opcode::is_control);
        if compressed && (is_control || opcode.is_none()) {
            return Err(FrameError::ReservedBits);
        }
        match (opcode, open) {
            (Some(_), _) if is_control => {
                if !fin {
                    return Err(FrameError::ControlFragmented);
                }
            }
            (Some(_), Some(_)) => return Err(FrameError::ExpectedContinuation),
            (None, None) => return Err(FrameError::UnexpectedContinuation),
            (None, Some(message)) if message.fragments >= self.max_fragments => {
                return Err(FrameError::TooManyFragments);
            }
            (Some(_), None) | (None, Some(_)) => {}
        }

        let Some((&second, after_second)) = after_first.split_first() else {
            return Ok(None);
        };
        if second & MASKED == 0 {
            return Err(FrameError::NotMasked);
        }
        let short = second & SHORT_LENGTH;
        if is_control && usize::from(short) > MAX_CONTROL_PAYLOAD {
            return Err(FrameError::ControlTooLong);
        }
        let (length, rest) = match short {
            LENGTH_16 => {
                let Some((length, rest)) = after_second.split_first_chunk() else {
                    return Ok(None);
                };
                let length = u64::from(u16::from_be_bytes(*length));
                if length < u64::from(LENGTH_16) {
                    return Err(FrameError::LengthNotMinimal);
                }
                (length, rest)
            }
            LENGTH_64 => {
                let Some((length, rest)) = after_second.split_first_chunk() else {
                    return Ok(None);
                };
                let length = u64::from_be_bytes(*length);
                if length >> 63 != 0 {
                    return Err(FrameError::LengthTopBit);
                }
                if length <= u64::from(u16::MAX) {
                    return Err(FrameError::LengthNotMinimal);
                }
                (length, rest)
            }
            short => (u64::from(short), after_second),
        };
        let remaining = usize::try_from(length).map_err(|_| FrameError::MessageTooLong)?;
        let stored = open.map_or(0, |message| message.bytes.len());
        if !is_control && remaining > self.max_payload.saturating_sub(stored) {
            return Err(FrameError::MessageTooLong);
        }
        let Some((&mask, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        Ok(Some((Frame { opcode, fin, compressed, mask, remaining }, bytes.len() - rest.len())))
    }

    /// Whether a part of this frame's message is in `unfinished`. For a continuation it always is, even if it is empty.
    fn has_stored_part_of(&self, frame: &Frame) -> bool {
        self.unfinished.as_deref().is_some_and(|unfinished| match frame.opcode {
            Some(opcode) if opcode.is_control() => !unfinished.control.is_empty(),
            _ => unfinished.message.is_some(),
        })
    }

    /// Appends the next `chunk` of the frame's payload to what is stored, and returns the opcode of its message.
    fn store(&mut self, frame: &Frame, chunk: &[u8]) -> Result<Opcode, FrameError> {
        let max_payload = self.max_payload;
        let unfinished = self.unfinished.get_or_insert_default();
        if let Some(opcode) = frame.opcode
            && opcode.is_control()
        {
            let end = unfinished.control.len() + frame.remaining;
            append(&mut unfinished.control, chunk, end);
            return Ok(opcode);
        }

        let message = unfinished.message.get_or_insert_with(|| OpenMessage {
            // `parse_header` accepts a continuation only while a message is open, so this frame opens one.
            opcode: frame.opcode.unwrap_or(Opcode::Binary),
            compressed: frame.compressed,
            fragments: 0,
            bytes: Vec::new(),
            checked: 0,
        });
        let end = if frame.fin { message.bytes.len() + frame.remaining } else { max_payload };
        append(&mut message.bytes, chunk, end);
        if chunk.len() == frame.remaining {
            // Each frame is counted at its end, which it reaches once. 1,024 of them cannot overflow, and
            // `parse_header` has compared the count with the limit.
            message.fragments = message.fragments.saturating_add(1);
        }
        if message.opcode == Opcode::Text && !message.compressed {
            message.check_text()?;
        }
        Ok(message.opcode)
    }

    /// Inflates a message that is complete, if it is compressed.
    fn inflate_stored(&mut self, opcode: Opcode) -> Result<(), FrameError> {
        let message = self.unfinished.as_deref_mut().and_then(|unfinished| unfinished.message.as_mut());
        if let Some(message) = message.filter(|message| message.compressed && !opcode.is_control()) {
            *message = OpenMessage::inflated(opcode, &message.bytes, self.max_payload)?;
        }
        Ok(())
    }

    /// The checks that need all of a stored payload. A lent payload is checked when it is returned. After an error
    /// here, the memory can still be released.
    fn check_stored(&self, opcode: Opcode) -> Result<(), FrameError> {
        let Some(unfinished) = self.unfinished.as_deref() else {
            return Ok(());
        };
        match (opcode, &unfinished.message) {
            (Opcode::Text, Some(message)) if message.checked < message.bytes.len() => Err(FrameError::InvalidText),
            (Opcode::Close, _) => parse_close(&unfinished.control).map(drop),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for FrameDecoder {
    /// Shows sizes only, as what clients send does not belong in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameDecoder")
            .field("max_payload", &self.max_payload)
            .field("max_fragments", &self.max_fragments)
            .field("deflate", &self.deflate)
            .field("is_idle", &self.is_idle())
            .field("heap_bytes", &self.heap_bytes())
            .finish_non_exhaustive()
    }
}

impl Unfinished {
    fn payload(&self, opcode: Opcode) -> &[u8] {
        if opcode.is_control() { &self.control } else { self.message.as_ref().map_or(&[], |message| &message.bytes) }
    }
}

impl OpenMessage {
    /// A message that came compressed and is complete.
    fn inflated(opcode: Opcode, bytes: &[u8], max_payload: usize) -> Result<Self, FrameError> {
        let bytes = inflate(bytes, max_payload)?;
        let mut message = Self { opcode, compressed: false, fragments: 1, bytes, checked: 0 };
        if opcode == Opcode::Text {
            message.check_text()?;
        }
        Ok(message)
    }

    /// Fails as soon as no continuation can make the text valid. An unfinished character at the end is not an error
    /// yet.
    fn check_text(&mut self) -> Result<(), FrameError> {
        match str::from_utf8(self.bytes.get(self.checked..).unwrap_or_default()) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(FrameError::InvalidText),
        }
        Ok(())
    }
}

/// Cuts up to `len` bytes off the front of `input`.
fn take_front<'i>(input: &mut &'i mut [u8], len: usize) -> &'i mut [u8] {
    let bytes = std::mem::take(input);
    let (front, rest) = bytes.split_at_mut(len.min(bytes.len()));
    *input = rest;
    front
}

/// Appends, doubling the capacity so that many small chunks cost linear time, but never beyond `end`, the length that
/// `bytes` may reach.
fn append(bytes: &mut Vec<u8>, chunk: &[u8], end: usize) {
    let needed = bytes.len() + chunk.len();
    if needed > bytes.capacity() {
        let doubled = bytes.capacity().saturating_mul(2).min(end);
        bytes.reserve_exact(needed.max(doubled) - bytes.len());
    }
    bytes.extend_from_slice(chunk);
}

/// XORs the masking key over `bytes`, eight at a time. In native byte order a word has the layout of its bytes.
fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = bytes.as_chunks_mut();
    for eight in words {
        *eight = (u64::from_ne_bytes(*eight) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(word.to_ne_bytes()) {
        *byte ^= key;
    }
}

fn parse_close(payload: &[u8]) -> Result<Option<(u16, &str)>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(FrameError::CloseTooShort) };
    };
    let code = u16::from_be_bytes(*code);
    if !is_sendable_close_code(code) {
        return Err(FrameError::InvalidCloseCode(code));
    }
    match str::from_utf8(reason) {
        Ok(reason) => Ok(Some((code, reason))),
        Err(_) => Err(FrameError::InvalidCloseReason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    #[test]
    fn unmasking_at_every_length_and_alignment() {
        for start in 0..8 {
            for len in 0..40 {
                let plain: Vec<u8> = (0..len as u8).collect();
                let mut bytes = vec![0; start];
                bytes.extend(plain.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
                unmask(&mut bytes[start..], MASK);
                assert_eq!(bytes[start..], plain);
            }
        }
    }

    #[test]
    fn many_small_chunks_move_the_stored_bytes_seldom() {
        let mut bytes = Vec::new();
        let mut moves = 0;
        for _ in 0..100_000 {
            let before = bytes.capacity();
            append(&mut bytes, b"x", 100_000);
            moves += usize::from(bytes.capacity() != before);
        }
        assert_eq!(bytes.capacity(), 100_000);
        assert!(moves <= 20, "{moves}");
    }

    #[test]
    fn text_is_looked_at_once() {
        let mut message =
            OpenMessage { opcode: Opcode::Text, compressed: false, fragments: 0, bytes: Vec::new(), checked: 0 };
        for &byte in "\u{20ac}".repeat(100).as_bytes() {
            message.bytes.push(byte);
            assert_eq!(message.check_text(), Ok(()));
            assert!(message.bytes.len() - message.checked <= 3);
        }
        let mut message = OpenMessage { bytes: Vec::new(), checked: 0, ..message };
        message.bytes.extend(b"0123456789\xe2\x82");
        assert_eq!(message.check_text(), Ok(()));
        assert_eq!(message.checked, 10);
    }
}

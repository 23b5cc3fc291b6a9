//! Engine.IO v4 packets: a type character and text, or a binary message.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

/// What an Engine.IO packet is. The number is its character on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EngineKind {
    /// The server's first packet: the [`Open`](crate::Open) handshake.
    Open = b'0',
    /// Ends a polling session. Over a WebSocket it is ignored, as in Node.
    Close = b'1',
    /// The server's heartbeat, or a client's `probe` during an upgrade.
    Ping = b'2',
    /// The answer to a ping.
    Pong = b'3',
    /// Carries a Socket.IO packet (or anything, in a bare Engine.IO server).
    Message = b'4',
    /// Completes an upgrade. The client sends it on the WebSocket.
    Upgrade = b'5',
    /// Answers a held poll when there is nothing to send.
    Noop = b'6',
}

/// An Engine.IO packet as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnginePacket<'a> {
    /// What it is. Binary data is always a [`EngineKind::Message`].
    pub kind: EngineKind,
    /// What follows the type character.
    pub data: EngineData<'a>,
}

/// The data of an Engine.IO packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineData<'a> {
    /// Text, possibly empty.
    Text(&'a str),
    /// Bytes: a binary WebSocket frame, or base64 in text.
    Binary(Cow<'a, [u8]>),
}

/// The text is not an Engine.IO packet: it is empty or begins with an unknown character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("parse error: an Engine.IO packet begins with 0-6 or b")]
pub struct EngineError;

impl<'a> EnginePacket<'a> {
    /// Reads a text frame or one part of a polling payload.
    ///
    /// # Errors
    /// [`EngineError`] for an empty text or an unknown first character.
    pub fn from_text(text: &'a str) -> Result<Self, EngineError> {
        let Some((first, rest)) = text.as_bytes().split_first() else { return Err(EngineError) };
        let kind = match first {
            b'0' => EngineKind::Open,
            b'1' => EngineKind::Close,
            b'2' => EngineKind::Ping,
            b'3' => EngineKind::Pong,
            b'4' => EngineKind::Message,
            b'5' => EngineKind::Upgrade,
            b'6' => EngineKind::Noop,
            b'b' => {
                let data = EngineData::Binary(Cow::Owned(decode_base64(rest)));
                return Ok(Self { kind: EngineKind::Message, data });
            }
            _ => return Err(EngineError),
        };
        Ok(Self { kind, data: EngineData::Text(&text[1..]) })
    }

    /// Reads a binary frame: always a message.
    pub fn from_binary(bytes: &'a [u8]) -> Self {
        Self { kind: EngineKind::Message, data: EngineData::Binary(Cow::Borrowed(bytes)) }
    }
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Base64 as Node's `Buffer` reads it: both alphabets are accepted, padding is optional, illegal characters are
/// skipped, and what follows the padding is ignored. It never fails.
fn decode_base64(text: &[u8]) -> Vec<u8> {
    if let Ok(bytes) = LENIENT.decode(text) {
        return bytes;
    }
    let mut clean: Vec<u8> = text
        .iter()
        .take_while(|byte| **byte != b'=')
        .filter_map(|byte| match byte {
            b'-' => Some(b'+'),
            b'_' => Some(b'/'),
            b'+' | b'/' => Some(*byte),
            _ if byte.is_ascii_alphanumeric() => Some(*byte),
            _ => None,
        })
        .collect();
    // Six remaining bits make no byte.
    if clean.len() % 4 == 1 {
        clean.pop();
    }
    LENIENT.decode(&clean).unwrap_or_default()
}

//! [`Opcode`], and the other fixed parts of a frame header.

pub(super) const FIN: u8 = 0x80;
/// On the first frame of a message: it is compressed (RFC 7692, section 6).
pub(super) const RSV1: u8 = 0x40;
/// A short length of 126 announces 16 bits of length, one of 127 announces 64.
pub(super) const LENGTH_16: u8 = 126;
pub(super) const LENGTH_64: u8 = 127;

/// The kinds of frame that a server sends. It fragments nothing, so there is no continuation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// A text message; the payload must be UTF-8.
    Text,
    /// A binary message.
    Binary,
    /// The end of the connection.
    Close,
    /// To be answered by a pong.
    Ping,
    /// The answer to a ping.
    Pong,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    pub(super) fn bits(self) -> u8 {
        match self {
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

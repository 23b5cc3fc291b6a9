//! What a client can do wrong, and the close code that answers it.

use super::limits::MAX_CONTROL_PAYLOAD;
use crate::deflate::InflateError;

/// A rule of RFC 6455 or a limit that the client broke. The connection is to be failed with
/// [`close_code`](FrameError::close_code).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// RSV1, RSV2 or RSV3 is set. Only RSV1 may be, on the first frame of a text or binary message, if permessage-deflate
    /// was negotiated. Code 1002.
    #[error("a reserved bit (RSV1-3) is set")]
    ReservedBits,
    /// The opcode is not 0, 1, 2, 8, 9 or 10. Code 1002.
    #[error("unknown opcode {0}")]
    UnknownOpcode(u8),
    /// A client's frame is not masked. Code 1002.
    #[error("the frame is not masked")]
    NotMasked,
    /// The length is written in more bytes than it needs. Code 1002.
    #[error("the length is not in its shortest form")]
    LengthNotMinimal,
    /// The most significant bit of a 64-bit length is set. Code 1002.
    #[error("the top bit of the 64-bit length is set")]
    LengthTopBit,
    /// A close, ping or pong frame is not final. Code 1002.
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// A close, ping or pong frame is longer than 125 bytes. Code 1002.
    #[error("a control frame is longer than {MAX_CONTROL_PAYLOAD} bytes")]
    ControlTooLong,
    /// A continuation frame came while no message was open. Code 1002.
    #[error("a continuation frame without a message to continue")]
    UnexpectedContinuation,
    /// A new message began before the last fragment of the previous one. Code 1002.
    #[error("a new message inside a fragmented one")]
    ExpectedContinuation,
    /// The payload of a close frame is one byte: half a code. Code 1002.
    #[error("a close frame of one byte")]
    CloseTooShort,
    /// The code of a close frame may not be sent. Code 1002.
    #[error("invalid close code {0}")]
    InvalidCloseCode(u16),
    /// A compressed message cannot be inflated: it is damaged or incomplete. Code 1007, as in Node's `ws`.
    #[error("the compressed message is damaged")]
    InvalidDeflate,
    /// A text message is not UTF-8. Code 1007.
    #[error("the text is not valid UTF-8")]
    InvalidText,
    /// The reason of a close frame is not UTF-8. Code 1007.
    #[error("the close reason is not valid UTF-8")]
    InvalidCloseReason,
    /// The message is longer than [`max_payload`](super::FrameLimits::max_payload). The header shows that, before any
    /// of the frame's payload is kept; or the message is compressed, and would inflate to more. Code 1009.
    #[error("the message is longer than max_payload")]
    MessageTooLong,
    /// The message has more frames than [`max_fragments`](super::FrameLimits::max_fragments). That breaks no rule of
    /// the protocol, but is too much for this server, hence code 1009.
    #[error("the message has too many fragments")]
    TooManyFragments,
}

impl From<InflateError> for FrameError {
    fn from(error: InflateError) -> Self {
        match error {
            InflateError::TooLong => Self::MessageTooLong,
            InflateError::Damaged => Self::InvalidDeflate,
        }
    }
}

impl FrameError {
    /// The code of the close frame that fails the connection: 1002 (protocol error), 1007 (invalid data) or 1009 (too
    /// big).
    pub fn close_code(&self) -> u16 {
        match self {
            Self::ReservedBits
            | Self::UnknownOpcode(_)
            | Self::NotMasked
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::UnexpectedContinuation
            | Self::ExpectedContinuation
            | Self::CloseTooShort
            | Self::InvalidCloseCode(_) => 1002,
            Self::InvalidDeflate | Self::InvalidText | Self::InvalidCloseReason => 1007,
            Self::MessageTooLong | Self::TooManyFragments => 1009,
        }
    }
}

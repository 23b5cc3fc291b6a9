//! [`DecodeError`]: why a message is not a packet.

use crate::json::error::JsonError;

/// Why a message is not a packet. Each ends the connection. The text is Node's, where Node has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The first character is not a packet type (`None`: there is no character).
    #[error("unknown packet type {}", .0.map_or_else(|| "NaN".to_owned(), |c| c.to_digit(10).map_or_else(|| "NaN".to_owned(), |digit| digit.to_string())))]
    UnknownType(Option<char>),
    /// The attachment count is not a number of at least 1, or the dash is missing.
    #[error("Illegal attachments")]
    IllegalAttachments,
    /// More attachments than allowed.
    #[error("too many attachments")]
    TooManyAttachments,
    /// The attachments together are larger than allowed.
    #[error("attachments too large")]
    AttachmentsTooLarge,
    /// A namespace's name over [`MAX_NAMESPACE_BYTES`](crate::limits::MAX_NAMESPACE_BYTES).
    #[error("namespace name too long")]
    NamespaceTooLong,
    /// An ack id over [`MAX_ACK_ID`](crate::limits::MAX_ACK_ID); in MessagePack also one that is not a whole number.
    #[error("invalid packet id")]
    InvalidId,
    /// The payload is not JSON, or not what the packet's type requires.
    #[error("invalid payload")]
    InvalidPayload,
    /// JSON nested deeper than allowed.
    #[error("payload nested too deeply")]
    TooDeep,
    /// A placeholder names no attachment.
    #[error("illegal attachments")]
    IllegalPlaceholder,
    /// A text message while attachments are awaited.
    #[error("got plaintext data when reconstructing a packet")]
    UnexpectedText,
    /// A binary message while none is awaited.
    #[error("got binary data when not reconstructing a packet")]
    UnexpectedBinary,
    /// A message that is not MessagePack.
    #[error("Could not parse")]
    Unreadable,
    /// This many bytes are left after the MessagePack of a packet.
    #[error("{0} trailing bytes")]
    Trailing(usize),
    /// The type of a MessagePack packet is not a whole number from 0 to 4, or the message is not a map.
    #[error("invalid packet type")]
    InvalidType,
    /// The namespace of a MessagePack packet is not text that begins with a slash.
    #[error("invalid namespace")]
    InvalidNamespace,
    /// MessagePack that would become more text than
    /// [`MAX_UNPACKED_PAYLOADS`](crate::limits::MAX_UNPACKED_PAYLOADS) allows.
    #[error("payload too large")]
    PayloadTooLarge,
    /// A text message for a server whose parser is MessagePack.
    #[error("text, where the server's parser is MessagePack; the client's may be the default parser")]
    UnexpectedParser,
}

impl From<JsonError> for DecodeError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Depth => Self::TooDeep,
            JsonError::Syntax => Self::InvalidPayload,
        }
    }
}

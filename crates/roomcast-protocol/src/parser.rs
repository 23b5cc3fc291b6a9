//! [`Parser`]: how packets are written.

use crate::arguments::args::Args;
use crate::packed::encode_error::EncodeError;
use crate::packed::message;
use crate::socketio::packet::Packet;

/// How the packets of a server are written and read. Clients need the same parser.
///
/// What clients send is read by [`Decoder`](crate::Decoder) or [`Unpacked`](crate::Unpacked).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parser {
    /// socket.io-parser, which every client has: JSON as text, and each attachment as a binary message of its own.
    #[default]
    Default,
    /// socket.io-msgpack-parser: MessagePack as one binary message, with bytes inside it. By polling that is base64.
    MessagePack,
}

/// Each packet is encoded once for all its recipients.
impl Parser {
    /// An event in the namespace; see [`Packet::event`].
    ///
    /// # Errors
    /// [`EncodeError`], as for all of these.
    #[inline]
    pub fn event(self, namespace: &str, id: Option<u64>, data: &Args) -> Result<Packet, EncodeError> {
        match self {
            Self::Default => Ok(Packet::event(namespace, id, data)?),
            Self::MessagePack => message::event(namespace, id, data),
        }
    }

    /// The answer to the event with that id.
    ///
    /// # Errors
    /// [`EncodeError`].
    #[inline]
    pub fn ack(self, namespace: &str, id: u64, args: &Args) -> Result<Packet, EncodeError> {
        match self {
            Self::Default => Ok(Packet::ack(namespace, id, args)?),
            Self::MessagePack => message::ack(namespace, id, args),
        }
    }

    /// The answer to a client's CONNECT; `json` is an object.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn connect(self, namespace: &str, json: &str) -> Result<Packet, EncodeError> {
        match self {
            Self::Default => Ok(Packet::connect(namespace, json)?),
            Self::MessagePack => message::connect(namespace, json),
        }
    }

    /// The refusal of a client's CONNECT; `json` is an object.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn connect_error(self, namespace: &str, json: &str) -> Result<Packet, EncodeError> {
        match self {
            Self::Default => Ok(Packet::connect_error(namespace, json)?),
            Self::MessagePack => message::connect_error(namespace, json),
        }
    }

    /// Tells the client that its socket has left the namespace.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn disconnect(self, namespace: &str) -> Result<Packet, EncodeError> {
        match self {
            Self::Default => Ok(Packet::disconnect(namespace)?),
            Self::MessagePack => message::disconnect(namespace),
        }
    }

    /// Whether encoding an event could fail with [`EncodeError::TooLarge`]. The estimate is generous, and cheap.
    pub fn may_be_too_large(self, namespace: &str, data: &Args) -> bool {
        /// More than a frame's header and a packet's numbers need, for the text and for each attachment.
        const AROUND: usize = 256;
        /// A fraction such as `.5,` of at least four bytes of JSON takes nine in MessagePack.
        const GROWTH: usize = 3;
        /// A placeholder has at least so many bytes. Each may name the largest attachment.
        const PLACEHOLDER: usize = r#"{"_placeholder":true,"num":0}"#.len();

        let items = data.items_bytes().len();
        let sizes = data.attachments().iter().map(bytes::Bytes::len);
        let (text, attached) = match self {
            Self::Default => {
                (items, sizes.fold(0, |sum: usize, bytes| sum.saturating_add(bytes).saturating_add(AROUND)))
            }
            Self::MessagePack => {
                let largest = sizes.max().unwrap_or_default();
                (items.saturating_mul(GROWTH), largest.saturating_mul(items / PLACEHOLDER))
            }
        };
        let size = text.saturating_add(namespace.len()).saturating_add(AROUND).saturating_add(attached);
        size > crate::limits::MAX_PACKET_BYTES
    }
}

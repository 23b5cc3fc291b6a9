//! The bounds of this crate, each with its reason. The server's options override those that say "default".

/// Default most bytes of one incoming message or POST body: what Node's `maxHttpBufferSize` is, and what the handshake
/// advertises as `maxPayload`.
pub const MAX_PAYLOAD: usize = 1_000_000;

/// Default most attachments of one incoming packet (socket.io-parser 4.2.7 has the same limit since CVE-2026-33151).
pub const MAX_ATTACHMENTS: usize = 10;

/// Most digits of an attachment count that are looked at: more than any count that could be allowed.
pub const MAX_ATTACHMENT_DIGITS: usize = 10;

/// Most bytes of a namespace name. A name is a short path; without a bound one packet could carry a megabyte of it.
pub const MAX_NAMESPACE_BYTES: usize = 256;

/// Largest ack id: 2^53 - 1. JavaScript rounds larger ones, so the answer would go to the wrong id.
pub const MAX_ACK_ID: u64 = (1 << 53) - 1;

/// Most digits of an ack id that are looked at: those of [`MAX_ACK_ID`].
pub const MAX_ACK_ID_DIGITS: usize = 16;

/// Default deepest nesting of arrays and objects in JSON that is looked at.
pub const MAX_DEPTH: usize = 128;

/// The deepest nesting that may be configured: the scanner keeps one bit a level in a fixed array.
pub const MAX_DEPTH_OPTION: usize = 1_024;

/// Most packets of one POST body. A body of [`MAX_PAYLOAD`] bytes could hold 500 000 empty ones.
pub const MAX_PACKETS_PER_PAYLOAD: usize = 16_384;

/// Most bytes that one emit may encode to, attachments included: far above what a client's socket should be sent in one
/// piece, and far below the 4 GiB at which the frame offsets of a [`Packet`](crate::Packet) would end.
pub const MAX_PACKET_BYTES: usize = 64 * 1024 * 1024;

/// Most levels of nesting in an argument that is read into a type: where serde_json stops, as a type that recurses must not
/// run out of stack. Arguments that are passed on as [`Args`](crate::Args) may nest deeper.
pub const MAX_TYPED_DEPTH: usize = 127;

/// Most copies of a packet's attachments, taken together, that one read of its arguments makes. Types that own their bytes
/// copy them, and 30 bytes of text can name an attachment of a megabyte again. Clients name each attachment once; 2 leaves
/// room for one that does not. [`Attachment`](crate::Attachment) shares and needs none.
pub const MAX_ATTACHMENT_COPIES: usize = 2;

/// Most characters that an error about arguments says of what serde found: a client chooses a part of that text.
pub const MAX_ERROR_CHARS: usize = 256;

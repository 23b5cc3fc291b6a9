//! The bounds of this crate, each with its reason. Those called "default" can be overridden by the server's options.

/// Default for the most bytes of one incoming message or POST body: as Node's `maxHttpBufferSize`, and advertised in
/// the handshake as `maxPayload`.
pub const MAX_PAYLOAD: usize = 1_000_000;

/// Default for the most attachments of one incoming packet (socket.io-parser 4.2.7 has the same limit since
/// CVE-2026-33151).
pub const MAX_ATTACHMENTS: usize = 10;

/// Most digits of an attachment count: more than any allowed count has.
pub const MAX_ATTACHMENT_DIGITS: usize = 10;

/// Most bytes of a namespace's name. A name is a short path; without a bound, one packet could carry a name of a
/// megabyte.
pub const MAX_NAMESPACE_BYTES: usize = 256;

/// Largest ack id: 2^53 - 1. JavaScript rounds larger numbers, so the answer would go to the wrong id.
pub const MAX_ACK_ID: u64 = (1 << 53) - 1;

/// Most digits of an ack id: as many as [`MAX_ACK_ID`] has.
pub const MAX_ACK_ID_DIGITS: usize = 16;

/// Default for the deepest nesting of arrays and objects in JSON that a client sends.
pub const MAX_DEPTH: usize = 128;

/// The deepest nesting that may be configured: the scanner keeps one bit a level in a fixed array.
pub const MAX_DEPTH_OPTION: usize = 1_024;

/// Most packets of one POST body. A body of [`MAX_PAYLOAD`] bytes could hold 500,000 empty ones.
pub const MAX_PACKETS_PER_PAYLOAD: usize = 16_384;

/// Most bytes of an encoded packet, including its attachments: far above what a client should be sent in one piece, and
/// far below the 4 GiB that the frame offsets of a [`Packet`](crate::Packet) can express.
pub const MAX_PACKET_BYTES: usize = 64 * 1024 * 1024;

/// Deepest nesting of an argument that is read into a type: the limit of serde_json, so that a recursive type does not
/// overflow the stack. Arguments that are passed on as [`Args`](crate::Args) may nest deeper.
pub const MAX_TYPED_DEPTH: usize = 127;

/// How often one read of a packet's arguments may copy all its attachments together. Types that own their bytes copy
/// them, and 30 bytes of text can name an attachment of a megabyte again. Clients name each attachment once; 2 leaves
/// room for a client that does not. [`Attachment`](crate::Attachment) shares the bytes and needs no copy.
pub const MAX_ATTACHMENT_COPIES: usize = 2;

/// Most characters of serde's text in an error about arguments, as a client can choose a part of that text.
pub const MAX_ERROR_CHARS: usize = 256;

/// How many times the most bytes of a message ([`MAX_PAYLOAD`]) the JSON text of a client's MessagePack message and its
/// bytes may have together. Most values take less than twice their size; `false` and control characters, of one byte,
/// take six. Only thousands of tiny byte strings take more: 31 for their two bytes.
pub const MAX_UNPACKED_PAYLOADS: usize = 6;

//! MessagePack between servers: arguments from JSON text and back, and the envelopes around them.
//!
//! Node's adapters publish MessagePack; [`Args`](crate::Args) are JSON text with attachments. This module converts one
//! to the other by walking over slices: without a tree, without recursion, and without allocating a length that is only
//! declared.
//!
//! ```
//! use bytes::Bytes;
//! use roomcast_protocol::Args;
//! use roomcast_protocol::limits::MAX_DEPTH;
//! use roomcast_protocol::msgpack::{Flavour, Reader, Writer, args_array, read_args};
//!
//! let args = Args::event("chat", &("hello", 3))?;
//! let mut out = Vec::new();
//! Writer::new(&mut out).map(2).str("nsp").str("/").str("data");
//! args_array(&args, &mut out, Flavour::Notepack)?;
//!
//! let mut reader = Reader::new(&out);
//! for _ in 0..reader.map_len()? {
//!     match &*reader.key()? {
//!         "nsp" => assert_eq!(reader.str()?, "/"),
//!         "data" => assert_eq!(read_args(&mut reader, MAX_DEPTH)?, args),
//!         _ => reader.skip_value()?,
//!     }
//! }
//! reader.finish()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What JSON cannot hold
//!
//! | MessagePack | arguments |
//! |---|---|
//! | bin; ext 0 in its `c7`, `c8`, `c9` forms (notepack's ArrayBuffer) | an attachment and its placeholder |
//! | ext −1 of 4, 8 or 12 bytes; `d7 00` (notepack 2's Date) | the text that `Date.prototype.toJSON` returns, or `null` |
//! | `d4 00` (notepack's `undefined`) | `null`; in a map the member is omitted |
//! | any other ext | `[type, attachment]`, as notepack decodes it |
//! | NaN, ±Infinity | `null` |
//! | integers up to 64 bits | all their digits; JavaScript would round them to the double that it reads from those digits |
//! | text that is not UTF-8 (@msgpack/msgpack's lone surrogates) | U+FFFD in place of what is invalid |
//! | keys that are numbers, booleans or nil | their text as in JavaScript; any other key is an error |
//!
//! | arguments | MessagePack |
//! |---|---|
//! | a placeholder | bin with the attachment, as often as it occurs, up to [`MAX_PACKET_BYTES`](crate::limits::MAX_PACKET_BYTES) |
//! | a placeholder that names no attachment, or a fraction of one | nil |
//! | `1e400` | float64 Infinity, which is what `JSON.parse` makes of it |
//! | a lone surrogate escape | U+FFFD |
//!
//! An object that looks like a placeholder is one only where there are attachments, as everywhere in Socket.IO. A map
//! from another server may look like one too: if there are attachments beside it, its `"_placeholder":true` becomes
//! `"_placeholder":null`, so that it cannot stand for bytes that its author never sent (in Node it does, or breaks
//! every client that receives it). Without attachments it passes through unchanged.

mod date;
mod error;
mod from_json;
mod item;
mod json_string;
mod json_walk;
mod kind;
mod reader;
mod to_json;
mod writer;

pub use error::MsgpackError;
pub use from_json::{Flavour, args_array, from_json};
pub use kind::Kind;
pub use reader::Reader;
pub(crate) use to_json::{Bounds, values};
pub use to_json::{read_arg, read_args, to_json};
pub use writer::Writer;

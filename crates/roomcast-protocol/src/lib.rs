//! Socket.IO v5, Engine.IO v4 and the server's side of WebSocket framing: bytes in, packets out.
//!
//! This crate does no I/O, reads no clock and knows no runtime. It turns what a client sent into [`Received`] packets
//! ([`Decoder`]), and what a server sends into a [`Packet`] that is encoded once, down to its WebSocket frames, and
//! shared by all its recipients. Arguments stay raw JSON text with attachments ([`Args`]) until they are read into a
//! type. A server may use MessagePack for its packets instead ([`Parser`]).
//!
//! ```
//! use roomcast_protocol::{Args, Decoder, DecoderLimits, Packet, Received};
//!
//! let mut decoder = Decoder::new(DecoderLimits::default());
//! let Some(Received::Event { event, .. }) = decoder.text(r#"2["chat","hello",3]"#)? else { unreachable!() };
//! assert_eq!(event.name, "chat");
//! let (text, count): (String, u8) = event.args.to_owned().parse()?;
//!
//! let packet = Packet::event("/", None, &Args::event("chat", &(text, count + 1))?)?;
//! assert_eq!(packet.text(), Some(r#"42["chat","hello",4]"#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// In addition to the workspace's lints, library code must justify each place that can panic. Tests may panic.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::indexing_slicing, clippy::unreachable))]

mod arguments;
mod engineio;
pub mod frame;
pub mod json;
pub mod limits;
pub mod msgpack;
mod packed;
mod parser;
mod placeholder;
mod socketio;
pub mod websocket;

pub use arguments::args::{Args, ArgsIter, ArgsRef};
pub use arguments::attachment::Attachment;
pub use arguments::byte_str::ByteStr;
pub use arguments::from_args::{Checked, FromArgs, FromArgsError};
pub use arguments::to_args::{ArgsWriter, ToArgs, ToArgsError};
pub use engineio::id::{ID_LEN, IdError, Pid, Sid, SocketId};
pub use engineio::open::Open;
pub use engineio::packet::{EngineData, EngineError, EngineKind, EnginePacket};
pub use engineio::payload::{Payload, PayloadError, SEPARATOR};
pub use packed::encode_error::EncodeError;
pub use packed::unpacked::Unpacked;
pub use parser::Parser;
pub use socketio::assembled::Assembled;
pub use socketio::decode_error::DecodeError;
pub use socketio::decoder::{Decoder, DecoderLimits, RESERVED_EVENTS};
pub use socketio::meter::{Charge, Meter};
pub use socketio::packet::{Packet, PacketTooLarge};
pub use socketio::received::{Event, Received};

/// Compiles the example of this crate's README, and runs it if it ends by itself.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;

//! WebSocket frames (RFC 6455) as a server sees them: what clients send is decoded, and what the server sends is
//! framed.
//!
//! [`FrameDecoder`] is a state machine over received bytes; it reads no socket and knows no time. A message in a single
//! frame that the input contains completely is unmasked in place and lent from there, so the usual small message costs
//! neither a copy nor an allocation. Unfinished messages are kept in the decoder, and an idle decoder owns no heap.
//!
//! Sending needs no state: [`frame_header`] returns the few bytes before a payload, [`push_frame`] writes both, and
//! [`close_frame`] makes the last frame. The only extension is permessage-deflate ([`deflate`](crate::deflate)), for
//! which a decoder must be told that it was negotiated. Otherwise a set RSV bit is an error.
//!
//! ```
//! use roomcast_protocol::frame::{FrameDecoder, FrameLimits, Message};
//!
//! let mut received = *b"\x81\x82\x01\x02\x03\x04ik\x89\x80\0\0\0\0"; // "hi" under the mask 01 02 03 04, then an empty ping
//! let mut input = &mut received[..];
//! let mut decoder = FrameDecoder::new(FrameLimits::default());
//!
//! assert_eq!(decoder.decode(&mut input), Ok(Some(Message::Text("hi"))));
//! assert_eq!(decoder.decode(&mut input), Ok(Some(Message::Ping(b""))));
//! assert_eq!(decoder.decode(&mut input), Ok(None));
//! ```

mod close_code;
mod decoder;
mod encode;
mod error;
mod limits;
mod message;
mod opcode;
#[cfg(test)]
mod tests;

pub use decoder::FrameDecoder;
pub use encode::{FrameHeader, close_frame, frame_header, push_compressed_frame, push_frame};
pub use error::FrameError;
pub use limits::{FrameLimits, MAX_CLOSE_REASON, MAX_CONTROL_PAYLOAD, MAX_FRAGMENTS};
pub use message::Message;
pub use opcode::Opcode;

//! Compression with DEFLATE: permessage-deflate for WebSockets (RFC 7692), and whole bodies for HTTP.
//!
//! Nothing is kept of a connection: each message is compressed by itself, on both sides ("no context takeover"). So one
//! compressed form serves all recipients of a [`Packet`](crate::Packet), and an idle connection costs no memory. A thread
//! that compresses keeps one compressor of some 320 KiB, and one that inflates 45 KiB. The window is 32 KiB, the memory
//! level that of `miniz_oxide`, which corresponds to zlib's 8.
//!
//! ```
//! use roomcast_protocol::deflate::negotiate;
//!
//! let agreed = negotiate("permessage-deflate; client_max_window_bits")?.expect("it can be accepted");
//! assert_eq!(agreed.to_string(), "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
//! # Ok::<(), roomcast_protocol::deflate::MalformedExtensions>(())
//! ```

mod body;
mod compress;
mod inflate;
mod offer;
mod options;

pub use body::{Format, compress_body};
pub use compress::compress_message;
pub(crate) use compress::with_message;
pub use inflate::{InflateError, inflate};
pub use offer::{Agreed, MalformedExtensions, negotiate};
pub use options::Deflate;

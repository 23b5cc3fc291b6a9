//! [`FrameLimits`]: the bounds on what a client may send.

use crate::limits::MAX_PAYLOAD;

/// Data frames of one message by default. A fragment may be empty, so the bytes alone would not bound their number, and
/// each costs a pass through the decoder; clients that fragment at all send a handful.
pub const MAX_FRAGMENTS: u32 = 1_024;

/// Payload bytes of a control frame at most (RFC 6455, section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Bytes of a close frame's reason at most: a control payload less the two bytes of the code.
pub const MAX_CLOSE_REASON: usize = MAX_CONTROL_PAYLOAD - 2;

/// Limits of one connection's incoming messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of one text or binary message at most, its fragments together. Default: [`MAX_PAYLOAD`], which bounds
    /// a polling payload too, so that neither transport is a way around the other. Control frames have their own limit
    /// of 125 bytes.
    pub max_payload: usize,
    /// Data frames of one message at most, empty ones included. Default: [`MAX_FRAGMENTS`]. The first frame is never
    /// refused for it: 0 means the same as 1, no fragmented messages.
    pub max_fragments: u32,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { max_payload: MAX_PAYLOAD, max_fragments: MAX_FRAGMENTS }
    }
}

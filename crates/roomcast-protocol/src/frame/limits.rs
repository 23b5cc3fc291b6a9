//! [`FrameLimits`]: the bounds on what a client may send.

use crate::limits::MAX_PAYLOAD;

/// Default for the most data frames of one message. A fragment may be empty, so a bound on bytes does not bound their
/// number, and each costs a pass through the decoder. Clients that fragment at all send a handful.
pub const MAX_FRAGMENTS: u32 = 1_024;

/// Most payload bytes of a control frame (RFC 6455, section 5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// Most bytes of a close frame's reason: a control payload without the two bytes of the code.
pub const MAX_CLOSE_REASON: usize = MAX_CONTROL_PAYLOAD - 2;

/// Limits of one connection's incoming messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Most bytes of one text or binary message, all its fragments together. Defaults to [`MAX_PAYLOAD`], which bounds
    /// a polling payload too, so that neither transport is a way around the limit of the other. Control frames have
    /// their own limit of 125 bytes.
    pub max_payload: usize,
    /// Most data frames of one message, including empty ones. Defaults to [`MAX_FRAGMENTS`]. The first frame is never
    /// refused for it: 0 and 1 both mean no fragmented messages.
    pub max_fragments: u32,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { max_payload: MAX_PAYLOAD, max_fragments: MAX_FRAGMENTS }
    }
}

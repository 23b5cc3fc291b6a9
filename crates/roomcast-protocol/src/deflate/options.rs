//! [`Deflate`]: from which size on messages are compressed, and how hard.

use crate::limits::{DEFLATE_LEVEL, DEFLATE_THRESHOLD};

/// From which size on something is compressed, and how hard.
///
/// ```
/// use roomcast_protocol::deflate::Deflate;
///
/// let mut deflate = Deflate::default();
/// deflate.threshold = 4_096;
/// assert_eq!(deflate.level, 6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deflate {
    /// Bytes from which on a message or a body is compressed. Defaults to 1,024, as in Node
    /// ([`DEFLATE_THRESHOLD`]). More than a megabyte is not compressed either
    /// ([`DEFLATE_LARGEST`](crate::limits::DEFLATE_LARGEST)).
    pub threshold: usize,
    /// From 1 (fast) to 9 (small). Defaults to 6, as in Node ([`DEFLATE_LEVEL`]). Other numbers count as the nearest of
    /// these.
    pub level: u8,
}

impl Default for Deflate {
    fn default() -> Self {
        Self { threshold: DEFLATE_THRESHOLD, level: DEFLATE_LEVEL }
    }
}

//! [`MsgpackError`]: why MessagePack could not be read or written.

use super::kind::Kind;
use crate::json::JsonError;
use crate::limits::MAX_PACKET_BYTES;

/// Why MessagePack could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MsgpackError {
    /// The input ends in the middle of a value, or declares more than there are bytes for.
    #[error("ends in the middle of a value")]
    Truncated,
    /// A byte that begins no value: `c1`.
    #[error("{0:#04x} begins no value")]
    Reserved(u8),
    /// The value is of another kind.
    #[error("expected {expected:?}, found {found:?}")]
    Type {
        /// What the reader asked for.
        expected: Kind,
        /// What the input has.
        found: Kind,
    },
    /// Arrays and maps nest deeper than allowed.
    #[error("nested too deeply")]
    Depth,
    /// This many bytes are left after the value.
    #[error("{0} trailing bytes")]
    Trailing(usize),
    /// Text that is not UTF-8.
    #[error("text that is not UTF-8")]
    Utf8,
    /// A map key that is neither text nor a number, boolean or nil.
    #[error("a map key that is not text")]
    Key,
    /// The converted form would be larger than [`MAX_PACKET_BYTES`].
    #[error("larger than the {MAX_PACKET_BYTES} bytes of one packet")]
    TooLarge,
    /// The arguments are not JSON, or nest too deeply.
    #[error(transparent)]
    Json(#[from] JsonError),
}

//! [`EncodeError`]: why a parser cannot encode a packet.

use crate::msgpack::MsgpackError;
use crate::socketio::packet::PacketTooLarge;

/// Why a packet cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// It would be larger than [`MAX_PACKET_BYTES`](crate::limits::MAX_PACKET_BYTES).
    #[error(transparent)]
    TooLarge(#[from] PacketTooLarge),
    /// The arguments are not JSON, or nest deeper than [`MAX_DEPTH_OPTION`](crate::limits::MAX_DEPTH_OPTION) levels.
    /// Only [`Args`](crate::Args) made from text that nobody checked can be so. The default parser would send them as
    /// they are.
    #[error("arguments that MessagePack cannot hold: {0}")]
    Arguments(MsgpackError),
}

impl From<MsgpackError> for EncodeError {
    fn from(error: MsgpackError) -> Self {
        match error {
            MsgpackError::TooLarge => PacketTooLarge.into(),
            error => Self::Arguments(error),
        }
    }
}

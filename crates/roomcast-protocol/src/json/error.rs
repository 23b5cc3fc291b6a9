//! [`JsonError`]: why JSON text was refused.

/// Why JSON text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Not JSON.
    #[error("not JSON")]
    Syntax,
    /// Arrays and objects nest deeper than allowed.
    #[error("nested too deeply")]
    Depth,
}

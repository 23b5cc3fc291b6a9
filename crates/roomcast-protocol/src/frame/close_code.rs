//! Close codes that may be sent.

/// Whether a close frame may carry this code: those that RFC 6455 (section 7.4) and the IANA registry define, except
/// 1004, 1005, 1006 and 1015, which are never sent; and the ranges for libraries (3000) and applications (4000).
pub(super) fn is_sendable_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

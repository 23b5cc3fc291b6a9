//! Counts what was compressed.

/// Something was compressed: `what` is a `message` over WebSocket, a `poll`, or a `file`.
pub(crate) fn count_compressed(what: &'static str, before: usize, after: usize) {
    metrics::counter!("roomcast_compressed_total", "what" => what).increment(1);
    metrics::counter!("roomcast_compressed_bytes_before_total", "what" => what).increment(before as u64);
    metrics::counter!("roomcast_compressed_bytes_after_total", "what" => what).increment(after as u64);
}

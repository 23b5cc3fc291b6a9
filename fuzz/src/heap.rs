//! How much heap a piece of work may hold at once.

/// Runs `work`, which must not hold more than `most` bytes of heap at once on this thread.
#[track_caller]
pub(crate) fn within<T>(most: usize, work: impl FnOnce() -> T) -> T {
    let mut result = None;
    let info = allocation_counter::measure(|| result = Some(work()));
    assert!(info.bytes_max <= most as u64, "{} bytes of heap were held, at most {most} were expected", info.bytes_max);
    result.unwrap()
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn what_is_held_at_once_counts() {
        within(100, || (0..100).for_each(|_| drop(vec![0_u8; 100])));
        let over = std::panic::catch_unwind(|| within(100, || vec![0_u8; 101]));
        assert!(over.is_err());
    }
}

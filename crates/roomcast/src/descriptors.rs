//! The limit of open files: each client's connection is a file descriptor.

/// Descriptors that the process needs besides its clients' connections: listener, Redis, logs, what the runtime opens.
const OTHERS: u64 = 100;

/// Raises the limit to what the system allows this process (its hard limit). Logs a warning if fewer clients can connect than
/// `max_connections`.
pub(crate) fn raise_limit(max_connections: usize) {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => {
            if let Some(clients) = too_few(limit, max_connections) {
                tracing::warn!(
                    limit,
                    max_connections,
                    "at most {clients} clients can connect: the limit of open files is too low. Raise its hard limit (ulimit -Hn, \
                     LimitNOFILE of systemd, --ulimit nofile of Docker), or set MAX_CONNECTIONS to {clients}"
                );
            }
        }
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files; as many clients can connect as it allows");
        }
    }
}

/// The hard limit: the highest that this process may raise its limit to.
pub(crate) fn hard_limit() -> Option<u64> {
    rlimit::getrlimit(rlimit::Resource::NOFILE).ok().map(|(_, hard)| hard)
}

/// How many clients fit, if that is fewer than there may be.
fn too_few(limit: u64, max_connections: usize) -> Option<u64> {
    let clients = limit.saturating_sub(OTHERS);
    (clients < max_connections as u64).then_some(clients)
}

#[cfg(test)]
mod tests {
    use super::too_few;

    #[test]
    fn descriptors_at_the_limit_and_one_short_of_it() {
        assert_eq!(too_few(1_100, 1_000), None);
        assert_eq!(too_few(1_099, 1_000), Some(999));
        assert_eq!(too_few(10, 1), Some(0));
        assert_eq!(too_few(u64::MAX, usize::MAX), Some(u64::MAX - 100));
    }
}

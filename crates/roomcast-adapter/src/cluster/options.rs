//! [`ClusterOptions`]: the limits of the queue.

use std::time::Duration;

/// Limits of what waits for other servers. The defaults bridge a restart of Redis with little of a server's memory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// Most bytes that wait. Defaults to 64,000,000, some 250,000 small messages. Answers to other servers have a limit
    /// of their own, of the same size. A single message may be larger if nothing else waits.
    pub max_queued_bytes: usize,
    /// Age at which a waiting message is dropped. Defaults to 5 s. It does not apply to brokers that keep history.
    pub max_age: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { max_queued_bytes: 64_000_000, max_age: Duration::from_secs(5) }
    }
}

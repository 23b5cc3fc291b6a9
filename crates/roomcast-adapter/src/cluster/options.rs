//! [`ClusterOptions`]: the bounds of the cluster layer.

use std::time::Duration;

/// Bounds of what waits for other servers. The defaults bridge a restart of Redis and are small beside a server's memory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// Most bytes that wait, some 250,000 small messages; 64,000,000. Answers to other servers have as many for themselves. One
    /// message may be larger, if it waits alone.
    pub max_queued_bytes: usize,
    /// Age at which a message that waits is dropped; 5 s. It does not hold for brokers that keep history.
    pub max_age: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { max_queued_bytes: 64_000_000, max_age: Duration::from_secs(5) }
    }
}

//! [`RedisTimeouts`]: how long Redis may take.

use std::time::Duration;

/// How long Redis may take. The defaults work over TLS with a round trip of 400 ms.
///
/// An operation that takes longer is abandoned and tried again after a pause. With values far below a round trip
/// nothing works; zero has no special meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisTimeouts {
    /// For making a connection: DNS, TCP, TLS, and the greeting with user and password. Over TLS 1.2 that takes four
    /// round trips and the name server's time. Defaults to 5 s.
    pub connect: Duration,
    /// For the answer to a command. The PING before an idle connection is used again has a quarter of it. Defaults to 2
    /// s.
    pub command: Duration,
    /// For a Sentinel to name the primary, including the connection to it. Its answer is awaited only while it can
    /// affect the decision. Defaults to 5 s.
    pub sentinel: Duration,
    /// For a node of a Redis Cluster to count its subscribers. A frozen node delays each count by this much, until the
    /// Cluster marks it as failed; and a roomcast cluster waits 1 s for a count. A connection that takes longer is kept
    /// for the next count. Defaults to 800 ms.
    pub node: Duration,
    /// For a provider to return user and password, or for reading the password file; and as long again for reading the
    /// files for TLS. Defaults to 5 s.
    pub credentials: Duration,
}

impl Default for RedisTimeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            connect: seconds(5),
            command: seconds(2),
            sentinel: seconds(5),
            node: Duration::from_millis(800),
            credentials: seconds(5),
        }
    }
}

impl RedisTimeouts {
    /// For the answer to a command that costs Redis nothing, such as PING.
    pub(crate) fn ping(&self) -> Duration {
        self.command / 4
    }
}

//! [`RedisTimeouts`]: how long Redis may take for what.

use std::time::Duration;

/// How long Redis may take. The defaults work over TLS with a round trip of 400 ms.
///
/// What takes longer is given up and tried again after a pause. Values far below a round trip mean that nothing works, and zero is
/// no exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisTimeouts {
    /// A connection is made: name, TCP, TLS, and the greeting with user and password; 5 s. Over TLS 1.2 that takes four round trips
    /// and the name server's time.
    pub connect: Duration,
    /// A command is answered; 2 s. A sign of life, which is asked for before an idle connection is used again, has a quarter of it.
    pub command: Duration,
    /// A Sentinel tells the primary, the connection to it included; 5 s. It is waited for only as long as its word can decide.
    pub sentinel: Duration,
    /// A node of a Cluster tells its subscribers; 800 ms. A node that is frozen delays each count for so long, until the Cluster takes
    /// it for failed, and a cluster of servers waits 1 s for a count. A connection that takes longer is there for the next one.
    pub node: Duration,
    /// A provider tells user and password, or a file with the password is read; and files for TLS are read; 5 s each.
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
    /// For an answer that needs no work.
    pub(crate) fn sign_of_life(&self) -> Duration {
        self.command / 4
    }
}

//! [`ClientEntry`]: a connection of ours as Redis lists it among its clients.

use crate::error::RedisError;
use redis::aio::ConnectionLike;
use redis::{ConnectionInfo, cmd};

/// Enough to have the connection closed by CLIENT KILL. Ids start over when Redis restarts, so an id alone could be
/// another client's.
#[derive(Debug, Clone)]
pub(crate) struct ClientEntry {
    pub(crate) server: ConnectionInfo,
    pub(crate) id: String,
    /// Our end of the connection.
    pub(crate) address: String,
}

impl ClientEntry {
    /// Reads an answer to CLIENT INFO: `id=5 addr=127.0.0.1:40012 laddr=…`.
    pub(crate) fn read(server: &ConnectionInfo, text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.split_ascii_whitespace()
                .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
                .map(str::to_owned)
        };
        Some(Self { server: server.clone(), id: field("id")?, address: field("addr")? })
    }

    /// The words of the command that closes this connection.
    pub(crate) fn kill_command(&self) -> [&str; 6] {
        ["CLIENT", "KILL", "ID", &self.id, "ADDR", &self.address]
    }

    /// Has the connection closed, over another connection to the same server. Returns how many were closed: one or
    /// none.
    pub(crate) async fn kill(&self, connection: &mut impl ConnectionLike) -> Result<i64, RedisError> {
        let [command, arguments @ ..] = self.kill_command();
        Ok(cmd(command).arg(&arguments).query_async(connection).await?)
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.address == other.address && self.is_at(&other.server.addr().to_string())
    }

    /// Whether it is a connection to the server at this address.
    pub(crate) fn is_at(&self, server: &str) -> bool {
        self.server.addr().to_string() == server
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::IntoConnectionInfo;

    #[test]
    fn an_answer_to_client_info() {
        let server = "redis://h:2".into_connection_info().unwrap();
        let text = "id=5 addr=127.0.0.1:40012 laddr=127.0.0.1:6379 fd=8 name= age=0 user=default\n";
        let entry = ClientEntry::read(&server, text).unwrap();
        assert_eq!((&*entry.id, &*entry.address), ("5", "127.0.0.1:40012"));
        assert!(ClientEntry::read(&server, "laddr=127.0.0.1:6379 id=5").is_none());
    }
}

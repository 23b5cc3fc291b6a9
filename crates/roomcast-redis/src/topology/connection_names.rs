//! [`ConnectionNames`]: what Redis' CLIENT LIST calls the connections of this process.

use redis::aio::MultiplexedConnection;
use redis::cmd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;

/// Names are `roomcast-SERVER-ROLE`, or `roomcast-ROLE` where there is no server id: an emitter has none.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionNames(Arc<OnceLock<String>>);

impl ConnectionNames {
    /// Sets the server id. Only the first one counts.
    pub(crate) fn set_server(&self, id: &str) {
        // Redis takes no other characters.
        let id = id.chars().map(|c| if c.is_ascii_graphic() { c } else { '-' }).collect();
        let _ = self.0.set(id);
    }

    pub(crate) fn of(&self, role: &str) -> String {
        let id = self.0.get().map_or(String::new(), |id| format!("{id}-"));
        format!("roomcast-{id}{role}")
    }

    /// Names a connection in Redis. Where CLIENT SETNAME is forbidden it stays nameless.
    pub(crate) async fn set_on(&self, mut connection: MultiplexedConnection, role: &str, patience: Duration) {
        let mut command = cmd("CLIENT");
        command.arg("SETNAME").arg(self.of(role));
        // If the connection is broken, the next command will find out.
        let _ = timeout(patience, command.query_async::<()>(&mut connection)).await;
    }
}

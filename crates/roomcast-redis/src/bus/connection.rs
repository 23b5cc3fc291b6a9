//! [`SubscriberConnection`]: one connection that subscribes, from its making to its end.

use super::arrivals::Arrivals;
use super::routes::Routes;
use crate::attempts;
use crate::config::ServerKind;
use crate::error::RedisError;
use crate::topology::Topology;
use crate::topology::client_entry::ClientEntry;
use futures_util::future::join;
use parking_lot::{Mutex, RwLock};
use redis::aio::MultiplexedConnection;
use redis::{Client, ConnectionInfo, ProtocolVersion, PushInfo, PushKind, cmd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Each connection has its own [`Arrivals`]: late messages of an earlier connection would be out of order, and are
/// dropped.
pub(super) struct SubscriberConnection {
    pub(super) address: String,
    pub(super) server: ConnectionInfo,
    pub(super) connection: MultiplexedConnection,
    pub(super) health: Arc<Health>,
    pub(super) arrivals: Arc<Arrivals>,
    /// Passes on what arrives.
    task: AbortHandle,
    routes: Arc<RwLock<Routes>>,
}

/// Whether a connection lives.
#[derive(Default)]
pub(super) struct Health {
    /// The connection broke, or is to be ended.
    pub(super) broken: Notify,
    /// Why it is to be ended.
    pub(super) why: Mutex<Option<&'static str>>,
    pub(super) received: AtomicU64,
}

impl Health {
    pub(super) fn end(&self, why: &'static str) {
        *self.why.lock() = Some(why);
        self.broken.notify_one();
    }
}

impl Drop for SubscriberConnection {
    fn drop(&mut self) {
        self.task.abort();
        // What arrived before the end still counts.
        self.arrivals.close(&self.routes);
    }
}

impl SubscriberConnection {
    /// Connects to the server in use. Nothing is subscribed yet.
    pub(super) async fn connect(topology: &Topology, routes: &Arc<RwLock<Routes>>) -> Result<Self, RedisError> {
        let (server, redis) = (topology.current().await?, topology.config());
        let address = server.addr().to_string();
        let info = redis.prepare(&server, ServerKind::Data).await?;
        // RESP3 tells messages and answers apart, so that the same connection can be pinged.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        let (health, arrivals) = (Arc::<Health>::default(), Arc::<Arrivals>::default());
        let (pushed, arriving, listening) = (health.clone(), arrivals.clone(), routes.clone());
        let config = redis.connecting().set_push_sender(move |push: PushInfo| {
            match push.kind {
                PushKind::Disconnection => pushed.broken.notify_one(),
                PushKind::Message | PushKind::PMessage => {
                    pushed.received.fetch_add(1, Ordering::Relaxed);
                    arriving.add(push, &listening);
                }
                _ => {}
            }
            Ok::<(), ()>(())
        });
        let made = attempts::first(|| client.get_multiplexed_async_connection_with_config(&config)).await;
        let connection = made.map_err(|error| redis.explain(error.into(), ServerKind::Data))?;
        let task = tokio::spawn({
            let (arrivals, routes) = (arrivals.clone(), routes.clone());
            async move {
                loop {
                    arrivals.arrived().await;
                    arrivals.pass_on(&routes);
                }
            }
        });
        let (task, routes) = (task.abort_handle(), routes.clone());
        let mut made = Self { address, server, connection, health, arrivals, task, routes };
        let named = topology.names.set_on(made.connection.clone(), "hears", redis.timeouts.ping());
        join(named, topology.check(&mut made.connection)).await.1?;
        Ok(made)
    }

    /// How Redis lists it among its clients.
    pub(super) async fn client_entry(&mut self) -> Result<Option<ClientEntry>, RedisError> {
        match cmd("CLIENT").arg("INFO").query_async::<String>(&mut self.connection).await.map_err(RedisError::from) {
            Ok(text) => Ok(ClientEntry::read(&self.server, &text)),
            // Redis is older than 6.2, or the user lacks the right. Redis itself then has to find out when the
            // connection ends.
            Err(error) if error.is_answer() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

//! [`Hearing`]: a connection that hears, from its making to its end.

use super::arrivals::Arrivals;
use super::predecessors::Known;
use super::routes::Routes;
use super::topology::Topology;
use crate::attempts;
use crate::config::Whom;
use crate::error::RedisError;
use futures_util::future::join;
use parking_lot::{Mutex, RwLock};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Client, ConnectionInfo, ProtocolVersion, PushInfo, PushKind, cmd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// One connection. What an earlier one still brings when this one hears is not listened to: it would come out of order.
pub(super) struct Hearing {
    pub(super) address: String,
    pub(super) server: ConnectionInfo,
    pub(super) connection: MultiplexedConnection,
    pub(super) wire: Arc<Wire>,
    pub(super) arrivals: Arc<Arrivals>,
    /// Hands on what arrives.
    task: AbortHandle,
    routes: Arc<RwLock<Routes>>,
}

#[derive(Default)]
pub(super) struct Wire {
    /// It broke, or is to be given up.
    pub(super) broken: Notify,
    /// Why it is to be given up.
    pub(super) why: Mutex<Option<&'static str>>,
    /// Messages that came on it.
    pub(super) heard: AtomicU64,
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.task.abort();
        // What came before the end counts still.
        self.arrivals.close(&self.routes);
    }
}

impl Wire {
    /// The connection is to end, and why.
    pub(super) fn give_up(&self, why: &'static str) {
        *self.why.lock() = Some(why);
        self.broken.notify_one();
    }
}

impl Hearing {
    /// A connection to the server in use, on which nothing is subscribed.
    pub(super) async fn connect(topology: &Topology, routes: &Arc<RwLock<Routes>>) -> Result<Self, RedisError> {
        let (server, redis) = (topology.current().await?, topology.config());
        let address = server.addr().to_string();
        let info = redis.prepare(&server, Whom::Server).await?;
        // The third protocol tells messages and answers apart, so that the same connection can be pinged.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        let (wire, arrivals) = (Arc::<Wire>::default(), Arc::<Arrivals>::default());
        let (hearing, arriving, listening) = (wire.clone(), arrivals.clone(), routes.clone());
        let config = redis.connecting().set_push_sender(move |push: PushInfo| {
            match push.kind {
                PushKind::Disconnection => hearing.broken.notify_one(),
                PushKind::Message | PushKind::PMessage => {
                    hearing.heard.fetch_add(1, Ordering::Relaxed);
                    arriving.add(push, &listening);
                }
                _ => {}
            }
            Ok::<(), ()>(())
        });
        let made = attempts::first(|| client.get_multiplexed_async_connection_with_config(&config)).await;
        let connection = made.map_err(|error| redis.explain(error, Whom::Server))?;
        let task = tokio::spawn({
            let (arrivals, routes) = (arrivals.clone(), routes.clone());
            async move {
                loop {
                    arrivals.come().await;
                    arrivals.hand_on(&routes);
                }
            }
        });
        let (task, routes) = (task.abort_handle(), routes.clone());
        let mut made = Self { address, server, connection, wire, arrivals, task, routes };
        let named = topology.owner.name(made.connection.clone(), "hears", redis.timeouts.sign_of_life());
        join(named, topology.check(&mut made.connection)).await.1?;
        Ok(made)
    }

    /// How Redis knows it.
    pub(super) async fn known(&mut self) -> Result<Option<Known>, RedisError> {
        match cmd("CLIENT").arg("INFO").query_async::<String>(&mut self.connection).await.map_err(RedisError::from) {
            Ok(text) => Ok(Known::read(&self.server, &text)),
            // Older than 6.2, or the user may not know; Redis itself then finds out when it has ended.
            Err(error) if error.is_answer() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Known {
    /// Has it closed, by another connection to its server. Tells how many were closed: one or none.
    pub(super) async fn kill(&self, connection: &mut impl ConnectionLike) -> Result<i64, RedisError> {
        let mut kill = cmd("CLIENT");
        kill.arg("KILL").arg("ID").arg(&self.id).arg("ADDR").arg(&self.address);
        Ok(kill.query_async(connection).await?)
    }
}

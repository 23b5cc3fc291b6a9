//! [`Subscriber`]: the one connection that hears, with its list of subscriptions, reconnect and watchdog.

use crate::error::RedisError;
use crate::topology::{COMMAND_TIMEOUT, CONNECT_TIMEOUT, Topology};
use parking_lot::{Mutex, RwLock};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, Value, cmd};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};

/// How often the connection is asked for a sign of life. A subscriber never writes by itself, so a broken connection would
/// otherwise be noticed after hours.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// Names in one SUBSCRIBE or PSUBSCRIBE.
const NAMES_PER_COMMAND: usize = 128;

/// Pause before the first attempts after a break, and for what is over soon: a restart, a failover, loading.
const SHORT_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause.
const LONG_PAUSE: Duration = Duration::from_secs(3);

/// How often the log says that Redis is still not there.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What a subscription is for.
pub(crate) trait Listener: Send + Sync {
    /// A message has come; `pattern` if it came by one.
    fn heard(&self, pattern: Option<&str>, channel: &[u8], payload: Vec<u8>);

    /// Every subscription of this listener is confirmed.
    fn connected(&self);

    /// Nothing comes for now.
    fn lost(&self);
}

/// The names of one subscription. Names are text: Node's are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) patterns: Vec<String>,
    pub(crate) channels: Vec<String>,
}

/// Hears Redis. Its task runs as long as it lives.
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
    changes: mpsc::UnboundedSender<Change>,
}

struct Shared {
    topology: Arc<Topology>,
    /// Who listens, by channel and by pattern.
    routes: RwLock<Routes>,
    subscriptions: Mutex<HashMap<Arc<str>, Subscription>>,
    /// The connection broke.
    broken: Notify,
}

#[derive(Default)]
struct Routes {
    channels: HashMap<String, Arc<dyn Listener>>,
    patterns: HashMap<String, Arc<dyn Listener>>,
}

#[derive(Clone)]
struct Subscription {
    names: Names,
    listener: Arc<dyn Listener>,
}

enum Change {
    Add(Arc<str>),
    Remove(Names),
    /// Something else has noticed that nothing is heard.
    Reconnect,
}

impl Subscriber {
    /// Begins to hear; needs a tokio runtime.
    pub(crate) fn start(topology: Arc<Topology>) -> Self {
        let (changes, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            topology,
            routes: RwLock::default(),
            subscriptions: Mutex::default(),
            broken: Notify::new(),
        });
        tokio::spawn(shared.clone().run(receiver));
        Self { shared, changes }
    }

    /// Adds a subscription; a second one of the same key changes nothing.
    pub(crate) fn add(&self, key: &Arc<str>, names: Names, listener: Arc<dyn Listener>) {
        {
            let mut subscriptions = self.shared.subscriptions.lock();
            if subscriptions.contains_key(key) {
                return;
            }
            let mut routes = self.shared.routes.write();
            for name in &names.channels {
                routes.channels.insert(name.clone(), listener.clone());
            }
            for name in &names.patterns {
                routes.patterns.insert(name.clone(), listener.clone());
            }
            subscriptions.insert(key.clone(), Subscription { names, listener });
        }
        let _ = self.changes.send(Change::Add(key.clone()));
    }

    /// Removes a subscription.
    pub(crate) fn remove(&self, key: &str) {
        let Some(subscription) = self.shared.subscriptions.lock().remove(key) else { return };
        {
            let mut routes = self.shared.routes.write();
            subscription.names.channels.iter().for_each(|name| drop(routes.channels.remove(name)));
            subscription.names.patterns.iter().for_each(|name| drop(routes.patterns.remove(name)));
        }
        let _ = self.changes.send(Change::Remove(subscription.names));
    }

    /// Makes a new connection: this one hears nothing, although it seems to live.
    pub(crate) fn reconnect(&self) {
        let _ = self.changes.send(Change::Reconnect);
    }
}

impl Shared {
    async fn run(self: Arc<Self>, mut changes: mpsc::UnboundedReceiver<Change>) {
        let mut predecessor = None;
        let mut failures = 0u32;
        let mut logged: Option<Instant> = None;
        let mut down_since: Option<Instant> = None;
        loop {
            match self.connect(&mut predecessor).await {
                Ok(mut connection) => {
                    failures = 0;
                    if let Some(since) = down_since.take() {
                        let seconds = since.elapsed().as_secs_f32();
                        tracing::info!(redis = %self.topology.config(), seconds, "Redis is heard again");
                    }
                    logged = None;
                    metrics::counter!("roomcast_redis_connects_total").increment(1);
                    let ended = self.attend(&mut connection, &mut changes).await;
                    self.tell(|listener| listener.lost());
                    let Err(error) = ended else { return };
                    self.topology.suspect(&error);
                    down_since = Some(Instant::now());
                    tracing::warn!(redis = %self.topology.config(), %error, "the connection that hears Redis has ended; reconnecting");
                    logged.replace(Instant::now());
                }
                Err(error) => {
                    self.topology.suspect(&error);
                    down_since.get_or_insert_with(Instant::now);
                    if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                        tracing::warn!(redis = %self.topology.config(), %error, "Redis is not heard; trying on");
                        logged = Some(Instant::now());
                    }
                    failures = failures.saturating_add(1);
                    if changes.is_closed() {
                        return;
                    }
                    sleep(pause(&error, failures)).await;
                }
            }
        }
    }

    /// A connection on which every subscription is confirmed.
    async fn connect(self: &Arc<Self>, predecessor: &mut Option<i64>) -> Result<MultiplexedConnection, RedisError> {
        let info = self.topology.current().await?;
        // The third protocol tells messages and answers apart, so that the same connection can be pinged.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        let hearing = self.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT))
            .set_push_sender(move |push| {
                hearing.pushed(push);
                Ok::<(), ()>(())
            });
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = timeout(CONNECT_TIMEOUT * 2, connecting).await.map_err(|_| RedisError::Timeout)??;
        self.topology.check(&mut connection).await?;
        // A predecessor that Redis still believes in would be counted as another server by Node.
        let id: i64 = cmd("CLIENT").arg("ID").query_async(&mut connection).await?;
        if let Some(old) = predecessor.replace(id).filter(|old| *old != id) {
            let killed = cmd("CLIENT").arg("KILL").arg("ID").arg(old).query_async::<Value>(&mut connection).await;
            tracing::debug!(
                old,
                killed = killed.is_ok(),
                "the old connection was closed in Redis, if it was still there"
            );
        }
        let all: Vec<Subscription> = self.subscriptions.lock().values().cloned().collect();
        let names = |names: fn(&Names) -> &Vec<String>| -> Vec<String> {
            all.iter().flat_map(|subscription| names(&subscription.names).iter().cloned()).collect()
        };
        subscribe(&mut connection, &names(|names| &names.patterns), &names(|names| &names.channels)).await?;
        for subscription in all {
            subscription.listener.connected();
        }
        Ok(connection)
    }

    /// Changes subscriptions and asks for signs of life, until the connection ends. `Ok`: nobody wants it any more.
    async fn attend(
        &self,
        connection: &mut MultiplexedConnection,
        changes: &mut mpsc::UnboundedReceiver<Change>,
    ) -> Result<(), RedisError> {
        let mut ping = tokio::time::interval(PING_INTERVAL);
        ping.reset();
        loop {
            tokio::select! {
                () = self.broken.notified() => return Err(RedisError::Unreachable("the connection was closed".to_owned())),
                change = changes.recv() => match change {
                    None => return Ok(()),
                    Some(Change::Add(key)) => {
                        let added = self.subscriptions.lock().get(&key).cloned();
                        if let Some(added) = added {
                            subscribe(connection, &added.names.patterns, &added.names.channels).await?;
                            added.listener.connected();
                        }
                    }
                    Some(Change::Remove(names)) => {
                        if !names.patterns.is_empty() {
                            connection.punsubscribe(&names.patterns).await?;
                        }
                        if !names.channels.is_empty() {
                            connection.unsubscribe(&names.channels).await?;
                        }
                    }
                    Some(Change::Reconnect) => return Err(RedisError::Unreachable("nothing is heard on it".to_owned())),
                },
                _ = ping.tick() => {
                    cmd("PING").query_async::<()>(connection).await?;
                    self.topology.check(connection).await?;
                }
            }
        }
    }

    /// Runs on the connection's own task: what comes is handed on at once.
    fn pushed(&self, push: PushInfo) {
        let bytes = |value: Value| match value {
            Value::BulkString(bytes) => Some(bytes),
            Value::SimpleString(text) => Some(text.into_bytes()),
            _ => None,
        };
        let mut data = push.data.into_iter().filter_map(bytes);
        match push.kind {
            PushKind::Disconnection => self.broken.notify_one(),
            PushKind::Message => {
                let (Some(channel), Some(payload)) = (data.next(), data.next()) else { return };
                let Ok(name) = std::str::from_utf8(&channel) else { return };
                let listener = self.routes.read().channels.get(name).cloned();
                if let Some(listener) = listener {
                    listener.heard(None, &channel, payload);
                }
            }
            PushKind::PMessage => {
                let (Some(pattern), Some(channel), Some(payload)) = (data.next(), data.next(), data.next()) else {
                    return;
                };
                let Ok(pattern) = std::str::from_utf8(&pattern) else { return };
                let listener = self.routes.read().patterns.get(pattern).cloned();
                if let Some(listener) = listener {
                    listener.heard(Some(pattern), &channel, payload);
                }
            }
            _ => {}
        }
    }

    fn tell(&self, what: impl Fn(&dyn Listener)) {
        let all: Vec<Arc<dyn Listener>> =
            self.subscriptions.lock().values().map(|subscription| subscription.listener.clone()).collect();
        all.iter().for_each(|listener| what(&**listener));
    }
}

async fn subscribe(
    connection: &mut MultiplexedConnection,
    patterns: &[String],
    channels: &[String],
) -> Result<(), RedisError> {
    for patterns in patterns.chunks(NAMES_PER_COMMAND) {
        connection.psubscribe(patterns).await?;
    }
    for channels in channels.chunks(NAMES_PER_COMMAND) {
        connection.subscribe(channels).await?;
    }
    Ok(())
}

/// Longer with each failure, and spread, so that the servers of a cluster do not come back as one.
fn pause(error: &RedisError, failures: u32) -> Duration {
    let spread =
        0.5 + f64::from(roomcast_protocol::SocketId::random().map_or(0, |id| id.as_str().as_bytes()[0])) / 122.0;
    let longest = if error.is_short() { SHORT_PAUSE * 2 } else { LONG_PAUSE };
    (SHORT_PAUSE * 2u32.saturating_pow(failures.min(8) - 1)).min(longest).mul_f64(spread.min(1.25))
}

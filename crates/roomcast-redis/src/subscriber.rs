//! [`Subscriber`]: the one connection that hears, with its list of subscriptions, reconnect and watchdog.

use crate::arrivals::Arrivals;
use crate::error::RedisError;
use crate::topology::{COMMAND_TIMEOUT, CONNECT_TIMEOUT, Topology, pause};
use parking_lot::{Mutex, RwLock};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, cmd};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

/// How often the connection is asked for a sign of life. A subscriber never writes by itself, so a broken connection would
/// otherwise be noticed after hours.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// Names in one SUBSCRIBE or PSUBSCRIBE.
const NAMES_PER_COMMAND: usize = 128;

/// A connection that ends sooner counts as a failed attempt: a server that takes us and throws us out again is left alone for
/// ever longer.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// How often the log says that Redis is still not there.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What a subscription is for.
pub(crate) trait Listener: Send + Sync {
    /// Messages have come, in this order.
    fn heard(&self, messages: Vec<Heard>);

    /// Every subscription of this listener is confirmed.
    fn connected(&self);

    /// Nothing comes for now.
    fn lost(&self);
}

/// A message that has come.
pub(crate) struct Heard {
    /// By a pattern, not by its channel's name.
    pub(crate) by_pattern: bool,
    pub(crate) channel: Vec<u8>,
    pub(crate) payload: Vec<u8>,
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
    routes: Arc<RwLock<Routes>>,
    subscriptions: Mutex<HashMap<Arc<str>, Subscription>>,
    /// The connection that is believed to hear.
    up: Mutex<Option<Up>>,
    /// A connection has been made, and its subscriptions are on their way.
    subscribing: AtomicBool,
}

struct Up {
    address: String,
    wire: Arc<Wire>,
}

/// One connection. What an earlier one still brings when this one hears is not listened to: it would come out of order.
struct Hearing {
    address: String,
    connection: MultiplexedConnection,
    wire: Arc<Wire>,
    arrivals: Arc<Arrivals>,
    /// Hands on what arrives.
    task: AbortHandle,
    routes: Arc<RwLock<Routes>>,
    /// Subscriptions that were confirmed on it. One that was added while it was made is told of once more.
    confirmed: HashSet<Arc<str>>,
}

#[derive(Default)]
struct Wire {
    /// It broke, or is to be given up.
    broken: Notify,
    /// Why it is to be given up.
    why: Mutex<Option<&'static str>>,
    /// It was given up.
    given_up: AtomicBool,
    /// Messages that came on it.
    heard: AtomicU64,
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.task.abort();
        // What came before the end counts still.
        self.arrivals.hand_on(&self.routes);
        self.wire.given_up.store(true, Ordering::Release);
    }
}

/// A connection as Redis knows it. Ids begin anew when Redis is started again, so an id alone could be anybody's.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    id: String,
    address: String,
}

#[derive(Default)]
pub(crate) struct Routes {
    pub(crate) channels: HashMap<String, Arc<dyn Listener>>,
    pub(crate) patterns: HashMap<String, Arc<dyn Listener>>,
}

#[derive(Clone)]
struct Subscription {
    names: Names,
    listener: Arc<dyn Listener>,
}

enum Change {
    Add(Arc<str>),
    Remove(Arc<str>, Names),
}

impl Subscriber {
    /// Begins to hear; needs a tokio runtime.
    pub(crate) fn start(topology: Arc<Topology>) -> Self {
        let (changes, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            topology,
            routes: Arc::default(),
            subscriptions: Mutex::default(),
            up: Mutex::default(),
            subscribing: AtomicBool::new(false),
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
        let Some((key, subscription)) = self.shared.subscriptions.lock().remove_entry(key) else { return };
        {
            let mut routes = self.shared.routes.write();
            subscription.names.channels.iter().for_each(|name| drop(routes.channels.remove(name)));
            subscription.names.patterns.iter().for_each(|name| drop(routes.patterns.remove(name)));
        }
        let _ = self.changes.send(Change::Remove(key, subscription.names));
    }

    /// Whether Redis may count this server among a channel's subscribers: it does from a moment before the confirmation on.
    pub(crate) fn may_be_counted(&self) -> bool {
        self.shared.subscribing.load(Ordering::Acquire) || self.shared.up.lock().is_some()
    }

    /// Makes a new connection, if there is one: it hears nothing, although it seems to live. Tells whether there was one.
    pub(crate) fn reconnect(&self) -> bool {
        self.give_up(|_| true, "nothing is heard on it")
    }

    /// The server in use is at this address: a connection to another is given up. It may be to a server that is frozen, which
    /// its silence tells only later.
    pub(crate) fn move_to(&self, address: &str) {
        self.give_up(|up| up.address != address, "another server is used by now");
    }

    fn give_up(&self, which: impl FnOnce(&Up) -> bool, why: &'static str) -> bool {
        let up = self.shared.up.lock();
        let given_up = up.as_ref().filter(|up| which(up));
        if let Some(Up { wire, .. }) = given_up {
            *wire.why.lock() = Some(why);
            wire.broken.notify_one();
        }
        given_up.is_some()
    }
}

impl Shared {
    async fn run(self: Arc<Self>, mut changes: mpsc::UnboundedReceiver<Change>) {
        let mut predecessor = None;
        let mut failures = 0u32;
        let mut logged: Option<Instant> = None;
        let mut down_since: Option<Instant> = None;
        loop {
            // What changed meanwhile is in the list of subscriptions already.
            while changes.try_recv().is_ok() {}
            let error = match self.connect(&mut predecessor).await {
                Ok(mut hearing) => {
                    if let Some(since) = down_since.take() {
                        let seconds = since.elapsed().as_secs_f32();
                        tracing::info!(redis = %self.topology.config(), seconds, "Redis is heard again");
                    }
                    metrics::counter!("roomcast_redis_connects_total").increment(1);
                    let began = Instant::now();
                    *self.up.lock() = Some(Up { address: hearing.address.clone(), wire: hearing.wire.clone() });
                    self.subscribing.store(false, Ordering::Release);
                    let ended = self.attend(&mut hearing, &mut changes).await;
                    *self.up.lock() = None;
                    drop(hearing);
                    self.tell(|listener| listener.lost());
                    let Err(error) = ended else { return };
                    self.topology.suspect(&error);
                    down_since = Some(Instant::now());
                    if logged.is_none_or(|at| at.elapsed() >= SHORT_LIFE) {
                        tracing::warn!(redis = %self.topology.config(), %error, "the connection that hears Redis has ended; reconnecting");
                    }
                    logged = Some(Instant::now());
                    if began.elapsed() >= SHORT_LIFE {
                        failures = 0;
                        continue;
                    }
                    error
                }
                Err(error) => {
                    self.subscribing.store(false, Ordering::Release);
                    self.topology.suspect(&error);
                    down_since.get_or_insert_with(Instant::now);
                    if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                        tracing::warn!(redis = %self.topology.config(), %error, "Redis is not heard; trying on");
                        logged = Some(Instant::now());
                    }
                    error
                }
            };
            failures = failures.saturating_add(1);
            let until = Instant::now() + pause(&error, failures);
            loop {
                tokio::select! {
                    () = sleep_until(until) => break,
                    change = changes.recv() => if change.is_none() { return },
                }
            }
        }
    }

    /// A connection on which every subscription is confirmed.
    async fn connect(self: &Arc<Self>, predecessor: &mut Option<Known>) -> Result<Hearing, RedisError> {
        let info = self.topology.current().await?;
        let address = info.addr().to_string();
        // The third protocol tells messages and answers apart, so that the same connection can be pinged.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        let (wire, arrivals) = (Arc::<Wire>::default(), Arc::<Arrivals>::default());
        let (hearing, arriving, routes) = (wire.clone(), arrivals.clone(), self.routes.clone());
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(COMMAND_TIMEOUT))
            .set_push_sender(move |push: PushInfo| {
                match push.kind {
                    PushKind::Disconnection => hearing.broken.notify_one(),
                    PushKind::Message | PushKind::PMessage if !hearing.given_up.load(Ordering::Acquire) => {
                        hearing.heard.fetch_add(1, Ordering::Relaxed);
                        arriving.add(push, &routes);
                    }
                    _ => {}
                }
                Ok::<(), ()>(())
            });
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let connection = timeout(CONNECT_TIMEOUT * 2, connecting).await.map_err(|_| RedisError::Timeout)??;
        let task = tokio::spawn({
            let (arrivals, routes) = (arrivals.clone(), self.routes.clone());
            async move {
                loop {
                    arrivals.come().await;
                    arrivals.hand_on(&routes);
                }
            }
        });
        let (task, routes) = (task.abort_handle(), self.routes.clone());
        let mut hearing = Hearing { address, connection, wire, arrivals, task, routes, confirmed: HashSet::new() };
        let connection = &mut hearing.connection;
        self.topology.check(connection).await?;
        // A predecessor that Redis still believes in would be counted as another server by Node.
        let own = match cmd("CLIENT").arg("INFO").query_async::<String>(connection).await.map_err(RedisError::from) {
            Ok(text) => Known::read(&text),
            // Older than 6.2, or the user may not know; a predecessor then goes when Redis finds out.
            Err(error) if error.is_answer() => None,
            Err(error) => return Err(error),
        };
        if let Some(old) = predecessor.take() {
            let mut kill = cmd("CLIENT");
            kill.arg("KILL").arg("ID").arg(&old.id).arg("ADDR").arg(&old.address);
            let killed = kill.query_async::<i64>(connection).await;
            tracing::debug!(?old, ?killed, "the old connection is closed in Redis, if it was still there");
        }
        *predecessor = own;
        let all = self.subscriptions.lock().clone();
        let names = |names: fn(&Names) -> &Vec<String>| -> Vec<String> {
            all.values().flat_map(|subscription| names(&subscription.names).iter().cloned()).collect()
        };
        self.subscribing.store(true, Ordering::Release);
        subscribe(connection, &names(|names| &names.patterns), &names(|names| &names.channels)).await?;
        for (key, subscription) in all {
            hearing.confirmed.insert(key);
            subscription.listener.connected();
        }
        Ok(hearing)
    }

    /// Changes subscriptions and asks for signs of life, until the connection ends. `Ok`: nobody wants it any more.
    async fn attend(
        &self,
        hearing: &mut Hearing,
        changes: &mut mpsc::UnboundedReceiver<Change>,
    ) -> Result<(), RedisError> {
        let Hearing { connection, wire, arrivals, confirmed, .. } = &mut *hearing;
        let serving = async {
            let mut ping = tokio::time::interval(PING_INTERVAL);
            ping.reset();
            loop {
                tokio::select! {
                    change = changes.recv() => match change {
                        None => return Ok(()),
                        Some(change) => self.change(connection, arrivals, confirmed, change).await?,
                    },
                    _ = ping.tick() => {
                        let before = wire.heard.load(Ordering::Relaxed);
                        // Redis that loads its data, or that forbids PING, answers so, and passes messages on all the same.
                        let asked = match cmd("PING").query_async::<()>(connection).await.map_err(RedisError::from) {
                            Err(error) if !error.is_answer() => Err(error),
                            _ => self.topology.check(connection).await,
                        };
                        match asked {
                            // The answer stands in line behind messages, and those are signs of life too.
                            Err(RedisError::Timeout) if wire.heard.load(Ordering::Relaxed) != before => {}
                            asked => asked?,
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = wire.broken.notified() => {
                let why = wire.why.lock().unwrap_or("the connection was closed");
                Err(RedisError::Unreachable(why.to_owned()))
            }
            ended = serving => ended,
        }
    }

    async fn change(
        &self,
        connection: &mut MultiplexedConnection,
        arrivals: &Arrivals,
        confirmed: &mut HashSet<Arc<str>>,
        change: Change,
    ) -> Result<(), RedisError> {
        match change {
            Change::Add(key) => {
                let added = self.subscriptions.lock().get(&key).cloned();
                if let Some(added) = added.filter(|_| confirmed.insert(key)) {
                    subscribe(connection, &added.names.patterns, &added.names.channels).await?;
                    // What came before the confirmation is heard before it is told: whoever waits for it may then remove the
                    // subscription that this one takes over from.
                    arrivals.hand_on(&self.routes);
                    added.listener.connected();
                }
            }
            Change::Remove(key, names) => {
                confirmed.remove(&key);
                if !names.patterns.is_empty() {
                    connection.punsubscribe(&names.patterns).await?;
                }
                if !names.channels.is_empty() {
                    connection.unsubscribe(&names.channels).await?;
                }
            }
        }
        Ok(())
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

impl Known {
    /// Reads what CLIENT INFO tells: `id=5 addr=127.0.0.1:40012 laddr=…`.
    fn read(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.split_ascii_whitespace()
                .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
                .map(str::to_owned)
        };
        Some(Self { id: field("id")?, address: field("addr")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_as_redis_knows_it() {
        let text = "id=5 addr=127.0.0.1:40012 laddr=127.0.0.1:6379 fd=8 name= age=0 user=default\n";
        assert_eq!(Known::read(text), Some(Known { id: "5".to_owned(), address: "127.0.0.1:40012".to_owned() }));
        assert_eq!(Known::read("laddr=127.0.0.1:6379 id=5"), None);
    }
}

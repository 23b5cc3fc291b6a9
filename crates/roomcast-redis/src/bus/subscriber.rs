//! [`Subscriber`]: the one connection that hears: it subscribes what is wanted, reconnects, and looks for signs of life.

use super::arrivals::Arrivals;
use super::denied::{Denied, Forbidden};
use super::routes::{Listener, Names, Routes};
use super::topology::{Topology, pause};
use super::wanted::{Change, Wanted};
use crate::attempts;
use crate::config::Whom;
use crate::error::RedisError;
use futures_util::future::{join, join_all};
use parking_lot::{Mutex, RwLock};
use redis::aio::MultiplexedConnection;
use redis::{Client, ConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisResult, cmd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// How often the connection is asked for a sign of life. A subscriber never writes by itself, so a broken connection would
/// otherwise be noticed after hours.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// At every third of these times Sentinels are asked whether they still name the server that is heard.
const ASKED_AGAIN: u32 = 3;

/// A connection that ends sooner counts as a failed attempt: a server that takes us and throws us out again is left alone for
/// ever longer.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// How often the log says that Redis is still not there.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Hears Redis. Its task runs as long as it lives.
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
}

struct Shared {
    topology: Arc<Topology>,
    /// Who listens, by channel and by pattern.
    routes: Arc<RwLock<Routes>>,
    wanted: Mutex<Wanted>,
    /// What is wanted has changed, or nobody wants anything any more.
    changed: Notify,
    is_over: AtomicBool,
    /// The connection that is believed to hear.
    up: Mutex<Option<Up>>,
    /// A connection has been made, and its subscriptions are on their way.
    subscribing: AtomicBool,
    /// What Redis forbids, for the log.
    denied: Mutex<Denied>,
}

struct Up {
    address: String,
    wire: Arc<Wire>,
}

/// One connection. What an earlier one still brings when this one hears is not listened to: it would come out of order.
struct Hearing {
    address: String,
    server: ConnectionInfo,
    connection: MultiplexedConnection,
    wire: Arc<Wire>,
    arrivals: Arc<Arrivals>,
    /// Hands on what arrives.
    task: AbortHandle,
    routes: Arc<RwLock<Routes>>,
}

#[derive(Default)]
struct Wire {
    /// It broke, or is to be given up.
    broken: Notify,
    /// Why it is to be given up.
    why: Mutex<Option<&'static str>>,
    /// Messages that came on it.
    heard: AtomicU64,
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.task.abort();
        // What came before the end counts still.
        self.arrivals.close(&self.routes);
    }
}

/// A connection as Redis knows it. Ids begin anew when Redis is started again, so an id alone could be anybody's.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    id: String,
    address: String,
}

impl Subscriber {
    /// Begins to hear; needs a tokio runtime.
    pub(crate) fn start(topology: Arc<Topology>) -> Self {
        let routes = Arc::<RwLock<Routes>>::default();
        let shared = Arc::new(Shared {
            topology,
            routes: routes.clone(),
            wanted: Mutex::new(Wanted::new(routes)),
            changed: Notify::new(),
            is_over: AtomicBool::new(false),
            up: Mutex::default(),
            subscribing: AtomicBool::new(false),
            denied: Mutex::default(),
        });
        tokio::spawn(shared.clone().run());
        Self { shared }
    }

    /// Adds a subscription; a second one of the same key changes nothing.
    pub(crate) fn add(&self, key: &Arc<str>, names: Names, listener: Arc<dyn Listener>) {
        self.shared.wanted.lock().add(key, names, listener);
        self.shared.changed.notify_one();
    }

    /// Removes a subscription.
    pub(crate) fn remove(&self, key: &str) {
        self.shared.wanted.lock().remove(key);
        self.shared.changed.notify_one();
    }

    /// Whether Redis may count this server among a channel's subscribers: it does from a moment before the confirmation on.
    pub(crate) fn may_be_counted(&self) -> bool {
        self.shared.subscribing.load(Ordering::Acquire) || self.shared.up.lock().is_some()
    }

    /// Makes a new connection: a subscription hears nothing that it should. Tells whether it was believed to hear.
    pub(crate) fn reconnect(&self, key: &str) -> bool {
        self.shared.wanted.lock().hears(key) && self.give_up(|_| true, "nothing is heard on it")
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

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.shared.changed.notify_one();
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        let mut predecessor = None;
        let mut failures = 0u32;
        let mut logged: Option<Instant> = None;
        let mut down_since: Option<Instant> = None;
        loop {
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
                    let ended = self.attend(&mut hearing).await;
                    *self.up.lock() = None;
                    drop(hearing);
                    self.tell_lost();
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
                    self.tell_lost();
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
                    () = self.changed.notified() => if self.is_over.load(Ordering::Acquire) { return },
                }
            }
        }
    }

    /// A connection on which every subscription is confirmed.
    async fn connect(self: &Arc<Self>, predecessor: &mut Option<Known>) -> Result<Hearing, RedisError> {
        let (info, redis) = (self.topology.current().await?, self.topology.config());
        let (server, address) = (info.clone(), info.addr().to_string());
        let info = redis.prepare(&info, Whom::Server).await?;
        // The third protocol tells messages and answers apart, so that the same connection can be pinged.
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings))?;
        let (wire, arrivals) = (Arc::<Wire>::default(), Arc::<Arrivals>::default());
        let (hearing, arriving, routes) = (wire.clone(), arrivals.clone(), self.routes.clone());
        let config = redis.connecting().set_push_sender(move |push: PushInfo| {
            match push.kind {
                PushKind::Disconnection => hearing.broken.notify_one(),
                PushKind::Message | PushKind::PMessage => {
                    hearing.heard.fetch_add(1, Ordering::Relaxed);
                    arriving.add(push, &routes);
                }
                _ => {}
            }
            Ok::<(), ()>(())
        });
        let made = attempts::first(|| client.get_multiplexed_async_connection_with_config(&config)).await;
        let connection = made.map_err(|error| redis.explain(error, Whom::Server))?;
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
        let mut hearing = Hearing { address, server, connection, wire, arrivals, task, routes };
        let connection = &mut hearing.connection;
        let named = self.topology.owner.name(connection.clone(), "hears", redis.timeouts.sign_of_life());
        join(named, self.topology.check(connection)).await.1?;
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
        self.subscribing.store(true, Ordering::Release);
        self.wanted.lock().begin();
        loop {
            self.step(&hearing).await?;
            // Those that are opened meanwhile need not be waited for.
            if self.wanted.lock().is_settled() {
                break;
            }
        }
        // Those that are settled by now are told by the next step.
        self.changed.notify_one();
        Ok(hearing)
    }

    /// Changes subscriptions and asks for signs of life, until the connection ends. `Ok`: nobody wants it any more.
    async fn attend(&self, hearing: &mut Hearing) -> Result<(), RedisError> {
        let mut connection = hearing.connection.clone();
        let (hearing, wire) = (&*hearing, &hearing.wire);
        let serving = async {
            let mut ping = tokio::time::interval(PING_INTERVAL);
            ping.reset();
            loop {
                let retry = self.wanted.lock().next_retry();
                // One step at a time, as what is wanted may change faster than it is worked off, and signs of life matter too.
                tokio::select! {
                    () = self.changed.notified() => {
                        if self.is_over.load(Ordering::Acquire) {
                            return Ok(());
                        }
                        self.step(hearing).await?;
                    }
                    () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => self.step(hearing).await?,
                    _ = ping.tick() => {
                        let before = wire.heard.load(Ordering::Relaxed);
                        // Redis that loads its data, or that forbids PING, answers so, and passes messages on all the same.
                        let asked = match cmd("PING").query_async::<()>(&mut connection).await.map_err(RedisError::from) {
                            Err(error) if !error.is_answer() => Err(error),
                            _ => self.topology.check(&mut connection).await,
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
            by = self.topology.replaced(&hearing.server, PING_INTERVAL * ASKED_AGAIN) => Err(RedisError::Replaced { by }),
            ended = serving => ended,
        }
    }

    /// A step from what is confirmed to what is wanted. What Redis forbids is left out until it is tried again; any other error
    /// ends the connection.
    async fn step(&self, hearing: &Hearing) -> Result<(), RedisError> {
        let step = self.wanted.lock().step(Instant::now());
        if !step.tell.is_empty() {
            // What came before the confirmation is heard before it is told: whoever waits for it may then remove the subscription
            // that this one takes over from.
            hearing.arrivals.hand_on(&self.routes);
            step.tell.iter().for_each(|listener| listener.connected());
        }
        if step.healed > 0 {
            tracing::info!(redis = %self.topology.config(), count = step.healed, "subscriptions that Redis forbade are heard now");
        }
        if step.send.is_empty() {
            return Ok(());
        }
        let answers = join_all(step.send.iter().map(|change| send(hearing.connection.clone(), change))).await;
        let mut forbidden = Vec::new();
        {
            let mut wanted = self.wanted.lock();
            for (change, answer) in step.send.into_iter().zip(answers) {
                match answer.map_err(RedisError::from) {
                    Ok(()) => wanted.taken(change),
                    Err(error @ RedisError::Permission(_)) => {
                        let newly = wanted.refused(&change, Instant::now());
                        forbidden.push(Forbidden { name: change.name, error, newly });
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        // There may be more.
        self.changed.notify_one();
        if !forbidden.is_empty() {
            let count = self.wanted.lock().denied();
            self.denied.lock().tell(self.topology.config(), count, forbidden);
        }
        Ok(())
    }

    fn tell_lost(&self) {
        let told = self.wanted.lock().end();
        told.iter().for_each(|listener| listener.lost());
    }
}

/// Each name in a command of its own: Redis refuses a command whole if it forbids one of its names. They are sent together.
async fn send(mut connection: MultiplexedConnection, change: &Change) -> RedisResult<()> {
    let name = &*change.name.text;
    match (change.wanted_by.is_some(), change.name.is_pattern) {
        (true, true) => connection.psubscribe(name).await,
        (true, false) => connection.subscribe(name).await,
        (false, true) => connection.punsubscribe(name).await,
        (false, false) => connection.unsubscribe(name).await,
    }
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

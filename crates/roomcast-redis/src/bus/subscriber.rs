//! [`Subscriber`]: keeps the one connection that subscribes: brings subscriptions up to date, checks that it lives, and
//! reconnects.

use super::changes::send;
use super::connection::{Health, SubscriberConnection};
use super::names::Names;
use super::predecessors::Predecessors;
use super::publisher::Publisher;
use super::routes::Routes;
use super::subscriptions::Subscriptions;
use crate::delivery::denied::{DeniedLog, Forbidden};
use crate::delivery::{Echo, Listener, Mark, Waiter};
use crate::error::RedisError;
use crate::topology::Topology;
use crate::topology::backoff::pause;
use crate::topology::client_entry::ClientEntry;
use futures_util::future::join_all;
use parking_lot::{Mutex, RwLock};
use redis::cmd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How often the connection is pinged. A subscriber never writes by itself, so a broken connection would otherwise be
/// noticed only after hours.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// Once in this many ping intervals the Sentinels are asked whether they still name the subscribed server.
const PINGS_PER_SENTINEL_CHECK: u32 = 3;

/// A Redis server delivers a message before it answers the publisher. Other software with several threads, or the nodes
/// of a Cluster behind one address, may deliver it this much later.
const LATE: Duration = Duration::from_millis(100);

/// A connection that ends sooner counts as a failed attempt: a server that accepts and then drops us is retried with
/// growing pauses.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// How often the log says that Redis is still away.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Its task ends when it is dropped.
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
}

struct Shared {
    topology: Arc<Topology>,
    publisher: Arc<Publisher>,
    echo: Arc<Mutex<Echo>>,
    routes: Arc<RwLock<Routes>>,
    subscriptions: Mutex<Subscriptions>,
    changed: Notify,
    is_dropped: AtomicBool,
    /// The connection on which everything was subscribed, until it is known to be broken.
    current: Mutex<Option<Current>>,
    /// A connection has been made, and its subscriptions are in flight.
    subscribing: AtomicBool,
    denied_log: Mutex<DeniedLog>,
    predecessors: Mutex<Predecessors>,
}

struct Current {
    address: String,
    health: Arc<Health>,
}

impl Subscriber {
    /// Starts to connect and subscribe. Needs a tokio runtime.
    pub(crate) fn start(topology: Arc<Topology>, publisher: Arc<Publisher>, echo: Arc<Mutex<Echo>>) -> Self {
        let routes = Arc::<RwLock<Routes>>::default();
        let shared = Arc::new(Shared {
            topology,
            publisher,
            echo,
            routes: routes.clone(),
            subscriptions: Mutex::new(Subscriptions::new(routes)),
            changed: Notify::new(),
            is_dropped: AtomicBool::new(false),
            current: Mutex::default(),
            subscribing: AtomicBool::new(false),
            denied_log: Mutex::default(),
            predecessors: Mutex::default(),
        });
        tokio::spawn(shared.clone().run());
        Self { shared }
    }

    pub(crate) fn add(&self, key: &Arc<str>, names: Names, listener: Arc<dyn Listener>) {
        self.shared.subscriptions.lock().add(key, names, listener);
        self.shared.changed.notify_one();
    }

    pub(crate) fn add_channel(&self, key: &Arc<str>, channel: String, listener: Arc<dyn Listener>) {
        self.shared.subscriptions.lock().add_channel(key, channel, listener);
        self.shared.changed.notify_one();
    }

    pub(crate) fn wait(&self, key: &str, waiters: Vec<Waiter>) {
        self.shared.subscriptions.lock().wait(key, waiters);
    }

    pub(crate) fn remove(&self, key: &str) {
        self.shared.subscriptions.lock().remove(key);
        self.shared.changed.notify_one();
    }

    /// Whether Redis may count this server among a channel's subscribers. It does from a moment before it confirms the
    /// subscription.
    pub(crate) fn may_be_counted(&self) -> bool {
        self.shared.subscribing.load(Ordering::Acquire) || self.shared.current.lock().is_some()
    }

    /// The server in use is now at this address; a connection to another one is ended. That one may lead to a frozen
    /// server, which pings would find out only later.
    pub(crate) fn move_to(&self, address: &str) {
        if let Some(current) = self.shared.current.lock().as_ref().filter(|current| current.address != address) {
            current.health.end("another server is used now");
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared.is_dropped.store(true, Ordering::Release);
        self.shared.changed.notify_one();
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        let mut entry = None;
        let mut failures = 0u32;
        let mut logged: Option<Instant> = None;
        let mut down_since: Option<Instant> = None;
        loop {
            let connected = self.connect(&mut entry).await;
            let error = match connected {
                Ok(mut connection) => {
                    if let Some(since) = down_since.take() {
                        let seconds = since.elapsed().as_secs_f32();
                        tracing::info!(redis = %self.topology.config(), seconds, "the subscriber is connected to Redis again");
                    }
                    metrics::counter!("roomcast_redis_connects_total").increment(1);
                    let began = Instant::now();
                    let (address, health) = (connection.address.clone(), connection.health.clone());
                    *self.current.lock() = Some(Current { address, health });
                    self.subscribing.store(false, Ordering::Release);
                    let listed = self.topology.own.list(entry.clone());
                    let ended = self.serve(&mut connection).await;
                    drop(listed);
                    *self.current.lock() = None;
                    drop(connection);
                    self.ended(entry.take());
                    let Err(error) = ended else { return };
                    self.topology.suspect(&error);
                    down_since = Some(Instant::now());
                    if logged.is_none_or(|at| at.elapsed() >= SHORT_LIFE) {
                        tracing::warn!(redis = %self.topology.config(), %error, "the subscriber connection to Redis has ended: no messages of the other servers arrive until it is back; reconnecting");
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
                    self.ended(entry.take());
                    self.topology.suspect(&error);
                    down_since.get_or_insert_with(Instant::now);
                    if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                        match error {
                            // It does not get better by itself.
                            RedisError::Protocol(_) => {
                                tracing::error!(redis = %self.topology.config(), %error, "the subscriber cannot use this Redis: no messages of the other servers arrive");
                            }
                            _ => {
                                tracing::warn!(redis = %self.topology.config(), %error, "the subscriber cannot connect to Redis: no messages of the other servers arrive; retrying");
                            }
                        }
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
                    () = self.changed.notified() => if self.is_dropped.load(Ordering::Acquire) { return },
                }
            }
        }
    }

    /// A connection on which every subscription is confirmed or forbidden. `entry` is set as soon as Redis has reported
    /// it.
    async fn connect(&self, entry: &mut Option<ClientEntry>) -> Result<SubscriberConnection, RedisError> {
        let mut connection = SubscriberConnection::connect(&self.topology, &self.routes).await?;
        *entry = connection.client_entry().await?;
        // As long as Redis holds a predecessor open, Node counts it as another server.
        let predecessors = self.predecessors.lock().at(&connection.address);
        for predecessor in predecessors {
            let killed = predecessor.kill(&mut connection.connection).await;
            self.killed(&predecessor, &killed);
        }
        self.subscribing.store(true, Ordering::Release);
        self.subscriptions.lock().connection_made();
        loop {
            self.step(&connection).await?;
            // Subscriptions that are added meanwhile need not be waited for.
            if self.subscriptions.lock().is_settled() {
                break;
            }
        }
        // The next step tells the listeners.
        self.changed.notify_one();
        Ok(connection)
    }

    fn killed(&self, predecessor: &ClientEntry, killed: &Result<i64, RedisError>) {
        if killed.as_ref().map_or_else(RedisError::is_answer, |_| true) {
            self.predecessors.lock().answered(predecessor);
        }
        let (server, id) = (predecessor.server.addr(), &predecessor.id);
        tracing::debug!(%server, %id, ?killed, "asked Redis to close an earlier subscriber connection of this server");
    }

    /// Has predecessors closed, by the servers that hold them. It never ends.
    async fn kill_predecessors(&self) {
        loop {
            let Some(due) = self.predecessors.lock().next() else { break };
            sleep_until(due).await;
            let due = self.predecessors.lock().due(Instant::now());
            join_all(due.iter().map(|predecessor| async {
                let connecting = self.topology.connection_to(&predecessor.server);
                let killing = async { predecessor.kill(&mut *connecting.await?).await };
                let killed =
                    timeout(self.topology.config().timeouts.command, killing).await.unwrap_or(Err(RedisError::Timeout));
                self.killed(predecessor, &killed);
            }))
            .await;
        }
        std::future::pending::<()>().await;
    }

    /// Changes subscriptions and pings, until the connection ends. `Ok` when the [`Subscriber`] is dropped.
    async fn serve(&self, connection: &mut SubscriberConnection) -> Result<(), RedisError> {
        let mut redis = connection.connection.clone();
        let (connection, health) = (&*connection, &connection.health);
        let serving = async {
            let mut ping = tokio::time::interval(PING_INTERVAL);
            ping.reset();
            loop {
                let retry = self.subscriptions.lock().next_retry();
                // One step at a time: subscriptions may change faster than Redis takes the changes, and pings must not
                // wait.
                tokio::select! {
                    () = self.changed.notified() => {
                        if self.is_dropped.load(Ordering::Acquire) {
                            return Ok(());
                        }
                        self.step(connection).await?;
                    }
                    () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => self.step(connection).await?,
                    _ = ping.tick() => {
                        let (before, mark) = (health.received.load(Ordering::Relaxed), self.echo.lock().mark());
                        // A Redis that is loading its data, or that forbids PING, answers with an error and passes
                        // messages on.
                        let checked = match cmd("PING").query_async::<()>(&mut redis).await.map_err(RedisError::from) {
                            Err(error) if !error.is_answer() => Err(error),
                            _ => {
                                self.check_echo(connection, mark).await?;
                                self.topology.check(&mut redis).await
                            }
                        };
                        match checked {
                            // The answer is queued behind messages, and their arrival shows that the connection lives.
                            Err(RedisError::Timeout) if health.received.load(Ordering::Relaxed) != before => {}
                            checked => checked?,
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = health.broken.notified() => {
                let why = health.why.lock().unwrap_or("the connection was closed");
                Err(RedisError::Unreachable(why.to_owned()))
            }
            by = self.topology.replaced(&connection.server, PING_INTERVAL * PINGS_PER_SENTINEL_CHECK) => {
                Err(RedisError::Replaced { by })
            }
            ended = serving => ended,
            () = self.kill_predecessors() => Ok(()),
        }
    }

    /// To be called when a PING was answered. If this connection is deaf, both it and the publisher reconnect: it may
    /// be the publisher that is connected to a server which nobody else uses any more.
    async fn check_echo(&self, connection: &SubscriberConnection, before_ping: Option<Mark>) -> Result<(), RedisError> {
        let seems_deaf = || {
            connection.arrivals.pass_on(&self.routes);
            before_ping.is_some_and(|before| self.echo.lock().is_deaf(before))
        };
        if !seems_deaf() {
            return Ok(());
        }
        sleep(LATE).await;
        let asked = cmd("PING").query_async::<()>(&mut connection.connection.clone()).await.map_err(RedisError::from);
        if !asked.as_ref().map_or_else(RedisError::is_answer, |()| true) || !seems_deaf() {
            // A connection that does not answer is found by the next ping.
            return Ok(());
        }
        tracing::warn!(
            redis = %self.topology.config(),
            "this server's own messages do not come back from Redis: its publisher and subscriber may be connected to different servers; both reconnect"
        );
        self.publisher.reconnect();
        Err(RedisError::Unreachable("messages that this server publishes do not arrive on the connection".to_owned()))
    }

    /// One step towards the wanted subscriptions. Forbidden names are left out until they are tried again; any other
    /// error ends the connection.
    async fn step(&self, connection: &SubscriberConnection) -> Result<(), RedisError> {
        let step = self.subscriptions.lock().step(Instant::now());
        if !step.connected.is_empty() || !step.waiters.is_empty() {
            // What arrived before the confirmation is passed on before the confirmation is announced: a listener or
            // waiter may then remove the subscription that this one takes over from.
            connection.arrivals.pass_on(&self.routes);
            step.connected.iter().for_each(|listener| listener.connected());
            for waiter in step.waiters {
                let _ = waiter.send(Ok(()));
            }
        }
        if step.recovered > 0 {
            tracing::info!(redis = %self.topology.config(), count = step.recovered, "Redis now allows subscriptions that it forbade before");
        }
        if step.changes.is_empty() {
            return Ok(());
        }
        let answers = send(&connection.connection, &step.changes).await;
        let mut forbidden = Vec::new();
        {
            let mut subscriptions = self.subscriptions.lock();
            for (change, answer) in step.changes.into_iter().zip(answers) {
                match answer {
                    Ok(()) => subscriptions.confirm(change),
                    Err(error @ RedisError::Permission(_)) => {
                        let newly = subscriptions.deny(&change, &error, Instant::now());
                        forbidden.push(Forbidden { name: change.name.text, error, newly });
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.report_size();
        // There may be more to do.
        self.changed.notify_one();
        if !forbidden.is_empty() {
            let count = self.subscriptions.lock().denied();
            self.denied_log.lock().report(self.topology.config(), count, forbidden);
        }
        Ok(())
    }

    /// How many names are subscribed, for metrics.
    fn report_size(&self) {
        let names = self.subscriptions.lock().confirmed();
        metrics::gauge!("roomcast_redis_subscriptions").set(names as f64);
    }

    /// A connection has ended here, and Redis may still hold it open.
    fn ended(&self, entry: Option<ClientEntry>) {
        if let Some(entry) = entry
            && let Some(forgotten) = self.predecessors.lock().add(entry, Instant::now())
        {
            let server = forgotten.server.addr();
            tracing::warn!(%server, "many subscriber connections ended while this Redis server could not be reached; it may count an old one as a server for some minutes");
        }
        let lost = self.subscriptions.lock().connection_ended();
        self.report_size();
        lost.iter().for_each(|listener| listener.lost());
    }
}

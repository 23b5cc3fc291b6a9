//! [`Subscriber`]: the one connection that hears: it subscribes what is wanted, reconnects, and looks for signs of life.

use super::changes::send;
use super::denied::{Denied, Forbidden};
use super::echo::{Before, Echo};
use super::hearing::{Hearing, Wire};
use super::predecessors::{Known, Predecessors};
use super::publisher::Publisher;
use super::routes::{Listener, Names, Routes};
use super::topology::{Topology, pause};
use super::wanted::{Waiter, Wanted};
use crate::error::RedisError;
use futures_util::future::join_all;
use parking_lot::{Mutex, RwLock};
use redis::cmd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How often the connection is asked for a sign of life. A subscriber never writes by itself, so a broken connection would
/// otherwise be noticed after hours.
const PING_INTERVAL: Duration = Duration::from_secs(3);

/// At every third of these times Sentinels are asked whether they still name the server that is heard.
const ASKED_AGAIN: u32 = 3;

/// One Redis server sends a message before it answers to who published it. Servers of other software that have several threads, or the
/// nodes of a Cluster behind one address, may be so much later.
const LATE: Duration = Duration::from_millis(100);

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
    lane: Arc<Publisher>,
    echo: Arc<Mutex<Echo>>,
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
    predecessors: Mutex<Predecessors>,
}

struct Up {
    address: String,
    wire: Arc<Wire>,
}

impl Subscriber {
    /// Begins to hear; needs a tokio runtime.
    pub(crate) fn start(topology: Arc<Topology>, lane: Arc<Publisher>, echo: Arc<Mutex<Echo>>) -> Self {
        let routes = Arc::<RwLock<Routes>>::default();
        let shared = Arc::new(Shared {
            topology,
            lane,
            echo,
            routes: routes.clone(),
            wanted: Mutex::new(Wanted::new(routes)),
            changed: Notify::new(),
            is_over: AtomicBool::new(false),
            up: Mutex::default(),
            subscribing: AtomicBool::new(false),
            denied: Mutex::default(),
            predecessors: Mutex::default(),
        });
        tokio::spawn(shared.clone().run());
        Self { shared }
    }

    /// Adds a subscription; a second one of the same key changes nothing.
    pub(crate) fn add(&self, key: &Arc<str>, names: Names, listener: Arc<dyn Listener>) {
        self.shared.wanted.lock().add(key, names, listener);
        self.shared.changed.notify_one();
    }

    /// Adds a channel for a listener that is not told of it, or only who waits for it.
    pub(crate) fn add_channel(
        &self,
        key: &Arc<str>,
        channel: String,
        listener: Arc<dyn Listener>,
        waiters: Vec<Waiter>,
    ) {
        self.shared.wanted.lock().add_channel(key, channel, listener, waiters);
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

    /// The server in use is at this address: a connection to another is given up. It may be to a server that is frozen, which
    /// its silence tells only later.
    pub(crate) fn move_to(&self, address: &str) {
        if let Some(up) = self.shared.up.lock().as_ref().filter(|up| up.address != address) {
            up.wire.give_up("another server is used by now");
        }
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
        let mut own = None;
        let mut failures = 0u32;
        let mut logged: Option<Instant> = None;
        let mut down_since: Option<Instant> = None;
        loop {
            let connected = self.connect(&mut own).await;
            let error = match connected {
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
                    self.has_ended(own.take());
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
                    self.has_ended(own.take());
                    self.topology.suspect(&error);
                    down_since.get_or_insert_with(Instant::now);
                    if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
                        match error {
                            // It does not get better by itself.
                            RedisError::Protocol(_) => {
                                tracing::error!(redis = %self.topology.config(), %error, "Redis cannot be heard");
                            }
                            _ => {
                                tracing::warn!(redis = %self.topology.config(), %error, "Redis is not heard; trying on");
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
                    () = self.changed.notified() => if self.is_over.load(Ordering::Acquire) { return },
                }
            }
        }
    }

    /// A connection on which every subscription is confirmed. `own`: how Redis knows it, as soon as we do.
    async fn connect(&self, own: &mut Option<Known>) -> Result<Hearing, RedisError> {
        let mut hearing = Hearing::connect(&self.topology, &self.routes).await?;
        *own = hearing.known().await?;
        // One that Redis still believes in would be counted as another server by Node.
        let left = self.predecessors.lock().at(&hearing.address);
        for known in left {
            let killed = known.kill(&mut hearing.connection).await;
            self.killed(&known, &killed);
        }
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

    fn killed(&self, known: &Known, killed: &Result<i64, RedisError>) {
        if killed.as_ref().map_or_else(RedisError::is_answer, |_| true) {
            self.predecessors.lock().answered(known);
        }
        let (server, id) = (known.server.addr(), &known.id);
        tracing::debug!(%server, %id, ?killed, "an old connection is closed in Redis, if it was still there");
    }

    /// Has those closed that ended here, at the servers that have them. It never ends.
    async fn kill_predecessors(&self) {
        loop {
            let Some(due) = self.predecessors.lock().next() else { break };
            sleep_until(due).await;
            let due = self.predecessors.lock().due(Instant::now());
            join_all(due.iter().map(|known| async {
                let killing = async { known.kill(&mut *self.topology.at(&known.server).await?).await };
                let killed =
                    timeout(self.topology.config().timeouts.command, killing).await.unwrap_or(Err(RedisError::Timeout));
                self.killed(known, &killed);
            }))
            .await;
        }
        std::future::pending::<()>().await;
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
                        let (before, echo) = (wire.heard.load(Ordering::Relaxed), self.echo.lock().before());
                        // Redis that loads its data, or that forbids PING, answers so, and passes messages on all the same.
                        let asked = match cmd("PING").query_async::<()>(&mut connection).await.map_err(RedisError::from) {
                            Err(error) if !error.is_answer() => Err(error),
                            _ => {
                                self.must_hear(hearing, echo).await?;
                                self.topology.check(&mut connection).await
                            }
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
            () = self.kill_predecessors() => Ok(()),
        }
    }

    /// A PING was answered. Both connections are made anew if this one is deaf: it may be the one that publishes which is to a
    /// server that nobody else uses any more.
    async fn must_hear(&self, hearing: &Hearing, before_ping: Option<Before>) -> Result<(), RedisError> {
        let seems_deaf = || {
            hearing.arrivals.hand_on(&self.routes);
            before_ping.is_some_and(|before| self.echo.lock().is_deaf(before))
        };
        if !seems_deaf() {
            return Ok(());
        }
        sleep(LATE).await;
        let asked = cmd("PING").query_async::<()>(&mut hearing.connection.clone()).await.map_err(RedisError::from);
        if !asked.as_ref().map_or_else(RedisError::is_answer, |()| true) || !seems_deaf() {
            // Whoever does not answer is found by the next one.
            return Ok(());
        }
        tracing::warn!(
            redis = %self.topology.config(),
            "Redis takes what is published, but the subscriber hears none of it; both reconnect"
        );
        self.lane.give_up();
        Err(RedisError::Unreachable("nothing is heard on it".to_owned()))
    }

    /// A step from what is confirmed to what is wanted. What Redis forbids is left out until it is tried again; any other error
    /// ends the connection.
    async fn step(&self, hearing: &Hearing) -> Result<(), RedisError> {
        let step = self.wanted.lock().step(Instant::now());
        if !step.tell.is_empty() || !step.waited.is_empty() {
            // What came before the confirmation is heard before it is told: whoever waits for it may then remove the subscription
            // that this one takes over from.
            hearing.arrivals.hand_on(&self.routes);
            step.tell.iter().for_each(|listener| listener.connected());
            for waiter in step.waited {
                let _ = waiter.send(Ok(()));
            }
        }
        if step.healed > 0 {
            tracing::info!(redis = %self.topology.config(), count = step.healed, "subscriptions that Redis forbade are heard now");
        }
        if step.send.is_empty() {
            return Ok(());
        }
        let answers = send(&hearing.connection, &step.send).await;
        let mut forbidden = Vec::new();
        {
            let mut wanted = self.wanted.lock();
            for (change, answer) in step.send.into_iter().zip(answers) {
                match answer {
                    Ok(()) => wanted.taken(change),
                    Err(error @ RedisError::Permission(_)) => {
                        let newly = wanted.refused(&change, &error, Instant::now());
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

    /// A connection has ended, and Redis may not know it.
    fn has_ended(&self, known: Option<Known>) {
        if let Some(known) = known
            && let Some(given_up) = self.predecessors.lock().add(known, Instant::now())
        {
            let server = given_up.server.addr();
            tracing::warn!(%server, "many connections ended while Redis was not reachable; an old one may be counted there as a server for minutes");
        }
        let told = self.wanted.lock().end();
        told.iter().for_each(|listener| listener.lost());
    }
}

//! [`Ear`]: the connection that hears the channels of one node.
//!
//! It is a connection of our own (docs/decisions/0021): the `redis` crate takes a `sunsubscribe` that nobody asked for, which tells
//! that a slot has moved, for the answer to another command, and subscribes nothing anew on a Cluster when a node dies.

use super::ears::Shared;
use super::resp::{Item, Reader, Reply, command};
use super::slots::{Node, moved};
use super::stream::{Stream, open, unreachable};
use super::wanted::Change;
use crate::attempts;
use crate::bus::denied::Forbidden;
use crate::bus::routes::Name;
use crate::bus::topology::pause;
use crate::bus::{Before, Heard, Listener};
use crate::config::Whom;
use crate::error::RedisError;
use bytes::BytesMut;
use redis::ConnectionInfo;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

/// How often a sign of life is asked for. It is waited for as long as for any answer.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// Most bytes of the buffer that a large message leaves behind.
const MAX_IDLE_BYTES: usize = 1024 * 1024;

/// A connection that lasted less is no proof that the node can be used.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// How often the log tells that a node is not heard.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Hears a node until nothing is to be heard there, however often the connection ends. `changed`: something is to be done.
pub(super) async fn hear(shared: Arc<Shared>, node: Arc<Node>, changed: Arc<Notify>) {
    let (mut failures, mut logged, mut predecessor) = (0_u32, None::<Instant>, None);
    loop {
        if shared.wanted.lock().is_idle(&node.address) {
            return;
        }
        let connected = Ear::connect(&shared, &node, &mut predecessor).await;
        let began = Instant::now();
        let ended = match connected {
            Ok(mut ear) => {
                metrics::counter!("roomcast_redis_connects_total").increment(1);
                shared.wanted.lock().begin(&node.address);
                let ended = ear.attend(&changed).await;
                drop(ear);
                let rooms = shared.wanted.lock().end(&node.address);
                shared.tell();
                metrics::counter!("roomcast_redis_rooms_interrupted_total").increment(rooms as u64);
                ended
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        shared.places.topology.suspect(&error);
        shared.places.suspect();
        if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            logged = Some(Instant::now());
            tracing::warn!(redis = %shared.places.topology.config(), node = %node.address, %error, "a Redis server is not heard; trying on");
        }
        failures = if began.elapsed() >= SHORT_LIFE { 0 } else { failures.saturating_add(1) };
        let until = Instant::now() + if failures == 0 { Duration::ZERO } else { pause(&error, failures) };
        loop {
            tokio::select! {
                () = sleep_until(until) => break,
                // Another node may have taken its place.
                () = changed.notified() => if shared.wanted.lock().is_idle(&node.address) { return },
            }
        }
    }
}

/// A connection, as Redis knows it: `CLIENT KILL ID id ADDR address` closes it.
struct Known {
    id: String,
    address: String,
}

/// The connection.
struct Ear<'a> {
    shared: &'a Shared,
    node: &'a Node,
    input: ReadHalf<Box<dyn Stream>>,
    output: WriteHalf<Box<dyn Stream>>,
    reader: Reader,
    /// Commands that are not answered yet, in order.
    sent: VecDeque<Sent>,
}

enum Sent {
    Change(Change),
    /// What tells, when it is answered, whether the connection is deaf.
    Ping(Option<Before>),
    /// Whether it is still the primary.
    Role,
}

impl<'a> Ear<'a> {
    async fn connect(
        shared: &'a Shared,
        node: &'a Node,
        predecessor: &mut Option<Known>,
    ) -> Result<Ear<'a>, RedisError> {
        let config = shared.places.topology.config();
        // Credentials and certificates may be others than those of the last connection.
        let server = config.prepare(&node.info, Whom::Server).await?;
        let opened = attempts::first(|| open(server.addr(), config));
        let opened = timeout(config.timeouts.connect, opened).await.map_err(|_| RedisError::Timeout)??;
        let (input, output) = tokio::io::split(opened);
        let (reader, sent) = (Reader::default(), VecDeque::new());
        let mut ear = Self { shared, node, input, output, reader, sent };
        let hello = timeout(config.timeouts.connect, ear.hello(&server, predecessor)).await;
        hello.map_err(|_| RedisError::Timeout)?.map_err(|error| config.explained(error, Whom::Server))?;
        Ok(ear)
    }

    /// Time that an answer may take.
    fn command(&self) -> Duration {
        self.shared.places.topology.config().timeouts.command
    }

    async fn hello(&mut self, server: &ConnectionInfo, predecessor: &mut Option<Known>) -> Result<(), RedisError> {
        let settings = server.redis_settings();
        let user = settings.username().unwrap_or("default");
        let mut words = vec!["HELLO", "3"];
        if let Some(password) = settings.password() {
            words.extend(["AUTH", user, password]);
        }
        self.ask(&words).await?;
        let name = self.shared.places.topology.owner.connection_name("hears");
        // Where it is not allowed it has none, and its predecessor goes when Redis finds out.
        self.ask(&["CLIENT", "SETNAME", &name]).await.or_else(told)?;
        // A predecessor that Redis still believes in would be counted as another server by Node.
        if let Some(old) = predecessor.take() {
            self.ask(&["CLIENT", "KILL", "ID", &old.id, "ADDR", &old.address]).await.or_else(told)?;
        }
        let info = self.ask(&["CLIENT", "INFO"]).await.or_else(told)?;
        *predecessor = match info.first() {
            Some(Item::Text(text)) => Known::read(&String::from_utf8_lossy(text)),
            _ => None,
        };
        if self.shared.places.is_sentinel() {
            let role = self.ask(&["ROLE"]).await?;
            is_primary(&role)?;
        }
        Ok(())
    }

    /// The answer to one command, when nothing is subscribed.
    async fn ask(&mut self, words: &[&str]) -> Result<Vec<Item>, RedisError> {
        let (mut bytes, words) = (Vec::new(), words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>());
        command(&mut bytes, &words);
        self.output.write_all(&bytes).await.map_err(|error| unreachable(&error))?;
        loop {
            match self.reader.next().map_err(|error| RedisError::Other(error.to_string()))? {
                Some(Reply::Answer(items)) => match items.first() {
                    Some(Item::Error(error)) => return Err(refusal(error)),
                    _ => return Ok(items),
                },
                Some(Reply::Push(_)) => {}
                None => self.read().await?,
            }
        }
    }

    /// Reads what has come. Cancel safe.
    async fn read(&mut self) -> Result<(), RedisError> {
        self.reader.buffer.reserve(READ_BYTES.saturating_sub(self.reader.buffer.len()).max(1));
        match self.input.read_buf(&mut self.reader.buffer).await {
            Ok(0) => Err(RedisError::Unreachable("the connection was closed".to_owned())),
            Ok(_) => Ok(()),
            Err(error) => Err(unreachable(&error)),
        }
    }

    /// Changes subscriptions and hears, until the connection ends. `Ok`: nothing is to be heard here any more.
    async fn attend(&mut self, changed: &Notify) -> Result<(), RedisError> {
        let mut ping = interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        let mut came = Instant::now();
        loop {
            if self.step().await? {
                return Ok(());
            }
            let retry = self.shared.wanted.lock().next_retry(&self.node.address).filter(|_| self.sent.is_empty());
            tokio::select! {
                read = self.read() => {
                    read?;
                    came = Instant::now();
                    self.handle()?;
                }
                () = changed.notified() => {}
                () = sleep_until(retry.unwrap_or(came)), if retry.is_some() => {}
                _ = ping.tick() => {
                    // What waits for an answer hears other things meanwhile, and those are signs of life too.
                    if !self.sent.is_empty() && came.elapsed() >= self.command() {
                        return Err(RedisError::Timeout);
                    }
                    if !self.sent.iter().any(|sent| matches!(sent, Sent::Ping(_))) {
                        self.ping().await?;
                    }
                }
            }
        }
    }

    async fn ping(&mut self) -> Result<(), RedisError> {
        let mut bytes = Vec::new();
        command(&mut bytes, &[b"PING"]);
        self.sent.push_back(Sent::Ping(self.shared.before_ping(&self.node.address)));
        // A primary of a Cluster that was relieved keeps what is subscribed on it, from Redis 8 on, and goes on to be counted.
        if self.shared.places.is_sentinel() || self.shared.places.is_cluster() {
            command(&mut bytes, &[b"ROLE"]);
            self.sent.push_back(Sent::Role);
        }
        self.write(&bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), RedisError> {
        let written = timeout(self.command(), self.output.write_all(bytes)).await;
        written.map_err(|_| RedisError::Timeout)?.map_err(|error| unreachable(&error))
    }

    /// Sends the next changes, if the last are answered. Whether nothing is to be heard here any more.
    async fn step(&mut self) -> Result<bool, RedisError> {
        let changes = {
            let mut wanted = self.shared.wanted.lock();
            if self.sent.iter().any(|sent| matches!(sent, Sent::Change(_))) {
                return Ok(false);
            }
            let changes = wanted.step(&self.node.address, Instant::now());
            if changes.is_empty() && wanted.is_idle(&self.node.address) {
                return Ok(true);
            }
            changes
        };
        self.shared.tell();
        if changes.is_empty() {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        for change in changes {
            // Each in a command of its own: channels of one command must be of one slot, and are refused together.
            let word: &[u8] = if change.begin { b"SSUBSCRIBE" } else { b"SUNSUBSCRIBE" };
            command(&mut bytes, &[word, change.channel.as_bytes()]);
            self.sent.push_back(Sent::Change(change));
        }
        self.write(&bytes).await?;
        Ok(false)
    }

    /// Handles all that has come whole. What comes together for one listener is handed on together.
    fn handle(&mut self) -> Result<(), RedisError> {
        let mut run = Run::default();
        let mut forbidden = Vec::new();
        let handled = loop {
            let reply = match self.reader.next() {
                Ok(Some(reply)) => reply,
                Ok(None) => break Ok(()),
                Err(error) => break Err(RedisError::Other(error.to_string())),
            };
            let handled = match reply {
                Reply::Push(items) => self.push(items, &mut run),
                Reply::Answer(items) => {
                    // What came before is heard before.
                    run.hand_on();
                    self.answer(&items, &mut forbidden)
                }
            };
            if handled.is_err() {
                break handled;
            }
        };
        run.hand_on();
        self.shared.tell();
        self.shared.denied(forbidden);
        if self.reader.buffer.is_empty() && self.reader.buffer.capacity() > MAX_IDLE_BYTES {
            self.reader.buffer = BytesMut::new();
        }
        handled
    }

    fn push(&mut self, items: Vec<Item>, run: &mut Run) -> Result<(), RedisError> {
        let mut items = items.into_iter();
        let (Some(Item::Text(kind)), Some(Item::Text(channel))) = (items.next(), items.next()) else { return Ok(()) };
        let begin = match &*kind {
            b"smessage" => {
                let payload = match items.next() {
                    Some(Item::Text(payload)) => payload,
                    // It is too large; its listener counts it as malformed.
                    _ => Vec::new(),
                };
                let Ok(name) = std::str::from_utf8(&channel) else { return Ok(()) };
                for listener in self.shared.wanted.lock().listeners(name) {
                    run.add(listener, Heard { by_pattern: false, channel: channel.clone(), payload: payload.clone() });
                }
                return Ok(());
            }
            b"ssubscribe" => true,
            b"sunsubscribe" => false,
            _ => return Ok(()),
        };
        // What came before is heard before it is told.
        run.hand_on();
        let is_it = |sent: &Sent| matches!(sent, Sent::Change(change) if change.begin == begin && change.channel.as_bytes() == channel);
        if self.sent.front().is_some_and(is_it) {
            if let Some(Sent::Change(change)) = self.sent.pop_front() {
                let healed = self.shared.wanted.lock().taken(&self.node.address, change);
                if healed > 0 {
                    tracing::info!(node = %self.node.address, healed, "subscriptions that Redis forbade are heard now");
                }
            }
        } else if begin {
            return Err(RedisError::Other("a subscription was confirmed that is not the next".to_owned()));
        } else if let Ok(name) = std::str::from_utf8(&channel) {
            // Nobody asked for it: the channel's slot moves to another node.
            self.shared.wanted.lock().dropped(&self.node.address, name);
            self.shared.places.suspect();
        }
        self.shared.tell();
        Ok(())
    }

    fn answer(&mut self, items: &[Item], forbidden: &mut Vec<Forbidden>) -> Result<(), RedisError> {
        let error = match items.first() {
            Some(Item::Error(error)) => Some(error),
            _ => None,
        };
        match (self.sent.pop_front(), error) {
            (Some(Sent::Change(change)), Some(text)) => {
                let error = refusal(text);
                // What is an error of another kind (a Redis before 7 has no sharded channels) does not go by itself either.
                let lasting = matches!(error, RedisError::Permission(_) | RedisError::Other(_));
                let denied = lasting.then(|| error.to_string());
                let mut wanted = self.shared.wanted.lock();
                let newly = wanted.refused(&self.node.address, &change, denied.as_deref(), Instant::now());
                drop(wanted);
                if denied.is_some() && change.begin {
                    let name = || Name { is_pattern: false, is_counted: true, text: change.channel.clone() };
                    if newly.is_empty() {
                        forbidden.push(Forbidden { name: name(), error: error.clone(), newly: None });
                    }
                    forbidden.extend(newly.into_iter().map(|listener| Forbidden {
                        name: name(),
                        error: error.clone(),
                        newly: Some(listener),
                    }));
                } else if let Some((slot, host, port)) = moved(text) {
                    self.shared.places.moved(self.node, slot, host, port);
                } else {
                    self.shared.places.suspect();
                }
                Ok(())
            }
            // It may be forbidden, and Redis that loads its data says so.
            (Some(Sent::Ping(before)), _) => self.shared.must_hear(before),
            (Some(Sent::Role), None) => is_primary(items),
            (Some(Sent::Role), Some(_)) if self.shared.places.is_cluster() => Ok(()),
            (Some(Sent::Role), Some(text)) => Err(refusal(text)),
            _ => Err(RedisError::Other("an answer came that nobody waits for".to_owned())),
        }
    }
}

/// Messages in a row for one listener.
#[derive(Default)]
struct Run(Option<(Arc<dyn Listener>, Vec<Heard>)>);

impl Run {
    fn add(&mut self, listener: Arc<dyn Listener>, heard: Heard) {
        match &mut self.0 {
            Some((before, run)) if Arc::ptr_eq(before, &listener) => run.push(heard),
            _ => {
                self.hand_on();
                self.0 = Some((listener, vec![heard]));
            }
        }
    }

    fn hand_on(&mut self) {
        if let Some((listener, heard)) = self.0.take() {
            listener.heard(heard);
        }
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

/// A refusal of what is not needed is no reason to stop.
fn told(error: RedisError) -> Result<Vec<Item>, RedisError> {
    if error.is_answer() { Ok(Vec::new()) } else { Err(error) }
}

fn is_primary(role: &[Item]) -> Result<(), RedisError> {
    match role.first() {
        Some(Item::Text(role)) if role == b"master" => Ok(()),
        _ => Err(RedisError::NotPrimary),
    }
}

/// What Redis says in an error, sorted as the library sorts it.
fn refusal(text: &str) -> RedisError {
    let code = text.split(' ').next().unwrap_or_default();
    let text = text.to_owned();
    match code {
        "LOADING" => RedisError::Loading,
        "READONLY" | "MASTERDOWN" => RedisError::NotPrimary,
        "NOAUTH" | "WRONGPASS" => RedisError::Auth(text),
        "NOPERM" => RedisError::Permission(text),
        "CLUSTERDOWN" | "MOVED" | "ASK" | "TRYAGAIN" => RedisError::ClusterDown(text),
        _ => RedisError::Other(text),
    }
}

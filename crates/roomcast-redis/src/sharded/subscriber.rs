//! [`Subscriber`]: the connection that subscribes the channels of one node.
//!
//! It does not use the `redis` crate (docs/decisions/0021): that takes an unrequested `sunsubscribe`, which says that a
//! slot has moved, for the answer to another command, and does not resubscribe on a Cluster when a node dies.

use super::node::Node;
use super::node_subscriptions::Change;
use super::resp::{Item, Reader, Reply, command};
use super::shared::Shared;
use super::slots::moved;
use super::stream::{Stream, open, unreachable};
use crate::attempts;
use crate::config::ServerKind;
use crate::delivery::denied::Forbidden;
use crate::delivery::run::Run;
use crate::delivery::{Delivery, Listener, Mark};
use crate::error::RedisError;
use crate::topology::client_entry::ClientEntry;
use bytes::BytesMut;
use redis::ConnectionInfo;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

/// How often the connection is pinged. The answer may take as long as any other.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// Bytes that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// A larger buffer, as a large message leaves it behind, is freed when it is empty.
const MAX_IDLE_BYTES: usize = 1024 * 1024;

pub(super) struct Subscriber<'a> {
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
    /// With the mark that shows, when it is answered, whether the connection is deaf.
    Ping(Option<Mark>),
    /// Asks whether the node is still a primary.
    Role,
}

impl<'a> Subscriber<'a> {
    /// `predecessor`: the connection before this one, which Redis may still hold open; afterwards this one.
    pub(super) async fn connect(
        shared: &'a Shared,
        node: &'a Node,
        predecessor: &mut Option<ClientEntry>,
    ) -> Result<Subscriber<'a>, RedisError> {
        let config = shared.slots.topology.config();
        // Credentials and certificates may have changed since the last connection.
        let server = config.prepare(&node.info, ServerKind::Data).await?;
        let opened = attempts::first(|| open(server.addr(), config));
        let opened = timeout(config.timeouts.connect, opened).await.map_err(|_| RedisError::Timeout)??;
        let (input, output) = tokio::io::split(opened);
        let (reader, sent) = (Reader::default(), VecDeque::new());
        let mut subscriber = Self { shared, node, input, output, reader, sent };
        let hello = timeout(config.timeouts.connect, subscriber.hello(&server, predecessor)).await;
        hello.map_err(|_| RedisError::Timeout)?.map_err(|error| config.explain(error, ServerKind::Data))?;
        Ok(subscriber)
    }

    fn patience(&self) -> Duration {
        self.shared.slots.topology.config().timeouts.command
    }

    async fn hello(
        &mut self,
        server: &ConnectionInfo,
        predecessor: &mut Option<ClientEntry>,
    ) -> Result<(), RedisError> {
        let settings = server.redis_settings();
        let user = settings.username().unwrap_or("default");
        let mut words = vec!["HELLO", "3"];
        if let Some(password) = settings.password() {
            words.extend(["AUTH", user, password]);
        }
        self.ask(&words).await?;
        let name = self.shared.slots.topology.names.of("hears");
        // Without the right to CLIENT, the connection has no name, and Redis itself must find out that its predecessor
        // has ended.
        self.ask(&["CLIENT", "SETNAME", &name]).await.or_else(allow_refusal)?;
        // As long as Redis holds a predecessor open, Node counts it as another server.
        if let Some(old) = predecessor.take() {
            self.ask(&old.kill_command()).await.or_else(allow_refusal)?;
        }
        let info = self.ask(&["CLIENT", "INFO"]).await.or_else(allow_refusal)?;
        *predecessor = match info.first() {
            Some(Item::Text(text)) => ClientEntry::read(server, &String::from_utf8_lossy(text)),
            _ => None,
        };
        // A node of a Cluster refuses the channels that another has.
        if !self.shared.slots.is_cluster() {
            let role = self.ask(&["ROLE"]).await;
            let role = if self.shared.slots.is_sentinel() { role? } else { role.or_else(allow_refusal)? };
            self.check_role(&role)?;
        }
        Ok(())
    }

    /// Sends one command and returns its answer, while nothing is subscribed.
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

    /// Reads what has arrived. Cancel safe.
    async fn read(&mut self) -> Result<(), RedisError> {
        self.reader.buffer.reserve(READ_BYTES.saturating_sub(self.reader.buffer.len()).max(1));
        match self.input.read_buf(&mut self.reader.buffer).await {
            Ok(0) => Err(RedisError::Unreachable("the connection was closed".to_owned())),
            Ok(_) => Ok(()),
            Err(error) => Err(unreachable(&error)),
        }
    }

    /// Changes subscriptions and passes on messages, until the connection ends. `Ok` when nothing is to be subscribed
    /// here any more.
    pub(super) async fn serve(&mut self, changed: &Notify) -> Result<(), RedisError> {
        let mut ping = interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        let mut last_read = Instant::now();
        loop {
            if self.step().await? {
                return Ok(());
            }
            let retry =
                self.shared.subscriptions.lock().next_retry(&self.node.address).filter(|_| self.sent.is_empty());
            tokio::select! {
                read = self.read() => {
                    read?;
                    last_read = Instant::now();
                    self.handle()?;
                }
                () = changed.notified() => {}
                () = sleep_until(retry.unwrap_or(last_read)), if retry.is_some() => {}
                _ = ping.tick() => {
                    // Messages that arrive before an answer also show that the connection lives.
                    if !self.sent.is_empty() && last_read.elapsed() >= self.patience() {
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
        self.sent.push_back(Sent::Ping(self.shared.mark(&self.node.address)));
        // From Redis 8 on, a node of a Cluster that has become a replica keeps its sharded subscriptions, and they
        // still count. Any other replica takes everything, and passes it on to nobody else.
        command(&mut bytes, &[b"ROLE"]);
        self.sent.push_back(Sent::Role);
        self.write(&bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), RedisError> {
        let written = timeout(self.patience(), self.output.write_all(bytes)).await;
        written.map_err(|_| RedisError::Timeout)?.map_err(|error| unreachable(&error))
    }

    /// Sends the next changes, if the last ones are answered. Returns whether nothing is to be subscribed here any
    /// more.
    async fn step(&mut self) -> Result<bool, RedisError> {
        let changes = {
            let mut subscriptions = self.shared.subscriptions.lock();
            if self.sent.iter().any(|sent| matches!(sent, Sent::Change(_))) {
                return Ok(false);
            }
            let changes = subscriptions.step(&self.node.address, Instant::now());
            if changes.is_empty() && subscriptions.is_idle(&self.node.address) {
                return Ok(true);
            }
            changes
        };
        self.shared.notify_listeners();
        if changes.is_empty() {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        for change in changes {
            // Each channel has its own command: the channels of one command must be in one slot, and are refused
            // together.
            let word: &[u8] = if change.subscribe { b"SSUBSCRIBE" } else { b"SUNSUBSCRIBE" };
            command(&mut bytes, &[word, change.channel.as_bytes()]);
            self.sent.push_back(Sent::Change(change));
        }
        self.write(&bytes).await?;
        Ok(false)
    }

    /// Handles every reply that is complete. Consecutive messages for one listener are passed on together.
    fn handle(&mut self) -> Result<(), RedisError> {
        let mut run = Run::<dyn Listener>::default();
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
                    // Messages before the answer are passed on first.
                    run.flush();
                    self.answer(&items, &mut forbidden)
                }
            };
            if handled.is_err() {
                break handled;
            }
        };
        run.flush();
        self.shared.notify_listeners();
        self.shared.report_denied(forbidden);
        if self.reader.buffer.is_empty() && self.reader.buffer.capacity() > MAX_IDLE_BYTES {
            self.reader.buffer = BytesMut::new();
        }
        handled
    }

    fn push(&mut self, items: Vec<Item>, run: &mut Run<dyn Listener>) -> Result<(), RedisError> {
        let mut items = items.into_iter();
        let (Some(Item::Text(kind)), Some(Item::Text(channel))) = (items.next(), items.next()) else { return Ok(()) };
        let subscribed = match &*kind {
            b"smessage" => {
                let payload = match items.next() {
                    Some(Item::Text(payload)) => payload,
                    // It is too large. Its listener counts the empty payload as malformed.
                    _ => Vec::new(),
                };
                let Ok(name) = std::str::from_utf8(&channel) else { return Ok(()) };
                for listener in self.shared.subscriptions.lock().listeners(name) {
                    run.add(
                        listener,
                        Delivery { by_pattern: false, channel: channel.clone(), payload: payload.clone() },
                    );
                }
                return Ok(());
            }
            b"ssubscribe" => true,
            b"sunsubscribe" => false,
            _ => return Ok(()),
        };
        // Messages before the confirmation are passed on before it is announced.
        run.flush();
        let is_it = |sent: &Sent| matches!(sent, Sent::Change(change) if change.subscribe == subscribed && change.channel.as_bytes() == channel);
        if self.sent.front().is_some_and(is_it) {
            if let Some(Sent::Change(change)) = self.sent.pop_front() {
                let healed = self.shared.subscriptions.lock().confirm(&self.node.address, change);
                if healed > 0 {
                    tracing::info!(node = %self.node.address, healed, "Redis now allows subscriptions that it forbade before");
                }
            }
        } else if subscribed {
            return Err(RedisError::Other("it confirmed another subscription than the next one".to_owned()));
        } else if let Ok(name) = std::str::from_utf8(&channel) {
            // Not requested: the channel's slot is moving to another node.
            self.shared.subscriptions.lock().dropped(&self.node.address, name);
            self.shared.slots.suspect();
        }
        self.shared.report_size();
        self.shared.notify_listeners();
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
                // Other errors than a missing right do not go away by themselves either: a Redis before 7 has no
                // sharded channels.
                let lasting = matches!(error, RedisError::Permission(_) | RedisError::Other(_));
                let denied = lasting.then(|| error.to_string());
                let mut subscriptions = self.shared.subscriptions.lock();
                let newly = subscriptions.refuse(&self.node.address, &change, denied.as_deref(), Instant::now());
                drop(subscriptions);
                if denied.is_some() && change.subscribe {
                    let refused = |newly| Forbidden { name: change.channel.clone(), error: error.clone(), newly };
                    if newly.is_empty() {
                        forbidden.push(refused(None));
                    }
                    forbidden.extend(newly.into_iter().map(|listener| refused(Some(listener))));
                } else if let Some((slot, host, port)) = moved(text) {
                    self.shared.slots.moved(self.node, slot, host, port);
                } else {
                    self.shared.slots.suspect();
                }
                Ok(())
            }
            // The answer may be an error: PING may be forbidden, or Redis may be loading its data.
            (Some(Sent::Ping(before)), _) => self.shared.check_echo(before),
            (Some(Sent::Role), None) => self.check_role(items),
            (Some(Sent::Role), Some(text)) if self.shared.slots.is_sentinel() => Err(refusal(text)),
            (Some(Sent::Role), Some(_)) => Ok(()),
            _ => Err(RedisError::Other("it sent an answer that belongs to no command".to_owned())),
        }
    }

    /// Refuses a server that is no primary, by its answer to ROLE. The one server of a URL that does not tell its role is
    /// taken for a primary.
    fn check_role(&self, role: &[Item]) -> Result<(), RedisError> {
        let is_named = self.shared.slots.is_sentinel() || self.shared.slots.is_cluster();
        match role.first() {
            Some(Item::Text(role)) if role == b"master" => Ok(()),
            Some(Item::Text(role)) if role == b"slave" => Err(RedisError::NotPrimary),
            _ if is_named => Err(RedisError::NotPrimary),
            _ => Ok(()),
        }
    }
}

/// A refusal of a command that is not essential is no reason to stop.
fn allow_refusal(error: RedisError) -> Result<Vec<Item>, RedisError> {
    if error.is_answer() { Ok(Vec::new()) } else { Err(error) }
}

/// The error for an error reply.
fn refusal(text: &str) -> RedisError {
    let code = text.split(' ').next().unwrap_or_default();
    RedisError::of_code(code, text).unwrap_or_else(|| RedisError::Other(text.to_owned()))
}

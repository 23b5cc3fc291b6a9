//! [`Stage`]: what the check of a rule works with: the servers, and sockets in parts.

use crate::Answer;
use crate::Room;
use crate::Target;
use crate::testkit::recipient::{FakeRecipient, ReceivedEvent};
use crate::testkit::servers::{Server, Servers};
use crate::{Action, Adapter, Emit};
use roomcast_protocol::{Args, SocketId};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a condition is polled for before the rule counts as broken. It may take 5 s until its peers give up a
/// server, and on a busy machine everything may take many times as long.
pub const CONDITION_TIMEOUT: Duration = Duration::from_secs(60);

/// Time between two polls: short at first, as most conditions hold soon, then doubling.
const FIRST_STEP: Duration = Duration::from_millis(1);
const LONG_STEP: Duration = Duration::from_millis(64);

/// A condition that has not held for long is polled less often: again after this fraction of the time waited so far.
const PARTS: u32 = 16;

/// A timeout that nothing here reaches, for what must end without waiting for its timeout.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

/// A timeout that is waited for. A network must have time to bring the answers that do come.
pub(crate) const SHORT: Duration = Duration::from_secs(2);

/// Prefix of events that are not part of a check.
const OWN: &str = "testkit:";
const PROBE: &str = "testkit:probe";
const FENCE: &str = "testkit:fence";

/// The result of a check. The error is what was seen instead of what the rule says.
pub(crate) type Outcome = Result<(), String>;

/// Ends a check if a condition does not hold.
macro_rules! must {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(format!($($message)*));
        }
    };
}
pub(crate) use must;

/// Polls `condition` until it holds, for [`CONDITION_TIMEOUT`] of tokio's time. Returns whether it held.
pub async fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    eventually_async(async || condition()).await
}

/// [`eventually`] for an asynchronous condition.
pub(crate) async fn eventually_async(mut condition: impl AsyncFnMut() -> bool) -> bool {
    let (since, mut step) = (Instant::now(), FIRST_STEP);
    loop {
        if condition().await {
            return true;
        }
        let waited = since.elapsed();
        if waited >= CONDITION_TIMEOUT {
            return false;
        }
        tokio::time::sleep(step).await;
        step = LONG_STEP.min(step * 2).max(waited / PARTS);
    }
}

/// The servers and their sockets.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) servers: Vec<Server>,
    parts: Vec<Part>,
    /// What was emitted since the last fence: by which server, and to which rooms.
    emitted: Vec<(usize, Vec<Room>)>,
    fence: u64,
}

/// One part, played by one socket on each server.
#[derive(Debug, Clone)]
pub(crate) struct Part(pub(crate) Vec<Actor>);

/// A socket.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) id: SocketId,
    pub(crate) server: usize,
    pub(crate) adapter: Arc<dyn Adapter>,
    pub(crate) recipient: Arc<FakeRecipient>,
}

impl Stage {
    /// Waits until every server counts all the others.
    pub(crate) async fn open(cluster: Servers) -> Result<Self, String> {
        let servers = cluster.servers;
        must!(!servers.is_empty(), "the cluster has no server");
        for (number, server) in servers.iter().enumerate() {
            let mut count = Answer::complete(0);
            let found = eventually_async(async || {
                count = server.adapter.server_count().await;
                count.is_complete() && count.value == servers.len()
            });
            must!(found.await, "server {number} of {} counts {count:?}: they do not find each other", servers.len());
        }
        Ok(Self { servers, parts: Vec::new(), emitted: Vec::new(), fence: 0 })
    }

    pub(crate) async fn close(self) -> Outcome {
        for server in &self.servers {
            within_timeout("close", server.adapter.close()).await?;
        }
        Ok(())
    }

    /// The adapter through which most checks emit.
    pub(crate) fn first(&self) -> Arc<dyn Adapter> {
        self.servers[0].adapter.clone()
    }

    /// Adds one new socket to each server, and waits until the other servers reach it.
    pub(crate) async fn part(&mut self) -> Result<Part, String> {
        let mut actors = Vec::new();
        for (number, server) in self.servers.iter().enumerate() {
            let id = SocketId::random().map_err(|error| error.to_string())?;
            let recipient = FakeRecipient::new();
            server
                .adapter
                .insert(id, recipient.clone(), &[], None)
                .map_err(|error| format!("insert was refused: {error}"))?;
            actors.push(Actor { id, server: number, adapter: server.adapter.clone(), recipient });
        }
        for actor in &actors {
            for (number, server) in self.servers.iter().enumerate().filter(|(number, _)| *number != actor.server) {
                let probe = data(PROBE, &number)?;
                let reached = eventually(|| {
                    let sent = server.adapter.apply(&Target::room(actor.id), Action::emit(&probe));
                    sent.is_ok() && actor.heard(PROBE, number as u64)
                });
                must!(reached.await, "server {number} never reached a new socket of server {}", actor.server);
            }
        }
        let part = Part(actors);
        self.parts.push(part.clone());
        Ok(part)
    }

    /// Gives each socket of a part a new recipient.
    pub(crate) fn replace(&mut self, part: &Part) -> Part {
        let replaced = |actor: &Actor| {
            let recipient = FakeRecipient::new();
            actor.adapter.replace(actor.id, recipient.clone());
            Actor { recipient, ..actor.clone() }
        };
        let replaced = Part(part.0.iter().map(replaced).collect());
        for known in self.parts.iter_mut().flat_map(|part| &mut part.0) {
            if let Some(actor) = replaced.0.iter().find(|actor| actor.id == known.id) {
                known.recipient = actor.recipient.clone();
            }
        }
        replaced
    }

    /// Emits an event without arguments through the first server.
    pub(crate) fn emit(&mut self, name: &str, target: &Target) -> Outcome {
        self.emit_from(0, name, target)
    }

    pub(crate) fn emit_from(&mut self, server: usize, name: &str, target: &Target) -> Outcome {
        self.send(server, target, Emit { data: &data(name, &())?, volatile: false, compress: true })
    }

    pub(crate) fn send(&mut self, server: usize, target: &Target, emit: Emit<'_>) -> Outcome {
        self.emitted.push((server, target.rooms.clone()));
        self.servers[server].adapter.apply(target, Action::Emit(emit)).map_err(|e| format!("an emit was refused: {e}"))
    }

    /// Waits until everything that was emitted has arrived. Order holds for each server and channel, so events to the
    /// same rooms and to everybody arrive after it.
    pub(crate) async fn settle(&mut self) -> Outcome {
        let mut fences = std::mem::take(&mut self.emitted);
        fences.extend((0..self.servers.len()).map(|server| (server, Vec::new())));
        for (server, rooms) in fences {
            self.fence += 1;
            let target = Target { rooms, ..Target::default() };
            let fence = data(FENCE, &self.fence)?;
            let sent = self.servers[server].adapter.apply(&target, Action::emit(&fence));
            must!(sent.is_ok(), "an emit to {target:?} was refused");
            for actor in self.parts.iter().flat_map(|part| &part.0) {
                let rooms = actor.adapter.rooms_of(actor.id);
                if target.rooms.iter().any(|room| rooms.contains(room))
                    || (target.rooms.is_empty() && !rooms.is_empty())
                {
                    let came = eventually(|| actor.heard(FENCE, self.fence)).await;
                    must!(came, "{actor} is in {rooms:?} and got no event that server {server} emitted to {target:?}");
                }
            }
        }
        Ok(())
    }
}

impl Part {
    /// Joins rooms on every server, and awaits the confirmations.
    pub(crate) async fn join(&self, rooms: &[&str]) -> Outcome {
        let rooms: Vec<Room> = rooms.iter().map(|room| Room::from(*room)).collect();
        for actor in &self.0 {
            let joined =
                actor.adapter.join(actor.id, &rooms).map_err(|error| format!("a join was refused: {error}"))?;
            within_timeout("the confirmation of a join", joined).await?;
        }
        Ok(())
    }

    /// Makes every socket of the part answer.
    pub(crate) fn answer(&self, answer: &Args) {
        for actor in &self.0 {
            actor.recipient.answer(&actor.adapter, actor.id, answer.clone());
        }
    }

    /// Checks that every socket of the part got exactly these events, in this order.
    pub(crate) fn got(&self, expected: &[&str]) -> Outcome {
        self.0.iter().try_for_each(|actor| actor.is_told(expected))
    }
}

impl Actor {
    /// The events that are part of the check.
    pub(crate) fn events(&self) -> Vec<ReceivedEvent> {
        self.recipient.events().into_iter().filter(|event| !event.name.starts_with(OWN)).collect()
    }

    /// Checks that it got exactly these events, in this order.
    pub(crate) fn is_told(&self, expected: &[&str]) -> Outcome {
        let names: Vec<String> = self.events().into_iter().map(|event| event.name).collect();
        must!(names == expected, "{self} got the events {names:?}, not {expected:?}");
        Ok(())
    }

    /// The rooms that it joined, without its own, sorted.
    pub(crate) fn joined(&self) -> Vec<Room> {
        let mut rooms = self.adapter.rooms_of(self.id);
        rooms.retain(|room| **room != *self.id.as_str());
        rooms.sort();
        rooms
    }

    fn heard(&self, name: &str, number: u64) -> bool {
        self.recipient.events().iter().any(|event| event.name == name && event.args.parse().ok() == Some(number))
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "socket {} of server {}", self.id, self.server)
    }
}

/// The data of an event.
pub(crate) fn data<T: serde::Serialize>(name: &str, value: &T) -> Result<Args, String> {
    Args::event(name, value).map_err(|error| error.to_string())
}

/// Rooms with these names.
pub(crate) fn rooms(names: &[&str]) -> Vec<Room> {
    names.iter().map(|name| Room::from(*name)).collect()
}

/// A target with rooms of these names.
pub(crate) fn to(rooms_: &[&str], except: &[&str]) -> Target {
    Target { rooms: rooms(rooms_), except: rooms(except), local: false, one: false }
}

/// Awaits something that must end without waiting for [`LONG`].
pub(crate) async fn within_timeout<T>(what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    let timed = tokio::time::timeout(CONDITION_TIMEOUT, future).await;
    timed.map_err(|_| format!("{what} did not end within {} s", CONDITION_TIMEOUT.as_secs()))
}

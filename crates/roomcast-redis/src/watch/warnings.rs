//! [`Warnings`]: decides, from one report after the other, what the log is told. It knows neither Redis nor the log.

use super::figures::{RedisFigures, USUAL_BUFFER_LIMIT};
use super::options::RedisWatchOptions;
use super::report::{RedisReport, RedisServer, RedisWarning, RedisWarningKind as Kind, bytes, of};
use crate::limits::WATCH_MARGIN_PERCENT;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) about: RedisWarning,
    /// The cause is over.
    pub(super) over: bool,
    pub(super) text: String,
}

/// The warnings whose cause lasts. A warning is told when it begins, again from time to time, and when it is over. While
/// a server does not tell a figure, nothing is known of the cause, and it stays as it was.
#[derive(Debug)]
pub(super) struct Warnings {
    options: RedisWatchOptions,
    /// With the time when each was told last.
    lasting: BTreeMap<RedisWarning, Instant>,
    /// The addresses of primaries that had a replica.
    had_replicas: BTreeSet<String>,
}

impl Warnings {
    pub(super) fn new(options: RedisWatchOptions) -> Self {
        Self { options, lasting: BTreeMap::new(), had_replicas: BTreeSet::new() }
    }

    /// Takes a report, and returns what is to be told.
    pub(super) fn next(&mut self, report: &RedisReport, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        for server in &report.servers {
            let Ok(figures) = &server.figures else { continue };
            if figures.is_primary == Some(true) && figures.replicas.is_some_and(|replicas| replicas > 0) {
                self.had_replicas.insert(server.address.clone());
            }
            for kind in
                [Kind::NotPrimary, Kind::PrimaryAway, Kind::Memory, Kind::Clients, Kind::OutputBuffer, Kind::NoReplica]
            {
                let about = RedisWarning { address: server.address.clone(), kind };
                let told = self.lasting.get(&about).copied();
                match self.holds(server, figures, kind, told.is_some()) {
                    Some(true)
                        if told.is_none_or(|told| now.saturating_duration_since(told) >= self.options.repeat) =>
                    {
                        self.lasting.insert(about.clone(), now);
                        notices.push(Notice { about, over: false, text: advice(figures, kind) });
                    }
                    Some(false) if self.lasting.remove(&about).is_some() => {
                        notices.push(Notice { about, over: true, text: over(kind).to_owned() });
                    }
                    _ => {}
                }
            }
        }
        // Servers that are not used any more. If it is not known which are used, nothing is known of them.
        if !report.servers.is_empty() {
            let used = |address: &String| report.servers.iter().any(|server| server.address == *address);
            self.lasting.retain(|about, _| used(&about.address));
            self.had_replicas.retain(used);
        }
        notices
    }

    /// The warnings whose cause lasts.
    pub(super) fn lasting(&self) -> Vec<RedisWarning> {
        self.lasting.keys().cloned().collect()
    }

    /// Whether there is a cause. `None`: the server does not tell. `lasts`: there was one before, so it is over only
    /// when it is clearly over.
    fn holds(&self, server: &RedisServer, figures: &RedisFigures, kind: Kind, lasts: bool) -> Option<bool> {
        let percent = |part: u64, whole: u64, percent: u64| {
            let percent = if lasts { percent.saturating_sub(WATCH_MARGIN_PERCENT) } else { percent };
            u128::from(part) * 100 >= u128::from(whole) * u128::from(percent)
        };
        match kind {
            Kind::NotPrimary => Some(server.must_be_primary && !figures.is_primary?),
            Kind::PrimaryAway if figures.is_primary? => Some(false),
            Kind::PrimaryAway => Some(!figures.has_primary?),
            Kind::Memory => Some(percent(figures.memory_used?, figures.memory_limit()?.1, self.options.memory_percent)),
            // 0 is no number of clients that Redis can be limited to.
            Kind::Clients => Some(percent(
                figures.clients?,
                figures.clients_max.filter(|max| *max > 0)?,
                self.options.clients_percent,
            )),
            Kind::OutputBuffer => {
                let limit = figures.output_buffer_limit.unwrap_or(USUAL_BUFFER_LIMIT);
                let waits = figures.output_buffer?;
                let near = limit.hard > 0 && percent(waits, limit.hard, self.options.buffer_percent);
                let counts_down = limit.soft > 0 && percent(waits, limit.soft, 100);
                Some(near || counts_down)
            }
            Kind::NoReplica if !figures.is_primary? => Some(false),
            Kind::NoReplica => Some(figures.replicas? == 0 && self.had_replicas.contains(&server.address)),
        }
    }
}

/// What there is a warning about, and what to do.
fn advice(figures: &RedisFigures, kind: Kind) -> String {
    let unknown = || "an unknown amount".to_owned();
    match kind {
        Kind::NotPrimary => "this Redis server is a replica: what is published on it reaches no server that uses the primary. Name the \
                             primary in REDIS_URL, or use redis+sentinel:// or redis+cluster://, which find it"
            .to_owned(),
        Kind::PrimaryAway => "this Redis server is a replica that has lost its primary: messages of servers that use the primary do \
                              not arrive here. See the log of Redis"
            .to_owned(),
        Kind::Memory => {
            let (limited, most) = figures.memory_limit().unwrap_or_default();
            let used = figures.memory_used.map_or_else(unknown, |used| of(used, most));
            let policy = figures.policy.as_deref().unwrap_or("unknown");
            if !limited {
                return format!(
                    "Redis uses {used} of the machine's memory, and has no maxmemory: when the memory is used up, the system ends Redis. \
                     Set maxmemory below what the machine has, or move data to another Redis"
                );
            }
            let consequence = if policy == "noeviction" {
                "then refuses to store data for other applications"
            } else {
                "then removes data of other applications"
            };
            format!(
                "Redis uses {used} of its maxmemory. Beyond it (policy {policy}) Redis {consequence}; messages between servers still pass, \
                 as they are not stored, but those that wait for a slow server use this memory too. Raise maxmemory, or give the \
                 messages a Redis of their own"
            )
        }
        Kind::Clients => {
            let count = |count: Option<u64>| count.map_or_else(unknown, |count| count.to_string());
            format!(
                "{} of {} clients (maxclients) are connected to Redis: beyond it Redis refuses connections, and a server that has lost \
                 its own cannot come back. Raise maxclients, or see CLIENT LIST for who has so many",
                count(figures.clients),
                count(figures.clients_max)
            )
        }
        Kind::OutputBuffer => {
            let limit = figures.output_buffer_limit.unwrap_or(USUAL_BUFFER_LIMIT);
            let assumed = if figures.output_buffer_limit.is_none() { " (assumed, as CONFIG GET is not allowed)" } else { "" };
            format!(
                "{} wait in Redis for this server, which reads too slowly. Redis ends the connection at {} (hard), or at {} (soft) if that \
                 lasts{assumed}, and what waits is lost. Give this server more CPU or fewer clients, let rooms have channels of their own \
                 (exact_rooms, or the sharded dialect), or raise client-output-buffer-limit pubsub",
                figures.output_buffer.map_or_else(unknown, bytes),
                bytes(limit.hard),
                bytes(limit.soft)
            )
        }
        Kind::NoReplica => "no replica is connected to this Redis server any more: if it fails, none can take its place. See the log of the \
                            replicas"
            .to_owned(),
    }
}

fn over(kind: Kind) -> &'static str {
    match kind {
        Kind::NotPrimary => "this Redis server is a primary now",
        Kind::PrimaryAway => "this Redis server is not without its primary any more",
        Kind::Memory => "Redis has enough memory again",
        Kind::Clients => "Redis has enough room for clients again",
        Kind::OutputBuffer => "this server has read what waited for it in Redis",
        Kind::NoReplica => "a replica is connected again, or not needed any more",
    }
}

#[cfg(test)]
mod tests;

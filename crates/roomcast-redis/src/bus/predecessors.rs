//! [`Predecessors`]: earlier subscriber connections that have ended here, but that Redis may still hold open.
//!
//! Redis notices a connection that broke silently only after minutes, and until then counts it as a server. So the
//! server that has it is asked to close it, again and again until it answers. This state machine decides when;
//! `Subscriber` asks.

use crate::topology::client_entry::ClientEntry;
use std::time::Duration;
use tokio::time::Instant;

/// Most that are kept; beyond that the oldest is forgotten. Each is on a server that could not be reached since, so
/// they are few.
pub(crate) const MAX_PREDECESSORS: usize = 16;

/// How often a server that does not answer is asked again.
pub(crate) const RETRY: Duration = Duration::from_secs(3);

/// Age at which a predecessor is forgotten: with its default `tcp-keepalive` Redis itself finds a broken connection
/// within ten minutes.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(900);

#[derive(Debug, Default)]
pub(crate) struct Predecessors(Vec<Predecessor>);

#[derive(Debug)]
struct Predecessor {
    entry: ClientEntry,
    since: Instant,
    /// When its server is asked next.
    due: Instant,
}

impl Predecessors {
    /// A connection has ended here. Returns the oldest one if it is forgotten for it.
    pub(crate) fn add(&mut self, entry: ClientEntry, now: Instant) -> Option<ClientEntry> {
        let forgotten = (self.0.len() >= MAX_PREDECESSORS).then(|| self.0.remove(0).entry);
        self.0.push(Predecessor { entry, since: now, due: now });
        forgotten
    }

    /// Those on the server at this address.
    pub(crate) fn at(&self, server: &str) -> Vec<ClientEntry> {
        self.0.iter().filter(|it| it.entry.is_at(server)).map(|it| it.entry.clone()).collect()
    }

    /// Those whose server is to be asked now. They are due again after a pause, until the server has answered.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<ClientEntry> {
        self.0.retain(|it| now < it.since + MAX_AGE);
        let due = self.0.iter_mut().filter(|it| it.due <= now);
        due.map(|it| {
            it.due = now + RETRY;
            it.entry.clone()
        })
        .collect()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|it| it.due).min()
    }

    /// Its server has answered: the connection is closed, was closed before, or may not be closed by us.
    pub(crate) fn answered(&mut self, entry: &ClientEntry) {
        self.0.retain(|it| !it.entry.is(entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::{ConnectionInfo, IntoConnectionInfo};
    use std::collections::HashMap;

    fn server(number: u64) -> ConnectionInfo {
        format!("redis://h:{}", 1 + number).into_connection_info().unwrap()
    }

    fn entry(server_number: u64, id: usize) -> ClientEntry {
        ClientEntry { server: server(server_number), id: id.to_string(), address: format!("me:{id}") }
    }

    fn ids(all: &[ClientEntry]) -> Vec<usize> {
        all.iter().map(|entry| entry.id.parse().unwrap()).collect()
    }

    #[test]
    fn predecessors_at_the_limit_and_one_past_it() {
        let (mut all, now) = (Predecessors::default(), Instant::now());
        assert!((0..MAX_PREDECESSORS).all(|id| all.add(entry(1, id), now).is_none()));
        assert_eq!(all.add(entry(1, MAX_PREDECESSORS), now).map(|it| it.id), Some("0".to_owned()));
        assert_eq!(ids(&all.at("h:2")), (1..=MAX_PREDECESSORS).collect::<Vec<_>>());
    }

    #[test]
    fn a_predecessor_is_forgotten_at_its_age_and_not_before() {
        let (mut all, now) = (Predecessors::default(), Instant::now());
        all.add(entry(1, 1), now);
        assert_eq!(all.due(now + MAX_AGE - Duration::from_millis(1)).len(), 1);
        assert!(all.due(now + MAX_AGE).is_empty() && all.next().is_none());
    }

    /// Each is due at once, then every three seconds, until its server has answered, and never after.
    #[test]
    fn random_histories() {
        for seed in 1..=300u64 {
            let mut random = seed;
            let mut below = |bound: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % bound
            };
            let (mut all, mut now, begin) = (Predecessors::default(), Instant::now(), Instant::now());
            // The server of each, and when it was asked last. Those that are answered or forgotten are not in it.
            let mut model: HashMap<usize, (u64, Option<Instant>)> = HashMap::new();
            for id in 0..300 {
                match below(4) {
                    0 => {
                        let at = below(3);
                        model.insert(id, (at, None));
                        if let Some(forgotten) = all.add(entry(at, id), now) {
                            model.remove(&ids(&[forgotten])[0]);
                        }
                    }
                    1 => now += Duration::from_millis(below(2_000)),
                    _ => {
                        let mut expected: Vec<usize> = model
                            .iter()
                            .filter(|(_, (_, asked))| asked.is_none_or(|at| at + RETRY <= now))
                            .map(|(id, _)| *id)
                            .collect();
                        expected.sort_unstable();
                        let due = all.due(now);
                        assert_eq!(ids(&due), expected, "seed {seed}");
                        for entry in due {
                            let id = ids(std::slice::from_ref(&entry))[0];
                            if below(2) == 0 {
                                all.answered(&entry);
                                model.remove(&id);
                            } else {
                                model.entry(id).and_modify(|(_, asked)| *asked = Some(now));
                            }
                        }
                    }
                }
                let due = model.values().map(|(_, asked)| asked.map_or(begin, |at| at + RETRY)).min();
                assert_eq!(all.next().is_some(), due.is_some(), "seed {seed}");
                assert!(model.len() <= MAX_PREDECESSORS && all.0.len() == model.len(), "seed {seed}");
            }
        }
    }
}

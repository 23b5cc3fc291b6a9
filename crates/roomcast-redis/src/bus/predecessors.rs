//! [`Predecessors`]: connections that heard and ended here, and that Redis may still believe in.
//!
//! Redis finds a connection that broke in silence after minutes, and counts it as a server until then. So it is told to close it, at
//! the server that has it, again and again until it has answered. It decides; [`Subscriber`](super::subscriber::Subscriber) does.

use redis::ConnectionInfo;
use std::time::Duration;
use tokio::time::Instant;

/// Most that are kept; the oldest goes first. Each is on a server that could not be reached since, so they are few.
pub(crate) const MAX_PREDECESSORS: usize = 16;

/// How often a server that did not answer is asked again.
pub(crate) const RETRY: Duration = Duration::from_secs(3);

/// After this one is given up: with its default `tcp-keepalive` Redis itself finds a broken connection within ten minutes.
pub(crate) const GIVEN_UP: Duration = Duration::from_secs(900);

/// A connection as Redis knows it. Ids begin anew when Redis is started again, so an id alone could be anybody's.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// The server that has it.
    pub(crate) server: ConnectionInfo,
    pub(crate) id: String,
    /// Our end of it.
    pub(crate) address: String,
}

impl Known {
    /// Reads what CLIENT INFO tells: `id=5 addr=127.0.0.1:40012 laddr=…`.
    pub(crate) fn read(server: &ConnectionInfo, text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.split_ascii_whitespace()
                .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
                .map(str::to_owned)
        };
        Some(Self { server: server.clone(), id: field("id")?, address: field("addr")? })
    }

    fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.address == other.address && self.is_at(&other.server.addr().to_string())
    }

    fn is_at(&self, server: &str) -> bool {
        self.server.addr().to_string() == server
    }
}

#[derive(Debug, Default)]
pub(crate) struct Predecessors(Vec<Predecessor>);

#[derive(Debug)]
struct Predecessor {
    known: Known,
    since: Instant,
    /// When its server is to be asked.
    due: Instant,
}

impl Predecessors {
    /// A connection has ended here. Tells of one that is given up for it.
    pub(crate) fn add(&mut self, known: Known, now: Instant) -> Option<Known> {
        let given_up = (self.0.len() >= MAX_PREDECESSORS).then(|| self.0.remove(0).known);
        self.0.push(Predecessor { known, since: now, due: now });
        given_up
    }

    /// Those at a server.
    pub(crate) fn at(&self, server: &str) -> Vec<Known> {
        self.0.iter().filter(|it| it.known.is_at(server)).map(|it| it.known.clone()).collect()
    }

    /// Those whose server is to be asked now. Until it has answered they are due again after a pause.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Known> {
        self.0.retain(|it| now < it.since + GIVEN_UP);
        let due = self.0.iter_mut().filter(|it| it.due <= now);
        due.map(|it| {
            it.due = now + RETRY;
            it.known.clone()
        })
        .collect()
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.iter().map(|it| it.due).min()
    }

    /// Its server has answered: it is closed, was closed, or may not be closed by us.
    pub(crate) fn answered(&mut self, known: &Known) {
        self.0.retain(|it| !it.known.is(known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::IntoConnectionInfo;
    use std::collections::HashMap;

    fn server(number: u64) -> ConnectionInfo {
        format!("redis://h:{}", 1 + number).into_connection_info().unwrap()
    }

    fn known(server_number: u64, id: usize) -> Known {
        Known { server: server(server_number), id: id.to_string(), address: format!("me:{id}") }
    }

    fn ids(all: &[Known]) -> Vec<usize> {
        all.iter().map(|known| known.id.parse().unwrap()).collect()
    }

    #[test]
    fn a_connection_as_redis_knows_it() {
        let text = "id=5 addr=127.0.0.1:40012 laddr=127.0.0.1:6379 fd=8 name= age=0 user=default\n";
        let known = Known::read(&server(1), text).unwrap();
        assert_eq!((&*known.id, &*known.address), ("5", "127.0.0.1:40012"));
        assert!(Known::read(&server(1), "laddr=127.0.0.1:6379 id=5").is_none());
    }

    #[test]
    fn as_many_as_are_kept_and_one_more() {
        let (mut all, now) = (Predecessors::default(), Instant::now());
        assert!((0..MAX_PREDECESSORS).all(|id| all.add(known(1, id), now).is_none()));
        assert_eq!(all.add(known(1, MAX_PREDECESSORS), now).map(|it| it.id), Some("0".to_owned()));
        assert_eq!(ids(&all.at("h:2")), (1..=MAX_PREDECESSORS).collect::<Vec<_>>());
    }

    #[test]
    fn until_it_is_given_up() {
        let (mut all, now) = (Predecessors::default(), Instant::now());
        all.add(known(1, 1), now);
        assert_eq!(all.due(now + GIVEN_UP - Duration::from_millis(1)).len(), 1);
        assert!(all.due(now + GIVEN_UP).is_empty() && all.next().is_none());
    }

    /// Each is asked for at once, then every three seconds, until its server has answered, and never after.
    #[test]
    fn random_histories() {
        for seed in 1..=300u64 {
            let mut random = seed;
            let mut below = |bound: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % bound
            };
            let (mut all, mut now, begin) = (Predecessors::default(), Instant::now(), Instant::now());
            // When each was asked for last; those that are answered or pushed out are not in it.
            let mut model: HashMap<usize, (u64, Option<Instant>)> = HashMap::new();
            for id in 0..300 {
                match below(4) {
                    0 => {
                        let at = below(3);
                        model.insert(id, (at, None));
                        if let Some(given_up) = all.add(known(at, id), now) {
                            model.remove(&ids(&[given_up])[0]);
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
                        for known in due {
                            let id = ids(std::slice::from_ref(&known))[0];
                            if below(2) == 0 {
                                all.answered(&known);
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

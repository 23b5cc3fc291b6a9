//! The directory: which roomcast servers live, and what of theirs was heard, so that what was not heard is counted.

use super::message::ServerId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Most servers that are remembered. A looping publisher with ever new ids must not fill the memory.
pub(crate) const MAX_SERVERS: usize = 1_024;

/// Most channels that are followed per server.
pub(crate) const MAX_CHANNELS: usize = 16_384;

/// Silence after which a server is forgotten: ten missed announcements.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(10);

/// What is known of other roomcast servers.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    servers: HashMap<ServerId, Server, RandomState>,
    lost: u64,
    doubles: u64,
}

#[derive(Debug)]
struct Server {
    heard: Instant,
    /// Last number heard, by namespace and channel.
    last: HashMap<(Arc<str>, Arc<str>), u64, RandomState>,
}

impl Directory {
    /// A numbered message came. `false`: it came before.
    pub(crate) fn numbered(
        &mut self,
        sender: &ServerId,
        namespace: &Arc<str>,
        channel: &Arc<str>,
        number: u64,
        now: Instant,
    ) -> bool {
        let Some(server) = self.server(sender, now) else { return true };
        let Some(last) = server.channel(namespace, channel, number) else { return true };
        if number <= *last {
            self.doubles += 1;
            metrics::counter!("roomcast_cluster_doubles_total").increment(1);
            return false;
        }
        let missed = number - *last - 1;
        *last = number;
        self.count_lost(missed);
        true
    }

    /// A server told the number of its last message on a channel of a namespace that is open here.
    pub(crate) fn told(
        &mut self,
        sender: &ServerId,
        namespace: &Arc<str>,
        channel: &Arc<str>,
        number: u64,
        now: Instant,
    ) {
        let Some(server) = self.server(sender, now) else { return };
        // Seen for the first time it is where counting begins.
        let Some(last) = server.channel(namespace, channel, number + 1) else { return };
        if number > *last {
            let missed = number - *last;
            *last = number;
            self.count_lost(missed);
        }
    }

    /// A server lives.
    pub(crate) fn heard(&mut self, sender: &ServerId, now: Instant) {
        let _ = self.server(sender, now);
    }

    /// A server has left.
    pub(crate) fn left(&mut self, sender: &ServerId) {
        self.servers.remove(sender);
    }

    /// A namespace is not heard any more: what is missed of it from now on is no loss.
    pub(crate) fn forget_namespace(&mut self, namespace: &str) {
        for server in self.servers.values_mut() {
            server.last.retain(|(name, _), _| **name != *namespace);
        }
    }

    /// Forgets servers that were not heard for long.
    pub(crate) fn age(&mut self, now: Instant) {
        self.servers.retain(|_, server| now.duration_since(server.heard) < FORGOTTEN);
    }

    /// The roomcast servers that live.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &ServerId> {
        self.servers.keys()
    }

    /// Messages of other roomcast servers that never came, and those that came twice and were dropped.
    pub(crate) fn losses(&self) -> (u64, u64) {
        (self.lost, self.doubles)
    }

    fn count_lost(&mut self, missed: u64) {
        if missed > 0 {
            self.lost += missed;
            metrics::counter!("roomcast_cluster_lost_total").increment(missed);
        }
    }

    fn server(&mut self, id: &ServerId, now: Instant) -> Option<&mut Server> {
        if !self.servers.contains_key(id) {
            if self.servers.len() >= MAX_SERVERS {
                return None;
            }
            self.servers.insert(id.clone(), Server { heard: now, last: HashMap::default() });
        }
        let server = self.servers.get_mut(id)?;
        server.heard = now;
        Some(server)
    }
}

impl Server {
    /// The last number on a channel; on a new one counting begins before `number`.
    fn channel(&mut self, namespace: &Arc<str>, channel: &Arc<str>, number: u64) -> Option<&mut u64> {
        if self.last.len() >= MAX_CHANNELS && !self.last.contains_key(&(namespace.clone(), channel.clone())) {
            return None;
        }
        Some(self.last.entry((namespace.clone(), channel.clone())).or_insert(number.saturating_sub(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench(Directory, Arc<str>, Arc<str>, ServerId);

    impl Bench {
        fn new() -> Self {
            Self(Directory::default(), "/".into(), "c".into(), "a".into())
        }

        fn hear(&mut self, number: u64) -> bool {
            self.0.numbered(&self.3, &self.1, &self.2, number, Instant::now())
        }

        fn told(&mut self, number: u64) {
            self.0.told(&self.3, &self.1, &self.2, number, Instant::now());
        }
    }

    #[test]
    fn gaps_are_counted_and_doubles_dropped() {
        let mut bench = Bench::new();
        assert!(bench.hear(5) && bench.hear(6));
        assert_eq!(bench.0.losses(), (0, 0));
        assert!(bench.hear(9));
        assert_eq!(bench.0.losses(), (2, 0));
        assert!(!bench.hear(9) && !bench.hear(7));
        assert_eq!(bench.0.losses(), (2, 2));
        assert!(bench.hear(10));
    }

    #[test]
    fn a_lost_tail_is_counted_when_it_is_told() {
        let mut bench = Bench::new();
        bench.told(3);
        assert!(bench.hear(4));
        bench.told(4);
        assert_eq!(bench.0.losses(), (0, 0));
        bench.told(7);
        assert_eq!(bench.0.losses(), (3, 0));
        // What is told as lost and comes after all is dropped, so that the count stays true.
        assert!(!bench.hear(7));
        assert!(bench.hear(8));
        assert_eq!(bench.0.losses(), (3, 1));
    }

    #[test]
    fn servers_are_bounded_and_age() {
        let mut directory = Directory::default();
        let now = Instant::now();
        for number in 0..=MAX_SERVERS {
            directory.heard(&number.to_string().as_str().into(), now);
        }
        assert_eq!(directory.servers().count(), MAX_SERVERS);
        directory.heard(&"1".into(), now + FORGOTTEN / 2);
        directory.age(now + FORGOTTEN);
        assert_eq!(directory.servers().collect::<Vec<_>>(), [&ServerId::from("1")]);
        directory.left(&"1".into());
        assert_eq!(directory.servers().count(), 0);
    }
}

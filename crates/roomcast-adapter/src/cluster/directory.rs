//! The directory: which roomcast servers live, and what of theirs was heard, so that what was not heard is counted.
//!
//! Two sources tell of a loss: a gap between the numbers of two messages on one channel, and an announcement of a number
//! that was never heard. Announcements come on a channel of their own and may overtake, so what they tell is not held
//! against a channel before it has had [`SETTLE`] to catch up and the next announcement has come.

use super::message::ServerId;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Most servers that are remembered. A looping publisher with ever new ids must not fill the memory.
pub(crate) const MAX_SERVERS: usize = 1_024;

/// Most channels that are followed per server: sixteen times what a roomcast server numbers.
pub(crate) const MAX_CHANNELS: usize = 16_384;

/// Silence after which a server does not count as alive: ten missed announcements.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(10);

/// Silence after which its numbers are forgotten too. They outlive it, as it may only be cut off, and what it published
/// meanwhile is lost to us and must be counted.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(600);

/// How far an announcement may be ahead of the messages that it tells of.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// What is known of other roomcast servers.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    servers: HashMap<ServerId, Server, RandomState>,
    /// The namespaces that are open here, each with the time from which its messages come.
    open: HashMap<Arc<str>, Option<Instant>, RandomState>,
    lost: u64,
    doubles: u64,
}

#[derive(Debug)]
struct Server {
    heard: Instant,
    left: bool,
    channels: HashMap<(Arc<str>, Arc<str>), Channel, RandomState>,
    /// Open namespaces of which all is heard from its first number on: a channel that is new there begins at 1.
    followed: HashSet<Arc<str>, RandomState>,
}

/// One channel of one server.
#[derive(Debug)]
struct Channel {
    /// Last number heard, or counted as lost.
    last: u64,
    /// Nothing was heard yet, and `last` was only told: a smaller number may still be on its way.
    unheard: bool,
    /// A number that was told and not heard, and since when.
    told: Option<(u64, Instant)>,
}

impl Directory {
    /// A namespace is heard from now on.
    pub(crate) fn open_namespace(&mut self, namespace: &Arc<str>) {
        self.open.entry(namespace.clone()).or_insert(None);
    }

    /// Messages of an open namespace come.
    pub(crate) fn connected(&mut self, namespace: &str, now: Instant) {
        if let Some(since) = self.open.get_mut(namespace) {
            since.get_or_insert(now);
        }
    }

    /// A namespace is not heard any more: what is missed of it from now on is no loss.
    pub(crate) fn close_namespace(&mut self, namespace: &str) {
        self.open.remove(namespace);
        for server in self.servers.values_mut() {
            server.channels.retain(|(name, _), _| **name != *namespace);
            server.followed.remove(namespace);
        }
    }

    /// A numbered message came. `false`: it came before.
    pub(crate) fn numbered(
        &mut self,
        sender: &ServerId,
        namespace: &Arc<str>,
        channel: &Arc<str>,
        number: u64,
        now: Instant,
    ) -> bool {
        if !self.open.contains_key(namespace) {
            return true;
        }
        let Some(server) = server(&mut self.servers, sender, now) else { return true };
        let begin = if server.followed.contains(namespace) { 0 } else { number.saturating_sub(1) };
        let Some(channel) = server.channel(namespace, channel, begin) else { return true };
        if channel.unheard && number <= channel.last {
            channel.last = number.saturating_sub(1);
        }
        channel.unheard = false;
        if number <= channel.last {
            self.doubles += 1;
            metrics::counter!("roomcast_cluster_doubles_total").increment(1);
            return false;
        }
        let missed = number - channel.last - 1;
        channel.last = number;
        self.count_lost(missed);
        true
    }

    /// A server told that it lives, and the last numbers of its channels: those that are not among them are at 0.
    pub(crate) fn told(&mut self, sender: &ServerId, numbers: &[(Arc<str>, Arc<str>, u64)], now: Instant) {
        let mut missed = 0_u64;
        let Some(server) = server(&mut self.servers, sender, now) else { return };
        for (namespace, channel, number) in numbers.iter().filter(|(name, ..)| self.open.contains_key(name)) {
            let followed = server.followed.contains(namespace);
            let key = (namespace.clone(), channel.clone());
            let is_new = !server.channels.contains_key(&key);
            let Some(channel) = server.channel(namespace, channel, if followed { 0 } else { *number }) else {
                continue;
            };
            channel.unheard |= is_new && !followed;
            missed += channel.settle(now);
            if channel.told.is_none() && *number > channel.last {
                channel.told = Some((*number, now));
            }
        }
        // An announcement that was on its way before we heard the namespace would tell too little of it.
        for (namespace, since) in &self.open {
            if since.is_some_and(|since| now.duration_since(since) >= SETTLE) && !server.followed.contains(namespace) {
                server.followed.insert(namespace.clone());
            }
        }
        self.count_lost(missed);
    }

    /// A server has left. Its numbers stay a while, so that what comes late does not bring it back.
    pub(crate) fn left(&mut self, sender: &ServerId, now: Instant) {
        if let Some(server) = self.servers.get_mut(sender) {
            server.left = true;
            server.heard = now;
        }
    }

    /// Counts what silent servers told and was never heard, and forgets those that are silent for long.
    pub(crate) fn age(&mut self, now: Instant) {
        let mut missed = 0;
        for server in self.servers.values_mut() {
            let silent = now.duration_since(server.heard);
            if silent >= FORGOTTEN || (server.left && silent >= SETTLE) {
                missed += server.channels.values_mut().map(|channel| channel.settle(now)).sum::<u64>();
            }
        }
        self.servers
            .retain(|_, server| now.duration_since(server.heard) < if server.left { FORGOTTEN } else { REMEMBERED });
        self.count_lost(missed);
    }

    /// The roomcast servers that live.
    pub(crate) fn servers(&self, now: Instant) -> impl Iterator<Item = &ServerId> {
        self.servers.iter().filter(move |(_, server)| server.lives(now)).map(|(id, _)| id)
    }

    /// Those of them that have published in a namespace.
    pub(crate) fn servers_of(&self, namespace: &str, now: Instant) -> impl Iterator<Item = &ServerId> {
        let of = move |server: &Server| server.channels.keys().any(|(name, _)| **name == *namespace);
        self.servers.iter().filter(move |(_, server)| server.lives(now) && of(server)).map(|(id, _)| id)
    }

    /// Messages of other roomcast servers that never came, and those that came twice and were dropped.
    pub(crate) fn losses(&self) -> (u64, u64) {
        (self.lost, self.doubles)
    }

    fn count_lost(&mut self, missed: u64) {
        if missed > 0 {
            self.lost = self.lost.saturating_add(missed);
            metrics::counter!("roomcast_cluster_lost_total").increment(missed);
        }
    }
}

/// A server that was heard; a new one too, if there is room for it.
fn server<'a>(
    servers: &'a mut HashMap<ServerId, Server, RandomState>,
    id: &ServerId,
    now: Instant,
) -> Option<&'a mut Server> {
    if !servers.contains_key(id) {
        if servers.len() >= MAX_SERVERS {
            // Whoever is silent for longest makes room, if it does not live any more.
            let silent = servers.iter().filter(|(_, server)| !server.lives(now));
            let oldest = silent.min_by_key(|(_, server)| server.heard).map(|(id, _)| id.clone())?;
            servers.remove(&oldest);
        }
        let new = Server { heard: now, left: false, channels: HashMap::default(), followed: HashSet::default() };
        servers.insert(id.clone(), new);
    }
    let server = servers.get_mut(id)?;
    if !server.left {
        server.heard = now;
    }
    Some(server)
}

impl Server {
    fn lives(&self, now: Instant) -> bool {
        !self.left && now.duration_since(self.heard) < FORGOTTEN
    }

    /// A channel; on a new one counting begins after `begin`.
    fn channel(&mut self, namespace: &Arc<str>, channel: &Arc<str>, begin: u64) -> Option<&mut Channel> {
        let key = (namespace.clone(), channel.clone());
        if self.channels.len() >= MAX_CHANNELS && !self.channels.contains_key(&key) {
            return None;
        }
        Some(self.channels.entry(key).or_insert(Channel { last: begin, unheard: false, told: None }))
    }
}

impl Channel {
    /// Number of messages that were told [`SETTLE`] ago and that did not come.
    fn settle(&mut self, now: Instant) -> u64 {
        let Some((number, since)) = self.told else { return 0 };
        if number > self.last && now.duration_since(since) < SETTLE {
            return 0;
        }
        self.told = None;
        let missed = number.saturating_sub(self.last);
        self.last = self.last.max(number);
        missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        directory: Directory,
        namespace: Arc<str>,
        channel: Arc<str>,
        sender: ServerId,
        now: Instant,
    }

    impl Bench {
        /// The namespace is open, and its messages come.
        fn new() -> Self {
            let (mut directory, now) = (Directory::default(), Instant::now());
            directory.open_namespace(&"/".into());
            directory.connected("/", now);
            Self { directory, namespace: "/".into(), channel: "c".into(), sender: "a".into(), now }
        }

        fn hear(&mut self, number: u64) -> bool {
            self.directory.numbered(&self.sender, &self.namespace, &self.channel, number, self.now)
        }

        fn told(&mut self, number: u64) {
            self.told_of(&[number]);
        }

        /// An announcement a second after the last.
        fn told_of(&mut self, numbers: &[u64]) {
            self.now += Duration::from_secs(1);
            let entry = |number: &u64| (self.namespace.clone(), self.channel.clone(), *number);
            self.directory.told(&self.sender, &numbers.iter().map(entry).collect::<Vec<_>>(), self.now);
        }
    }

    #[test]
    fn gaps_are_counted_and_doubles_dropped() {
        let mut bench = Bench::new();
        assert!(bench.hear(5) && bench.hear(6));
        assert_eq!(bench.directory.losses(), (0, 0));
        assert!(bench.hear(9));
        assert_eq!(bench.directory.losses(), (2, 0));
        assert!(!bench.hear(9) && !bench.hear(7));
        assert_eq!(bench.directory.losses(), (2, 2));
        assert!(bench.hear(10));
    }

    #[test]
    fn a_lost_tail_is_counted_at_the_second_announcement() {
        let mut bench = Bench::new();
        bench.told(3);
        assert!(bench.hear(4));
        bench.told(4);
        bench.told(7);
        assert_eq!(bench.directory.losses(), (0, 0), "it may be on its way");
        bench.told(7);
        assert_eq!(bench.directory.losses(), (3, 0));
        // What was counted as lost and comes after all is dropped, so that the count stays true.
        assert!(!bench.hear(7));
        assert!(bench.hear(8));
        assert_eq!(bench.directory.losses(), (3, 1));
    }

    #[test]
    fn an_announcement_may_overtake() {
        let mut bench = Bench::new();
        assert!(bench.hear(1));
        bench.told(3);
        assert!(bench.hear(2) && bench.hear(3));
        bench.told(3);
        assert_eq!(bench.directory.losses(), (0, 0));
        // Also the first: where counting begins is what is heard.
        let mut bench = Bench::new();
        bench.told(3);
        assert!(bench.hear(2) && bench.hear(3) && !bench.hear(3));
        assert_eq!(bench.directory.losses(), (0, 1));
    }

    #[test]
    fn a_channel_that_begins_under_our_eyes_begins_at_1() {
        let mut bench = Bench::new();
        bench.told_of(&[]);
        assert!(bench.hear(3));
        assert_eq!(bench.directory.losses(), (2, 0));
        let mut bench = Bench::new();
        bench.told_of(&[]);
        bench.told(2);
        bench.told(2);
        assert_eq!(bench.directory.losses(), (2, 0));
    }

    #[test]
    fn what_is_not_open_is_not_missed() {
        let mut bench = Bench::new();
        bench.told_of(&[]);
        assert!(bench.hear(1));
        bench.directory.close_namespace("/");
        bench.told(5);
        bench.told(9);
        bench.directory.open_namespace(&"/".into());
        bench.told(9);
        assert!(bench.hear(12));
        bench.told(12);
        bench.told(12);
        // 10 and 11 were published after we were told 9, when the namespace was open again.
        assert_eq!(bench.directory.losses(), (2, 0));
    }

    #[test]
    fn who_was_cut_off_for_long_is_not_begun_anew() {
        let mut bench = Bench::new();
        assert!(bench.hear(1));
        bench.now += FORGOTTEN * 3;
        bench.directory.age(bench.now);
        assert_eq!(bench.directory.servers(bench.now).count(), 0);
        assert!(bench.hear(4));
        assert_eq!(bench.directory.losses(), (2, 0));
        assert_eq!(bench.directory.servers(bench.now).count(), 1);
    }

    #[test]
    fn who_left_stays_away_and_its_tail_is_counted() {
        let mut bench = Bench::new();
        assert!(bench.hear(1));
        bench.told(3);
        bench.directory.left(&"a".into(), bench.now);
        assert!(bench.hear(2));
        assert_eq!(bench.directory.servers(bench.now).count(), 0);
        bench.now += SETTLE;
        bench.directory.age(bench.now);
        assert_eq!(bench.directory.losses(), (1, 0));
        bench.now += FORGOTTEN;
        bench.directory.age(bench.now);
        assert!(bench.directory.servers.is_empty());
    }

    #[test]
    fn servers_are_bounded_and_the_silent_make_room() {
        let mut directory = Directory::default();
        let now = Instant::now();
        let id = |number: usize| ServerId::from(number.to_string().as_str());
        for number in 0..=MAX_SERVERS {
            directory.told(&id(number), &[], now);
        }
        assert_eq!(directory.servers(now).count(), MAX_SERVERS);
        let later = now + FORGOTTEN;
        directory.told(&id(1), &[], later);
        assert_eq!(directory.servers(later).collect::<Vec<_>>(), [&id(1)]);
        directory.told(&id(MAX_SERVERS), &[], later);
        assert_eq!((directory.servers.len(), directory.servers(later).count()), (MAX_SERVERS, 2));
        directory.age(now + REMEMBERED);
        assert_eq!(directory.servers.len(), 2);
    }

    #[test]
    fn channels_are_bounded() {
        let mut bench = Bench::new();
        for number in 0..=MAX_CHANNELS {
            bench.channel = number.to_string().into();
            assert!(bench.hear(1));
        }
        assert_eq!(bench.directory.servers[&bench.sender].channels.len(), MAX_CHANNELS);
        // One past the limit is delivered and not followed.
        assert!(bench.hear(1) && bench.hear(9));
        assert_eq!(bench.directory.losses(), (0, 0));
    }
}

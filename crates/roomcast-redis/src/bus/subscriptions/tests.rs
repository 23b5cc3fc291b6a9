//! Histories of subscriptions and channels, written by hand and random, against a fake Redis with one connection.

use super::*;
use crate::delivery::listener::doubles::FakeListener;
use std::time::Duration;
use tokio::sync::oneshot;

/// Names with a pattern; for odd numbers, with an uncounted channel in its place.
fn names(of: &str) -> Names {
    let channels = vec![format!("{of} 1"), format!("{of} 2")];
    if of.ends_with(['1', '3', '5', '7']) {
        return Names { uncounted: vec![format!("{of} main")], channels, ..Names::default() };
    }
    Names { patterns: vec![format!("{of}*")], channels, ..Names::default() }
}

fn forbidden() -> RedisError {
    RedisError::Permission("no".to_owned())
}

/// A Redis with one connection.
#[derive(Default)]
struct Redis {
    subscribed: HashSet<Name>,
    forbidden: HashSet<Name>,
}

impl Redis {
    /// Answers one step; `meanwhile` runs before the answer. Returns how many names it was sent.
    fn step(
        &mut self,
        subscriptions: &mut Subscriptions,
        now: Instant,
        meanwhile: impl FnOnce(&mut Subscriptions),
    ) -> usize {
        let step = subscriptions.step(now);
        step.connected.iter().for_each(|listener| listener.connected());
        step.waiters.into_iter().for_each(|waiter| drop(waiter.send(Ok(()))));
        let sent = step.changes.len();
        meanwhile(subscriptions);
        for change in step.changes {
            if change.wanted_by.is_none() {
                assert!(self.subscribed.remove(&change.name), "{change:?} was not subscribed");
                subscriptions.confirm(change);
            } else if self.forbidden.contains(&change.name) {
                subscriptions.deny(&change, &forbidden(), now);
            } else {
                self.subscribed.insert(change.name.clone());
                subscriptions.confirm(change);
            }
        }
        sent
    }

    fn settle(&mut self, subscriptions: &mut Subscriptions, now: Instant) -> Vec<usize> {
        let mut sent = Vec::new();
        loop {
            match self.step(subscriptions, now, |_| {}) {
                0 => return sent,
                names => sent.push(names),
            }
        }
    }

    fn disconnect(&mut self, subscriptions: &mut Subscriptions) {
        self.subscribed.clear();
        subscriptions.connection_ended().iter().for_each(|listener| listener.lost());
        subscriptions.connection_made();
    }
}

fn add_channel(
    subscriptions: &mut Subscriptions,
    key: &Arc<str>,
    channel: String,
    listener: Arc<FakeListener>,
    waiters: Vec<Waiter>,
) {
    subscriptions.add_channel(key, channel, listener);
    subscriptions.wait(key, waiters);
}

fn add(subscriptions: &mut Subscriptions, key: &str) -> Arc<FakeListener> {
    let listener = Arc::<FakeListener>::default();
    subscriptions.add(&key.into(), names(key), listener.clone());
    listener
}

#[test]
fn names_go_out_in_chunks_and_patterns_first() {
    let (mut subscriptions, mut redis, now) = (Subscriptions::default(), Redis::default(), Instant::now());
    let all: Vec<_> = (0..=NAMES_PER_STEP).map(|number| add(&mut subscriptions, &format!("/{number}"))).collect();
    subscriptions.connection_made();
    assert_eq!(redis.step(&mut subscriptions, now, |_| {}), NAMES_PER_STEP);
    assert_eq!(redis.step(&mut subscriptions, now, |_| {}), 1);
    assert!(redis.subscribed.iter().all(|name| !name.is_counted), "all others come before the first that is counted");
    assert_eq!(redis.settle(&mut subscriptions, now), [NAMES_PER_STEP, NAMES_PER_STEP, 2]);
    assert!(all.iter().all(|listener| listener.is_connected()));
    // Those that are added later do not wait for each other.
    let later = add(&mut subscriptions, "/later");
    assert_eq!(redis.settle(&mut subscriptions, now), [1, 2]);
    assert!(later.is_connected());
    (0..=NAMES_PER_STEP).for_each(|number| subscriptions.remove(&format!("/{number}")));
    assert_eq!(redis.settle(&mut subscriptions, now), [NAMES_PER_STEP; 3].into_iter().chain([3]).collect::<Vec<_>>());
    assert_eq!(redis.subscribed, names("/later").all().into_iter().collect());
}

#[test]
fn no_listener_is_connected_before_all_that_existed_are_settled() {
    let (mut subscriptions, mut redis, now) = (Subscriptions::default(), Redis::default(), Instant::now());
    let all: Vec<_> = (0..NAMES_PER_STEP).map(|number| add(&mut subscriptions, &format!("/{number}"))).collect();
    let connected = || all.iter().filter(|listener| listener.is_connected()).count();
    redis.forbidden.insert(names("/127").all().remove(2));
    subscriptions.connection_made();
    // The patterns, the channels of one half, those of the other half.
    for _ in 0..3 {
        assert_eq!((redis.step(&mut subscriptions, now, |_| {}), connected()), (NAMES_PER_STEP, 0));
    }
    redis.step(&mut subscriptions, now, |_| {});
    assert!(subscriptions.is_settled(), "a forbidden subscription is settled");
    assert_eq!(connected(), NAMES_PER_STEP - 1);
}

#[test]
fn what_comes_and_goes_costs_nothing() {
    let (mut subscriptions, mut redis, now) = (Subscriptions::default(), Redis::default(), Instant::now());
    subscriptions.connection_made();
    for stays in [false, true] {
        for _ in 0..10_000 {
            add(&mut subscriptions, "/flaps");
            subscriptions.remove("/flaps");
        }
        assert_eq!((subscriptions.pending.len(), subscriptions.unwanted.len()), (0, if stays { 3 } else { 0 }));
        let listener = add(&mut subscriptions, "/flaps");
        assert_eq!(redis.settle(&mut subscriptions, now), if stays { vec![] } else { vec![1, 2] });
        assert!(listener.is_connected(), "even if Redis has nothing to confirm");
    }
}

#[test]
fn a_forbidden_name_is_retried_at_its_time_and_not_before() {
    let (mut subscriptions, mut redis, now) = (Subscriptions::default(), Redis::default(), Instant::now());
    let (allowed, forbidden) = (add(&mut subscriptions, "/allowed"), add(&mut subscriptions, "/forbidden"));
    let pattern = names("/forbidden").all().remove(0);
    redis.forbidden.insert(pattern.clone());
    subscriptions.connection_made();
    redis.settle(&mut subscriptions, now);
    assert!(allowed.is_connected() && !forbidden.is_connected());
    assert_eq!(redis.subscribed.len(), 3, "a subscription that does not receive everything is not counted either");
    assert_eq!(subscriptions.next_retry(), Some(now + DENIED_PAUSE));
    assert!(redis.settle(&mut subscriptions, now + DENIED_PAUSE - Duration::from_millis(1)).is_empty());
    assert_eq!(redis.step(&mut subscriptions, now + DENIED_PAUSE, |_| {}), 1);
    redis.forbidden.clear();
    assert_eq!(redis.settle(&mut subscriptions, now + DENIED_PAUSE * 2), [1, 2]);
    assert!(forbidden.is_connected() && subscriptions.next_retry().is_none());
}

#[test]
fn a_forbidden_subscription_that_is_removed_is_forgotten() {
    let (mut subscriptions, mut redis, now) = (Subscriptions::default(), Redis::default(), Instant::now());
    redis.forbidden.extend(names("/a").all().into_iter().skip(1));
    subscriptions.connection_made();
    for _ in 0..3 {
        add(&mut subscriptions, "/a");
        redis.settle(&mut subscriptions, now);
        assert_eq!(subscriptions.denied(), 1);
        subscriptions.remove("/a");
        redis.settle(&mut subscriptions, now);
        assert_eq!((subscriptions.denied(), redis.subscribed.len(), subscriptions.confirmed.len()), (0, 0, 0));
    }
}

#[test]
fn a_name_stays_subscribed_until_its_last_subscription_is_removed() {
    let (mut subscriptions, mut redis, now) = (Subscriptions::default(), Redis::default(), Instant::now());
    subscriptions.connection_made();
    let listeners = ["one", "other"].map(|key| {
        let listener = Arc::<FakeListener>::default();
        subscriptions.add(&key.into(), names("same"), listener.clone());
        listener
    });
    redis.settle(&mut subscriptions, now);
    assert!(listeners.iter().all(|listener| listener.is_connected()));
    subscriptions.remove("one");
    assert!(redis.settle(&mut subscriptions, now).is_empty());
    subscriptions.remove("other");
    redis.settle(&mut subscriptions, now);
    assert!(redis.subscribed.is_empty());
}

/// Whatever is added, removed, forbidden, allowed and cut off, at whatever moment: in the end Redis has what is wanted.
#[test]
fn random_histories_end_as_they_should() {
    for seed in 1..=300u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let (mut subscriptions, mut redis, mut now) = (Subscriptions::default(), Redis::default(), Instant::now());
        let mut open: HashMap<String, Arc<FakeListener>> = HashMap::new();
        subscriptions.connection_made();
        for _ in 0..200 {
            let mut turn = |subscriptions: &mut Subscriptions, which: u64| {
                let key = format!("/{}", which % 8);
                if which < 8 {
                    open.entry(key).or_insert_with_key(|key| add(subscriptions, key));
                } else {
                    open.remove(&key);
                    subscriptions.remove(&key);
                }
            };
            match below(8) {
                0..=3 => turn(&mut subscriptions, below(16)),
                4 => drop(redis.step(&mut subscriptions, now, |subscriptions| {
                    // Added, removed, or both, while Redis has not answered.
                    let which = below(16);
                    turn(subscriptions, which);
                    if below(2) == 0 {
                        turn(subscriptions, (which + 8) % 16);
                    }
                })),
                5 => drop(redis.step(&mut subscriptions, now, |_| {})),
                6 => match names(&format!("/{}", below(8))).all().swap_remove(below(3) as usize) {
                    name if redis.subscribed.contains(&name) || redis.forbidden.remove(&name) => {}
                    name => drop(redis.forbidden.insert(name)),
                },
                _ if below(8) == 0 => redis.disconnect(&mut subscriptions),
                _ => now += Duration::from_secs(below(12)),
            }
            let connected = subscriptions.by_key.values().filter(|it| it.is_connected).count();
            let kept =
                connected + subscriptions.pending.len() + subscriptions.denied.len() + subscriptions.complete.len();
            let receives = |name: &Name| {
                !name.is_counted
                    || redis.subscribed.iter().any(|it| !it.is_counted && name.text.starts_with(&it.text[..2]))
            };
            assert!(redis.subscribed.iter().all(receives), "seed {seed}: counted without receiving broadcasts");
            assert_eq!(kept, open.len(), "seed {seed}: each subscription is in exactly one state");
            assert!(subscriptions.confirmed.len() <= 24, "seed {seed}: more names are kept than exist");
        }
        redis.forbidden.clear();
        redis.settle(&mut subscriptions, now + DENIED_PAUSE);
        let all: HashSet<Name> = open.keys().flat_map(|key| names(key).all()).collect();
        assert_eq!(redis.subscribed, all, "seed {seed}");
        assert!(open.values().all(|listener| listener.is_connected()), "seed {seed}: a listener was not told");
    }
}

/// Channels of rooms beside the subscription of their namespace.
#[test]
fn added_channels_are_subscribed_before_any_listener_is_connected() {
    let (mut subscriptions, mut redis, now) = (Subscriptions::default(), Redis::default(), Instant::now());
    let listener = add(&mut subscriptions, "/1");
    let (waiter, mut subscribed) = oneshot::channel();
    add_channel(&mut subscriptions, &"room".into(), "/1 room".to_owned(), listener.clone(), vec![waiter]);
    for _ in 0..2 {
        subscriptions.connection_made();
        // The main channel and the room's, then the counted ones.
        assert_eq!(redis.settle(&mut subscriptions, now), [2, 2]);
        assert!(listener.is_connected() && redis.subscribed.len() == 4);
        redis.disconnect(&mut subscriptions);
    }
    assert_eq!(subscribed.try_recv(), Ok(Ok(())));
    // A later waiter need not wait.
    redis.settle(&mut subscriptions, now);
    let (waiter, mut subscribed) = oneshot::channel();
    add_channel(&mut subscriptions, &"room".into(), "/1 room".to_owned(), listener, vec![waiter]);
    assert_eq!(subscribed.try_recv(), Ok(Ok(())));
    subscriptions.remove("room");
    assert_eq!(redis.settle(&mut subscriptions, now), [1]);
}

#[test]
fn waiters_for_a_forbidden_channel_get_the_error() {
    let (mut subscriptions, mut redis, now) = (Subscriptions::default(), Redis::default(), Instant::now());
    subscriptions.connection_made();
    let name = Names { uncounted: vec!["room".to_owned()], ..Names::default() }.all().remove(0);
    redis.forbidden.insert(name.clone());
    let look = |subscriptions: &mut Subscriptions| {
        let (waiter, subscribed) = oneshot::channel();
        add_channel(subscriptions, &"room".into(), "room".to_owned(), Arc::<FakeListener>::default(), vec![waiter]);
        subscribed
    };
    let mut first = look(&mut subscriptions);
    redis.settle(&mut subscriptions, now);
    assert_eq!(first.try_recv(), Ok(Err(forbidden().to_string())));
    assert_eq!(look(&mut subscriptions).try_recv(), Ok(Err(forbidden().to_string())), "at once");
    redis.forbidden.clear();
    redis.settle(&mut subscriptions, now + DENIED_PAUSE);
    assert_eq!(look(&mut subscriptions).try_recv(), Ok(Ok(())));
}

#[test]
fn waiters_that_stopped_waiting_are_removed() {
    let mut subscriptions = Subscriptions::default();
    let mut held = Vec::new();
    for number in 0..10 * WAITERS {
        let (waiter, subscribed) = oneshot::channel();
        add_channel(
            &mut subscriptions,
            &"room".into(),
            "room".to_owned(),
            Arc::<FakeListener>::default(),
            vec![waiter],
        );
        held.extend((number < WAITERS - 1).then_some(subscribed));
    }
    assert_eq!(subscriptions.by_key["room"].waiters.len(), WAITERS);
}

/// Rooms that come and go, where two namespaces share a channel: no waiter waits forever, and none resolves before its
/// channel is subscribed.
#[test]
fn random_histories_of_channels() {
    let mut resolved = 0;
    for seed in 1..=300u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let (mut subscriptions, mut redis, mut now) = (Subscriptions::default(), Redis::default(), Instant::now());
        let channel = |room: u64| format!("{}", room % 4);
        let name = |room| Names { uncounted: vec![channel(room)], ..Names::default() }.all().remove(0);
        let mut in_room: HashSet<u64> = HashSet::new();
        let mut waiting = Vec::new();
        subscriptions.connection_made();
        for _ in 0..200 {
            match below(8) {
                0..=2 => {
                    let (room, (waiter, subscribed)) = (below(8), oneshot::channel());
                    in_room.insert(room);
                    let listener = Arc::<FakeListener>::default();
                    add_channel(&mut subscriptions, &room.to_string().into(), channel(room), listener, vec![waiter]);
                    waiting.push((room, subscribed));
                }
                3 => {
                    let room = below(8);
                    in_room.remove(&room);
                    subscriptions.remove(&room.to_string());
                }
                4 => drop(redis.step(&mut subscriptions, now, |subscriptions| {
                    let room = below(8);
                    in_room.remove(&room);
                    subscriptions.remove(&room.to_string());
                })),
                5 => drop(redis.step(&mut subscriptions, now, |_| {})),
                6 => match name(below(4)) {
                    name if redis.subscribed.contains(&name) || redis.forbidden.remove(&name) => {}
                    name => drop(redis.forbidden.insert(name)),
                },
                _ if below(8) == 0 => redis.disconnect(&mut subscriptions),
                _ => now += Duration::from_secs(below(12)),
            }
            waiting.retain_mut(|(room, subscribed)| match subscribed.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => true,
                Ok(Ok(())) => {
                    resolved += 1;
                    let is_subscribed = redis.subscribed.contains(&name(*room));
                    assert!(is_subscribed || !in_room.contains(room), "seed {seed}: resolved too early");
                    false
                }
                _ => false,
            });
            assert_eq!(subscriptions.by_key.len(), in_room.len(), "seed {seed}");
        }
        redis.forbidden.clear();
        redis.settle(&mut subscriptions, now + DENIED_PAUSE);
        assert_eq!(redis.subscribed, in_room.iter().map(|room| name(*room)).collect(), "seed {seed}");
        for (_, mut subscribed) in waiting {
            assert_ne!(
                subscribed.try_recv(),
                Err(oneshot::error::TryRecvError::Empty),
                "seed {seed}: a waiter waits forever"
            );
        }
    }
    assert!(resolved > 1_000, "{resolved}");
}

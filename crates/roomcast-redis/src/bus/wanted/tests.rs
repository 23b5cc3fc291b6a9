//! Histories of subscriptions and channels, by hand and random, beside a Redis of one connection.

use super::*;
use crate::bus::routes::doubles::Ear;

/// With a pattern, or with a channel that nobody counts in its place.
fn names(of: &str) -> Names {
    let channels = vec![format!("{of} 1"), format!("{of} 2")];
    if of.ends_with(['1', '3', '5', '7']) {
        return Names { uncounted: vec![format!("{of} main")], channels, ..Names::default() };
    }
    Names { patterns: vec![format!("{of}*")], channels, ..Names::default() }
}

fn forbids() -> RedisError {
    RedisError::Permission("no".to_owned())
}

/// A Redis with one connection.
#[derive(Default)]
struct Redis {
    subscribed: HashSet<Name>,
    forbidden: HashSet<Name>,
}

impl Redis {
    /// Takes a step; what is wanted may change before it has answered. Tells how many names it was sent.
    fn step(&mut self, wanted: &mut Wanted, now: Instant, meanwhile: impl FnOnce(&mut Wanted)) -> usize {
        let step = wanted.step(now);
        step.tell.iter().for_each(|listener| listener.connected());
        step.waited.into_iter().for_each(|waiter| drop(waiter.send(Ok(()))));
        let sent = step.send.len();
        meanwhile(wanted);
        for change in step.send {
            if change.wanted_by.is_none() {
                assert!(self.subscribed.remove(&change.name), "{change:?} was not subscribed");
                wanted.taken(change);
            } else if self.forbidden.contains(&change.name) {
                wanted.refused(&change, &forbids(), now);
            } else {
                self.subscribed.insert(change.name.clone());
                wanted.taken(change);
            }
        }
        sent
    }

    fn settle(&mut self, wanted: &mut Wanted, now: Instant) -> Vec<usize> {
        let mut sent = Vec::new();
        loop {
            match self.step(wanted, now, |_| {}) {
                0 => return sent,
                names => sent.push(names),
            }
        }
    }

    fn disconnect(&mut self, wanted: &mut Wanted) {
        self.subscribed.clear();
        wanted.end().iter().for_each(|listener| listener.lost());
        wanted.begin();
    }
}

fn add(wanted: &mut Wanted, key: &str) -> Arc<Ear> {
    let ear = Arc::<Ear>::default();
    wanted.add(&key.into(), names(key), ear.clone());
    ear
}

fn hears(ear: &Ear) -> bool {
    ear.hears()
}

#[test]
fn names_go_out_in_chunks_and_patterns_first() {
    let (mut wanted, mut redis, now) = (Wanted::default(), Redis::default(), Instant::now());
    let all: Vec<_> = (0..=NAMES_PER_STEP).map(|number| add(&mut wanted, &format!("/{number}"))).collect();
    wanted.begin();
    assert_eq!(redis.step(&mut wanted, now, |_| {}), NAMES_PER_STEP);
    assert_eq!(redis.step(&mut wanted, now, |_| {}), 1);
    assert!(redis.subscribed.iter().all(|name| !name.is_counted), "all others come before the first that is counted");
    assert_eq!(redis.settle(&mut wanted, now), [NAMES_PER_STEP, NAMES_PER_STEP, 2]);
    assert!(all.iter().all(|ear| hears(ear)));
    // Those that come later do not wait for one another.
    let later = add(&mut wanted, "/later");
    assert_eq!(redis.settle(&mut wanted, now), [1, 2]);
    assert!(hears(&later));
    (0..=NAMES_PER_STEP).for_each(|number| wanted.remove(&format!("/{number}")));
    assert_eq!(redis.settle(&mut wanted, now), [NAMES_PER_STEP; 3].into_iter().chain([3]).collect::<Vec<_>>());
    assert_eq!(redis.subscribed, names("/later").all().into_iter().collect());
}

#[test]
fn nobody_is_told_before_all_that_were_there_are_settled() {
    let (mut wanted, mut redis, now) = (Wanted::default(), Redis::default(), Instant::now());
    let all: Vec<_> = (0..NAMES_PER_STEP).map(|number| add(&mut wanted, &format!("/{number}"))).collect();
    let told = || all.iter().filter(|ear| hears(ear)).count();
    redis.forbidden.insert(names("/127").all().remove(2));
    wanted.begin();
    // The patterns, the channels of one half, those of the other half.
    for _ in 0..3 {
        assert_eq!((redis.step(&mut wanted, now, |_| {}), told()), (NAMES_PER_STEP, 0));
    }
    redis.step(&mut wanted, now, |_| {});
    assert!(wanted.is_settled(), "what is forbidden is settled");
    assert_eq!(told(), NAMES_PER_STEP - 1);
}

#[test]
fn what_comes_and_goes_costs_nothing() {
    let (mut wanted, mut redis, now) = (Wanted::default(), Redis::default(), Instant::now());
    wanted.begin();
    for stays in [false, true] {
        for _ in 0..10_000 {
            add(&mut wanted, "/flaps");
            wanted.remove("/flaps");
        }
        assert_eq!((wanted.waiting.len(), wanted.unwanted.len()), (0, if stays { 3 } else { 0 }));
        let ear = add(&mut wanted, "/flaps");
        assert_eq!(redis.settle(&mut wanted, now), if stays { vec![] } else { vec![1, 2] });
        assert!(hears(&ear), "it is told, though Redis has nothing to confirm");
    }
}

#[test]
fn what_is_forbidden_is_tried_again_at_the_time_and_not_before() {
    let (mut wanted, mut redis, now) = (Wanted::default(), Redis::default(), Instant::now());
    let (allowed, forbidden) = (add(&mut wanted, "/allowed"), add(&mut wanted, "/forbidden"));
    let pattern = names("/forbidden").all().remove(0);
    redis.forbidden.insert(pattern.clone());
    wanted.begin();
    redis.settle(&mut wanted, now);
    assert!(hears(&allowed) && !hears(&forbidden));
    assert_eq!(redis.subscribed.len(), 3, "who does not hear all is not counted either");
    assert_eq!(wanted.next_retry(), Some(now + DENIED_PAUSE));
    assert!(redis.settle(&mut wanted, now + DENIED_PAUSE - Duration::from_millis(1)).is_empty());
    assert_eq!(redis.step(&mut wanted, now + DENIED_PAUSE, |_| {}), 1);
    redis.forbidden.clear();
    assert_eq!(redis.settle(&mut wanted, now + DENIED_PAUSE * 2), [1, 2]);
    assert!(hears(&forbidden) && wanted.next_retry().is_none());
}

#[test]
fn what_is_forbidden_and_removed_is_forgotten() {
    let (mut wanted, mut redis, now) = (Wanted::default(), Redis::default(), Instant::now());
    redis.forbidden.extend(names("/a").all().into_iter().skip(1));
    wanted.begin();
    for _ in 0..3 {
        add(&mut wanted, "/a");
        redis.settle(&mut wanted, now);
        assert_eq!(wanted.denied(), 1);
        wanted.remove("/a");
        redis.settle(&mut wanted, now);
        assert_eq!((wanted.denied(), redis.subscribed.len(), wanted.confirmed.len()), (0, 0, 0));
    }
}

#[test]
fn a_name_that_two_want_stays_for_the_other() {
    let (mut wanted, mut redis, now) = (Wanted::default(), Redis::default(), Instant::now());
    wanted.begin();
    let ears = ["one", "other"].map(|key| {
        let ear = Arc::<Ear>::default();
        wanted.add(&key.into(), names("same"), ear.clone());
        ear
    });
    redis.settle(&mut wanted, now);
    assert!(ears.iter().all(|ear| hears(ear)));
    wanted.remove("one");
    assert!(redis.settle(&mut wanted, now).is_empty());
    wanted.remove("other");
    redis.settle(&mut wanted, now);
    assert!(redis.subscribed.is_empty());
}

/// Whatever is opened, closed, forbidden, allowed and cut, and in whatever moment: in the end Redis has what is wanted.
#[test]
fn random_histories_end_as_they_should() {
    for seed in 1..=300u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let (mut wanted, mut redis, mut now) = (Wanted::default(), Redis::default(), Instant::now());
        let mut open: HashMap<String, Arc<Ear>> = HashMap::new();
        wanted.begin();
        for _ in 0..200 {
            let mut turn = |wanted: &mut Wanted, which: u64| {
                let key = format!("/{}", which % 8);
                if which < 8 {
                    open.entry(key).or_insert_with_key(|key| add(wanted, key));
                } else {
                    open.remove(&key);
                    wanted.remove(&key);
                }
            };
            match below(8) {
                0..=3 => turn(&mut wanted, below(16)),
                4 => drop(redis.step(&mut wanted, now, |wanted| {
                    // Opened, closed, or both, while Redis has not answered.
                    let which = below(16);
                    turn(wanted, which);
                    if below(2) == 0 {
                        turn(wanted, (which + 8) % 16);
                    }
                })),
                5 => drop(redis.step(&mut wanted, now, |_| {})),
                6 => match names(&format!("/{}", below(8))).all().swap_remove(below(3) as usize) {
                    name if redis.subscribed.contains(&name) || redis.forbidden.remove(&name) => {}
                    name => drop(redis.forbidden.insert(name)),
                },
                _ if below(8) == 0 => redis.disconnect(&mut wanted),
                _ => now += Duration::from_secs(below(12)),
            }
            let told = wanted.subscriptions.values().filter(|it| it.told).count();
            let kept = told + wanted.waiting.len() + wanted.denied.len() + wanted.done.len();
            let heard = |name: &Name| {
                !name.is_counted
                    || redis.subscribed.iter().any(|it| !it.is_counted && name.text.starts_with(&it.text[..2]))
            };
            assert!(redis.subscribed.iter().all(heard), "seed {seed}: it is counted and does not hear");
            assert_eq!(kept, open.len(), "seed {seed}: each is in one place");
            assert!(wanted.confirmed.len() <= 24, "seed {seed}: more is kept than there is");
        }
        redis.forbidden.clear();
        redis.settle(&mut wanted, now + DENIED_PAUSE);
        let all: HashSet<Name> = open.keys().flat_map(|key| names(key).all()).collect();
        assert_eq!(redis.subscribed, all, "seed {seed}");
        assert!(open.values().all(|ear| hears(ear)), "seed {seed}: somebody was not told");
    }
}

/// Rooms' channels among subscriptions that are told.
#[test]
fn channels_that_are_added_are_heard_before_anybody_is_told() {
    let (mut wanted, mut redis, now) = (Wanted::default(), Redis::default(), Instant::now());
    let ear = add(&mut wanted, "/1");
    let (waiter, mut heard) = oneshot::channel();
    wanted.add_channel(&"room".into(), "/1 room".to_owned(), ear.clone(), vec![waiter]);
    for _ in 0..2 {
        wanted.begin();
        // The main channel and the room's, then those that are counted.
        assert_eq!(redis.settle(&mut wanted, now), [2, 2]);
        assert!(hears(&ear) && redis.subscribed.len() == 4);
        redis.disconnect(&mut wanted);
    }
    assert_eq!(heard.try_recv(), Ok(Ok(())));
    // Who comes later need not wait.
    redis.settle(&mut wanted, now);
    let (waiter, mut heard) = oneshot::channel();
    wanted.add_channel(&"room".into(), "/1 room".to_owned(), ear, vec![waiter]);
    assert_eq!(heard.try_recv(), Ok(Ok(())));
    wanted.remove("room");
    assert_eq!(redis.settle(&mut wanted, now), [1]);
}

#[test]
fn who_waits_for_a_channel_that_is_forbidden_is_told() {
    let (mut wanted, mut redis, now) = (Wanted::default(), Redis::default(), Instant::now());
    wanted.begin();
    let name = Names { uncounted: vec!["room".to_owned()], ..Names::default() }.all().remove(0);
    redis.forbidden.insert(name.clone());
    let look = |wanted: &mut Wanted| {
        let (waiter, heard) = oneshot::channel();
        wanted.add_channel(&"room".into(), "room".to_owned(), Arc::<Ear>::default(), vec![waiter]);
        heard
    };
    let mut first = look(&mut wanted);
    redis.settle(&mut wanted, now);
    assert_eq!(first.try_recv(), Ok(Err(forbids())));
    assert_eq!(look(&mut wanted).try_recv(), Ok(Err(forbids())), "it is known");
    redis.forbidden.clear();
    redis.settle(&mut wanted, now + DENIED_PAUSE);
    assert_eq!(look(&mut wanted).try_recv(), Ok(Ok(())));
}

#[test]
fn those_who_wait_no_more_are_forgotten() {
    let mut wanted = Wanted::default();
    let mut held = Vec::new();
    for number in 0..10 * WAITERS {
        let (waiter, heard) = oneshot::channel();
        wanted.add_channel(&"room".into(), "room".to_owned(), Arc::<Ear>::default(), vec![waiter]);
        held.extend((number < WAITERS - 1).then_some(heard));
    }
    assert_eq!(wanted.subscriptions["room"].waiters.len(), WAITERS);
}

/// Rooms that come and go, two namespaces' on one channel: nobody waits for ever, and who is told hears.
#[test]
fn random_histories_of_channels() {
    let mut told = 0;
    for seed in 1..=300u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let (mut wanted, mut redis, mut now) = (Wanted::default(), Redis::default(), Instant::now());
        let channel = |room: u64| format!("{}", room % 4);
        let name = |room| Names { uncounted: vec![channel(room)], ..Names::default() }.all().remove(0);
        let mut in_room: HashSet<u64> = HashSet::new();
        let mut waiting = Vec::new();
        wanted.begin();
        for _ in 0..200 {
            match below(8) {
                0..=2 => {
                    let (room, (waiter, heard)) = (below(8), oneshot::channel());
                    in_room.insert(room);
                    let ear = Arc::<Ear>::default();
                    wanted.add_channel(&room.to_string().into(), channel(room), ear, vec![waiter]);
                    waiting.push((room, heard));
                }
                3 => {
                    let room = below(8);
                    in_room.remove(&room);
                    wanted.remove(&room.to_string());
                }
                4 => drop(redis.step(&mut wanted, now, |wanted| {
                    let room = below(8);
                    in_room.remove(&room);
                    wanted.remove(&room.to_string());
                })),
                5 => drop(redis.step(&mut wanted, now, |_| {})),
                6 => match name(below(4)) {
                    name if redis.subscribed.contains(&name) || redis.forbidden.remove(&name) => {}
                    name => drop(redis.forbidden.insert(name)),
                },
                _ if below(8) == 0 => redis.disconnect(&mut wanted),
                _ => now += Duration::from_secs(below(12)),
            }
            waiting.retain_mut(|(room, heard)| match heard.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => true,
                Ok(Ok(())) => {
                    told += 1;
                    let hears = redis.subscribed.contains(&name(*room));
                    assert!(hears || !in_room.contains(room), "seed {seed}: who is told does not hear");
                    false
                }
                _ => false,
            });
            assert_eq!(wanted.subscriptions.len(), in_room.len(), "seed {seed}");
        }
        redis.forbidden.clear();
        redis.settle(&mut wanted, now + DENIED_PAUSE);
        assert_eq!(redis.subscribed, in_room.iter().map(|room| name(*room)).collect(), "seed {seed}");
        for (_, mut heard) in waiting {
            assert_ne!(
                heard.try_recv(),
                Err(oneshot::error::TryRecvError::Empty),
                "seed {seed}: somebody waits for ever"
            );
        }
    }
    assert!(told > 1_000, "{told}");
}

//! [`Wanted`]: what is to be subscribed, what Redis has confirmed, and the next step from one to the other.
//!
//! Only the difference counts, never the way to it: what was added and removed in between costs Redis nothing, and what is kept
//! here is bounded by what is wanted and what is confirmed. It decides; [`Subscriber`](super::subscriber::Subscriber) does.

use super::routes::{Listener, Name, Names, Routes};
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Names that are sent to Redis together, of those to subscribe and of those to unsubscribe. Redis serves others in between, and
/// so do we: signs of life are asked for between two steps.
pub(crate) const NAMES_PER_STEP: usize = 128;

/// After this what Redis has forbidden is tried again.
pub(crate) const DENIED_PAUSE: Duration = Duration::from_secs(10);

/// All subscriptions.
#[derive(Default)]
pub(crate) struct Wanted {
    routes: Arc<RwLock<Routes>>,
    subscriptions: HashMap<Arc<str>, Subscription>,
    /// Those of which names are to be confirmed, by age: what comes and goes quickly does not hold up what stays.
    waiting: BTreeMap<u64, Arc<str>>,
    /// Those of which a name is forbidden, and when they wait again.
    denied: BTreeMap<(Instant, u64), Arc<str>>,
    /// All is confirmed; they are told when the connection is as far as it has to be.
    done: Vec<(u64, Arc<str>)>,
    /// Names that this connection hears, but for those that are being unsubscribed.
    confirmed: HashSet<Name>,
    /// Those among them that nobody listens to any more.
    unwanted: HashSet<Name>,
    /// The number of the next subscription.
    next: u64,
    /// Subscriptions with a lower number were there when the connection was made: none is told before all are settled, and no
    /// channel is subscribed before all patterns, as other servers wait for one count to learn that this one hears all.
    begun: u64,
    patterns_first: bool,
}

struct Subscription {
    number: u64,
    /// Patterns first.
    names: Vec<Name>,
    listener: Arc<dyn Listener>,
    /// That all is confirmed.
    told: bool,
    /// A name is forbidden, or was when it was tried last: when it is tried again.
    denied: Option<Instant>,
}

/// What is to be done next.
#[derive(Default)]
pub(crate) struct Step {
    /// All their names are confirmed.
    pub(crate) tell: Vec<Arc<dyn Listener>>,
    /// How many of them were forbidden until now.
    pub(crate) healed: usize,
    pub(crate) send: Vec<Change>,
}

/// A name to subscribe or to unsubscribe.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) name: Name,
    /// For which subscription; `None`: it is to be unsubscribed.
    pub(crate) wanted_by: Option<(u64, Arc<str>)>,
}

impl Wanted {
    pub(crate) fn new(routes: Arc<RwLock<Routes>>) -> Self {
        Self { routes, ..Self::default() }
    }

    /// Adds a subscription; a second one of the same key changes nothing.
    pub(crate) fn add(&mut self, key: &Arc<str>, names: Names, listener: Arc<dyn Listener>) {
        if self.subscriptions.contains_key(key) {
            return;
        }
        let names = names.all();
        let mut routes = self.routes.write();
        for name in &names {
            routes.add(name, &listener);
            self.unwanted.remove(name);
        }
        let number = self.next;
        self.next += 1;
        self.waiting.insert(number, key.clone());
        let subscription = Subscription { number, names, listener, told: false, denied: None };
        self.subscriptions.insert(key.clone(), subscription);
    }

    /// Removes a subscription.
    pub(crate) fn remove(&mut self, key: &str) {
        let Some(removed) = self.subscriptions.remove(key) else { return };
        self.waiting.remove(&removed.number);
        if let Some(at) = removed.denied {
            self.denied.remove(&(at, removed.number));
        }
        self.done.retain(|(number, _)| *number != removed.number);
        let mut routes = self.routes.write();
        for name in removed.names {
            routes.remove(&name, &removed.listener);
            if !routes.has(&name) && self.confirmed.contains(&name) {
                self.unwanted.insert(name);
            }
        }
    }

    /// There is a new connection, which hears nothing yet.
    pub(crate) fn begin(&mut self) {
        self.confirmed.clear();
        self.unwanted.clear();
        self.denied.clear();
        self.done.clear();
        self.waiting = self.subscriptions.iter().map(|(key, it)| (it.number, key.clone())).collect();
        self.begun = self.next;
        self.patterns_first = true;
    }

    /// The connection has ended: who was told that it hears.
    pub(crate) fn end(&mut self) -> Vec<Arc<dyn Listener>> {
        let told =
            self.subscriptions.values_mut().filter_map(|it| std::mem::take(&mut it.told).then(|| it.listener.clone()));
        told.collect()
    }

    /// Whether all subscriptions that were there when the connection was made are confirmed, or forbidden.
    pub(crate) fn is_settled(&self) -> bool {
        self.waiting.range(..self.begun).next().is_none()
    }

    /// Whether a subscription was told that it hears.
    pub(crate) fn hears(&self, key: &str) -> bool {
        self.subscriptions.get(key).is_some_and(|it| it.told)
    }

    /// When something that is forbidden is to be tried again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.denied.first_key_value().map(|((at, _), _)| *at)
    }

    /// Subscriptions of which a name is forbidden.
    pub(crate) fn denied(&self) -> usize {
        self.denied.len()
    }

    /// What is to be done next. Every change must be answered before the next step.
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        while let Some(first) = self.denied.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, number), key) = first.remove_entry();
            self.waiting.insert(number, key);
        }
        let mut step = Step { send: self.leave(), ..Step::default() };
        self.subscribe(&mut step.send);
        if self.is_settled() {
            for (_, key) in std::mem::take(&mut self.done) {
                if let Some(subscription) = self.subscriptions.get_mut(&key) {
                    subscription.told = true;
                    step.healed += usize::from(subscription.denied.take().is_some());
                    step.tell.push(subscription.listener.clone());
                }
            }
        }
        step
    }

    /// What is to be unsubscribed: channels first, as long as they are subscribed this server is counted.
    fn leave(&mut self) -> Vec<Change> {
        let channels = self.unwanted.iter().filter(|name| !name.is_pattern);
        let names = channels.chain(self.unwanted.iter().filter(|name| name.is_pattern)).take(NAMES_PER_STEP);
        let changes: Vec<_> = names.map(|name| Change { name: name.clone(), wanted_by: None }).collect();
        for change in &changes {
            self.unwanted.remove(&change.name);
            self.confirmed.remove(&change.name);
        }
        changes
    }

    /// What is to be subscribed: a subscription's patterns, then its channels.
    fn subscribe(&mut self, changes: &mut Vec<Change>) {
        let most = changes.len() + NAMES_PER_STEP;
        let mut done = Vec::new();
        let until = if self.patterns_first { self.begun } else { u64::MAX };
        for (&number, key) in self.waiting.range(..until) {
            let Some(subscription) = self.subscriptions.get(key) else { continue };
            let missing = || subscription.names.iter().filter(|name| !self.confirmed.contains(*name));
            let is_pattern = missing().any(|name| name.is_pattern);
            if self.patterns_first && !is_pattern {
                continue;
            }
            if missing().next().is_none() {
                done.push(number);
            }
            let change = |name: &Name| Change { name: name.clone(), wanted_by: Some((number, key.clone())) };
            let room = most.saturating_sub(changes.len());
            changes.extend(missing().filter(|name| name.is_pattern == is_pattern).take(room).map(change));
            if changes.len() >= most {
                break;
            }
        }
        for number in done {
            self.done.extend(self.waiting.remove(&number).map(|key| (number, key)));
        }
        if self.patterns_first && changes.len() + NAMES_PER_STEP == most {
            self.patterns_first = false;
            self.subscribe(changes);
        }
    }

    /// Redis has taken a change.
    pub(crate) fn taken(&mut self, change: Change) {
        if change.wanted_by.is_some() {
            if !self.routes.read().has(&change.name) {
                self.unwanted.insert(change.name.clone());
            }
            self.confirmed.insert(change.name);
        }
    }

    /// Redis forbids a change. The subscription's listener, if it is new that it is forbidden.
    pub(crate) fn refused(&mut self, change: &Change, now: Instant) -> Option<Arc<dyn Listener>> {
        let (number, key) = change.wanted_by.as_ref()?;
        let subscription = self.subscriptions.get_mut(key).filter(|it| it.number == *number)?;
        self.waiting.remove(number);
        let at = now + DENIED_PAUSE;
        self.denied.insert((at, *number), key.clone());
        subscription.denied.replace(at).is_none().then(|| subscription.listener.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::routes::Heard;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Remembers whether it is told to hear.
    #[derive(Default)]
    struct Ear(AtomicBool);

    impl Listener for Ear {
        fn heard(&self, _: Vec<Heard>) {}

        fn connected(&self) {
            assert!(!self.0.swap(true, Ordering::Relaxed), "it is told once");
        }

        fn lost(&self) {
            assert!(self.0.swap(false, Ordering::Relaxed), "who did not hear loses nothing");
        }
    }

    fn names(of: &str) -> Names {
        Names { patterns: vec![format!("{of}*")], channels: vec![format!("{of} 1"), format!("{of} 2")] }
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
            let sent = step.send.len();
            meanwhile(wanted);
            for change in step.send {
                if change.wanted_by.is_none() {
                    assert!(self.subscribed.remove(&change.name), "{change:?} was not subscribed");
                    wanted.taken(change);
                } else if self.forbidden.contains(&change.name) {
                    wanted.refused(&change, now);
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
        ear.0.load(Ordering::Relaxed)
    }

    #[test]
    fn names_go_out_in_chunks_and_patterns_first() {
        let (mut wanted, mut redis, now) = (Wanted::default(), Redis::default(), Instant::now());
        let all: Vec<_> = (0..=NAMES_PER_STEP).map(|number| add(&mut wanted, &format!("/{number}"))).collect();
        wanted.begin();
        assert_eq!(redis.step(&mut wanted, now, |_| {}), NAMES_PER_STEP);
        assert_eq!(redis.step(&mut wanted, now, |_| {}), 1);
        assert!(redis.subscribed.iter().all(|name| name.is_pattern), "all patterns come before the first channel");
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
                    name.is_pattern
                        || redis.subscribed.iter().any(|it| it.is_pattern && name.text.starts_with(&it.text[..2]))
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
}

//! [`Sim`]: the network and all that the simulator knows, under one lock that is never held while the product is called; and
//! [`SimBroker`], a server's end of it.

use crate::model::{At, Client, Model, Node, mark};
use crate::plan::{Counting, Publish, Setup};
use crate::random::mix;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{
    Arrival, Body, Broker, BrokerError, Count, Inbox, Lane, Message, Outcome, Outgoing, ServerId,
};
use roomcast_adapter::{Adapter, async_trait};
use roomcast_protocol::Args;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// How long questions are handed over after a namespace was closed, as over Redis.
pub(crate) const LINGERS: u64 = 250;

/// The simulation.
#[derive(Debug)]
pub(crate) struct Sim {
    pub(crate) begin: Instant,
    pub(crate) setup: Setup,
    state: Mutex<State>,
    filled: Notify,
}

/// All that is known.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) nodes: Vec<NodeState>,
    pub(crate) subscriptions: BTreeMap<At, Subscription>,
    way: BTreeMap<(u64, u64), Parcel>,
    /// Things that have a number, for order and for draws.
    counter: u64,
    /// When the last message of a link comes.
    last: BTreeMap<(Node, At), u64>,
    pub(crate) model: Model,
    pub(crate) failure: Option<String>,
    pub(crate) lines: Option<Vec<String>>,
    /// By sender's and receiver's place: messages to lose, announcements to lose, messages to double, and more time until.
    pub(crate) lose: BTreeMap<(usize, usize), u32>,
    pub(crate) lose_alive: BTreeMap<(usize, usize), u32>,
    pub(crate) double: BTreeMap<(usize, usize), u32>,
    pub(crate) slow: BTreeMap<(usize, usize), (u64, u64)>,
    /// Times in which something was wrong, and whether it was only with counting.
    pub(crate) faults: Vec<(u64, u64, bool)>,
    /// When subscriptions came and went.
    pub(crate) changes: BTreeMap<Arc<str>, Vec<u64>>,
    /// Who ended though messages waited.
    pub(crate) waited: Vec<Node>,
    /// Questions that must come to these, if a little later than they are answered.
    pub(crate) must_reach: Vec<(u64, Vec<Node>)>,
    /// Answers to questions of other software.
    pub(crate) foreign: BTreeMap<u64, Vec<(Node, u64)>>,
}

/// A process.
#[derive(Debug)]
pub(crate) struct NodeState {
    /// Its name in the cluster.
    pub(crate) name: String,
    /// Its place.
    pub(crate) place: usize,
    pub(crate) foreign: bool,
    pub(crate) dead: bool,
    pub(crate) deaf: bool,
    pub(crate) mute: bool,
    pub(crate) publish: VecDeque<Publish>,
    pub(crate) count: Option<Counting>,
}

/// A namespace that a process hears.
pub(crate) struct Subscription {
    epoch: u64,
    pub(crate) stage: Stage,
    inbox: Option<Arc<dyn Inbox>>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("stage", &self.stage).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Pending,
    Active,
    /// Closed; questions come until then.
    Lingering(u64),
}

#[derive(Debug, Clone)]
struct Parcel {
    at: At,
    epoch: u64,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Active,
    Connected,
    Message(Node, Message),
}

impl State {
    pub(crate) fn log(&mut self, now: u64, line: impl FnOnce(&Self) -> String) {
        if self.lines.is_some() {
            let line = line(self);
            if let Some(lines) = &mut self.lines {
                lines.push(format!("{:>3}.{:03} {line}", now / 1_000, now % 1_000));
            }
        }
    }

    pub(crate) fn fail(&mut self, now: u64, why: String) {
        self.log(now, |_| format!("FAILS: {why}"));
        self.failure.get_or_insert(why);
    }

    pub(crate) fn check(&mut self, now: u64, result: Result<(), String>) {
        if let Err(why) = result {
            self.fail(now, why);
        }
    }

    pub(crate) fn label(&self, node: Node) -> String {
        self.nodes.get(node).map_or_else(String::new, |it| format!("{}/{node}", it.name))
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(crate) fn is_counted(&self, at: &At) -> bool {
        let node = self.nodes.get(at.0);
        let hears = node.is_some_and(|node| !node.dead && !node.deaf);
        hears && self.subscriptions.get(at).is_some_and(|it| it.stage == Stage::Active)
    }

    /// Those who are counted in a namespace.
    pub(crate) fn counted(&self, namespace: &str) -> Vec<Node> {
        let all = self.subscriptions.keys().filter(|at| *at.1 == *namespace && self.is_counted(at));
        all.map(|at| at.0).collect()
    }

    pub(crate) fn changed(&mut self, namespace: &Arc<str>, now: u64) {
        self.changes.entry(namespace.clone()).or_default().push(now);
    }
}

fn take(table: &mut BTreeMap<(usize, usize), u32>, key: (usize, usize)) -> bool {
    let Some(left) = table.get_mut(&key).filter(|left| **left > 0) else { return false };
    *left -= 1;
    true
}

/// A message in a few words.
pub(crate) fn tell(message: &Message) -> String {
    let mark = mark(&message.body).map_or_else(String::new, |n| format!(" #{n}"));
    let what = match &message.body {
        Body::Broadcast { target, .. } => format!("emit to {:?}", target.rooms),
        Body::BroadcastWithAck { target, .. } => format!("emit with ack to {:?}", target.rooms),
        Body::AskedClients { count, .. } => format!("asked {count}"),
        Body::ClientAck { .. } => "client's ack".to_owned(),
        Body::Join { target, rooms, .. } => format!("join {rooms:?} of {:?}", target.rooms),
        Body::Leave { target, rooms, .. } => format!("leave {rooms:?} of {:?}", target.rooms),
        Body::Disconnect { target, .. } => format!("disconnect {:?}", target.rooms),
        Body::FetchSockets { .. } => "fetch sockets".to_owned(),
        Body::Sockets { sockets, .. } => format!("{} sockets", sockets.len()),
        Body::FetchRooms { .. } => "fetch rooms".to_owned(),
        Body::Rooms { rooms, .. } => format!("{} rooms", rooms.len()),
        Body::ServerSideEmit { .. } => "server event".to_owned(),
        Body::ServerAnswer { .. } => "server's answer".to_owned(),
        Body::Alive { numbers } => format!("alive, {} series", numbers.len()),
        Body::Goodbye => "goodbye".to_owned(),
        _ => "something else".to_owned(),
    };
    let again = if message.trailer.is_some_and(|it| it.again) { " again" } else { "" };
    let numbers = message.trailer.map_or_else(String::new, |it| format!(" serial {} number {}{again}", it.serial, it.number));
    format!("{what}{mark}{numbers}")
}

impl Sim {
    pub(crate) fn new(setup: Setup, record: bool) -> Arc<Self> {
        let state = State { lines: record.then(Vec::new), ..State::default() };
        Arc::new(Self { begin: Instant::now(), setup, state: Mutex::new(state), filled: Notify::new() })
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State, u64) -> T) -> T {
        look(&mut self.state.lock(), self.now())
    }

    /// A process joins the network.
    pub(crate) fn node(self: &Arc<Self>, name: &str, place: usize, foreign: bool) -> (Node, Arc<SimBroker>) {
        let node = self.with(|state, _| {
            let (publish, name) = (VecDeque::new(), name.to_owned());
            let (dead, deaf, mute, count) = (false, false, false, None);
            state.nodes.push(NodeState { name, place, foreign, dead, deaf, mute, publish, count });
            state.nodes.len() - 1
        });
        (node, Arc::new(SimBroker { sim: self.clone(), node }))
    }

    fn drawn(&self, state: &mut State, most: u64) -> u64 {
        let next = state.next();
        mix(&[self.setup.seed, next]) % (most + 1)
    }

    /// Time to the broker, or back.
    async fn latency(&self) {
        let time = self.with(|state, _| self.drawn(state, self.setup.latency));
        if time > 0 {
            sleep(Duration::from_millis(time)).await;
        }
    }

    fn put(&self, state: &mut State, when: u64, parcel: Parcel) {
        let next = state.next();
        state.way.insert((when, next), parcel);
        self.filled.notify_one();
    }

    fn open(&self, at: &At, inbox: Option<Arc<dyn Inbox>>) {
        self.with(|state, now| {
            let known = state.subscriptions.get(at).map(|it| it.stage);
            state.log(now, |state| format!("{} opens {:?}", state.label(at.0), at.1));
            if matches!(known, Some(Stage::Pending | Stage::Active)) {
                return;
            }
            let epoch = state.next();
            state.subscriptions.insert(at.clone(), Subscription { epoch, stage: Stage::Pending, inbox });
            let active = now + self.drawn(state, self.setup.latency);
            let told = active + self.drawn(state, self.setup.latency);
            for (when, content) in [(active, Content::Active), (told, Content::Connected)] {
                self.put(state, when, Parcel { at: at.clone(), epoch, content });
            }
            for node in 0..state.nodes.len() {
                let last = state.last.entry((node, at.clone())).or_default();
                *last = (*last).max(told);
            }
        });
    }

    /// A foreign server opens a namespace.
    pub(crate) fn open_foreign(&self, at: &At) {
        self.open(at, None);
    }

    /// A server hears nothing from now on, or hears again.
    pub(crate) fn deafen(&self, node: Node, deaf: bool) {
        let inboxes: Vec<Arc<dyn Inbox>> = self.with(|state, now| {
            let Some(it) = state.nodes.get_mut(node) else { return Vec::new() };
            it.deaf = deaf;
            state.log(now, |state| format!("{} {}", state.label(node), if deaf { "hears nothing" } else { "hears again" }));
            let epoch = state.next();
            let mut inboxes = Vec::new();
            let mut changed = Vec::new();
            for (at, subscription) in state.subscriptions.iter_mut().filter(|(at, _)| at.0 == node) {
                changed.push(at.1.clone());
                // What is on its way does not come any more.
                if subscription.stage == Stage::Active {
                    subscription.epoch = epoch;
                    inboxes.extend(subscription.inbox.clone());
                }
            }
            changed.iter().for_each(|namespace| state.changed(namespace, now));
            inboxes
        });
        for inbox in inboxes {
            if deaf { inbox.lost() } else { inbox.connected() }
        }
    }

    /// A process is gone at once.
    pub(crate) fn kill(&self, node: Node) {
        self.with(|state, now| {
            state.log(now, |state| format!("{} dies", state.label(node)));
            if let Some(it) = state.nodes.get_mut(node) {
                it.dead = true;
            }
            let gone: Vec<At> = state.subscriptions.keys().filter(|at| at.0 == node).cloned().collect();
            for at in gone {
                state.subscriptions.remove(&at);
                state.changed(&at.1, now);
            }
        });
    }

    /// A message goes out to all who hear the namespace.
    pub(crate) fn send(&self, state: &mut State, from: Node, outgoing: &Outgoing, now: u64) {
        let Outgoing { namespace, message } = outgoing;
        if !namespace.is_empty() {
            state.log(now, |state| format!("{} publishes in {namespace:?}: {}", state.label(from), tell(message)));
        }
        let heard = |it: &&At| it.1 == *namespace;
        let to: Vec<(At, u64)> =
            state.subscriptions.iter().filter(|(at, it)| heard(at) && it.stage != Stage::Pending).map(|(at, it)| (at.clone(), it.epoch)).collect();
        let place = |state: &State, node: Node| state.nodes.get(node).map_or(usize::MAX, |it| it.place);
        for (at, epoch) in to {
            if at.0 == from && !self.setup.echo {
                continue;
            }
            if state.nodes.get(at.0).is_none_or(|it| it.dead || it.deaf) {
                continue;
            }
            let key = (place(state, from), place(state, at.0));
            let mut when = now + self.drawn(state, self.setup.hop);
            if let Some((more, _)) = state.slow.get(&key).filter(|(_, until)| now < *until) {
                when += more;
            }
            let last = state.last.entry((from, at.clone())).or_default();
            *last = (*last).max(when);
            when = *last;
            let parcel = Parcel { at: at.clone(), epoch, content: Content::Message(from, message.clone()) };
            let trailed = message.trailer.is_some() && at.0 != from;
            if trailed && namespace.is_empty() && take(&mut state.lose_alive, key) {
                continue;
            }
            if trailed && !namespace.is_empty() {
                if take(&mut state.lose, key) {
                    state.log(now, |state| format!("  it is lost on its way to {}", state.label(at.0)));
                    continue;
                }
                if take(&mut state.double, key) {
                    let later = when + self.drawn(state, 40);
                    self.put(state, later, parcel.clone());
                }
            }
            self.put(state, when, parcel);
        }
    }

    /// Brings what is on its way; for ever.
    pub(crate) async fn bring(self: Arc<Self>) {
        loop {
            let next = self.with(|state, _| state.way.first_key_value().map(|((when, _), _)| *when));
            let filled = self.filled.notified();
            match next {
                Some(when) if when <= self.now() => {
                    let parcels = self.with(|state, now| self.due(state, now));
                    self.hand_over(parcels);
                    // Nobody else would come to their turn at this time.
                    tokio::task::yield_now().await;
                }
                Some(when) => {
                    tokio::select! {
                        biased;
                        () = filled => {}
                        () = sleep_until(self.begin + Duration::from_millis(when)) => {}
                    }
                }
                None => filled.await,
            }
        }
    }

    /// The next parcel, and those for the same inbox that come in the same millisecond behind it.
    fn due(&self, state: &mut State, now: u64) -> Vec<Parcel> {
        let mut parcels: Vec<Parcel> = Vec::new();
        while let Some(((when, _), parcel)) = state.way.first_key_value() {
            let first = parcels.first();
            let fits = first.is_none_or(|first| {
                self.setup.together && first.at == parcel.at && matches!(first.content, Content::Message(..)) && matches!(parcel.content, Content::Message(..))
            });
            if *when > now || !fits {
                break;
            }
            parcels.extend(state.way.pop_first().map(|(_, parcel)| parcel));
        }
        parcels
    }

    fn hand_over(self: &Arc<Self>, parcels: Vec<Parcel>) {
        let mut arrivals: Vec<Arrival> = Vec::new();
        let mut target: Option<(At, Arc<dyn Inbox>)> = None;
        for Parcel { at, epoch, content } in parcels {
            let found = self.with(|state, now| {
                let node = state.nodes.get(at.0).filter(|it| !it.dead)?;
                let deaf = node.deaf;
                let subscription = state.subscriptions.get_mut(&at).filter(|it| it.epoch == epoch)?;
                match (&content, subscription.stage) {
                    (Content::Active, stage) if stage != Stage::Pending => return None,
                    (Content::Active, _) => {
                        subscription.stage = Stage::Active;
                        state.changed(&at.1, now);
                        return None;
                    }
                    (Content::Message(..), _) if deaf => return None,
                    (Content::Message(_, message), Stage::Lingering(until)) if now > until || !message.body.is_question() => return None,
                    (Content::Connected, _) if deaf => return None,
                    (Content::Connected, Stage::Lingering(_)) => return None,
                    _ => {}
                }
                Some(subscription.inbox.clone())
            });
            let Some(inbox) = found else { continue };
            let Some(inbox) = inbox else {
                if let Content::Message(from, message) = content {
                    self.foreign_hears(&at, from, message);
                }
                continue;
            };
            let Content::Message(from, message) = content else {
                self.with(|state, now| {
                    state.log(now, |state| format!("{} hears {:?}", state.label(at.0), at.1));
                    let place = state.model.place(&at);
                    place.connected = place.connected.or(Some(now));
                });
                inbox.connected();
                continue;
            };
            // Whether it is wanted is told once all before it was applied.
            let asks = match (&message.body, &message.trailer) {
                (Body::Broadcast { target, .. }, Some(_)) if Lane::of(&message.body) == Some(Lane::Rooms) => target.rooms.first().cloned(),
                _ => None,
            };
            if asks.is_some() && !arrivals.is_empty() {
                self.give(&at, &*inbox, std::mem::take(&mut arrivals));
            }
            let passed = asks.is_some_and(|room| !inbox.wants(&room));
            self.with(|state, now| {
                let name = state.nodes.get(at.0).map(|it| it.name.clone()).unwrap_or_default();
                if !at.1.is_empty() && from != at.0 {
                    let how = if passed { "passes over" } else { "gets" };
                    state.log(now, |state| format!("{} {how} from {}: {}", state.label(at.0), state.label(from), tell(&message)));
                }
                let result = state.model.arrive(&at, &name, from, &message, passed, now);
                state.check(now, result);
            });
            arrivals.push(match message.trailer.filter(|_| passed) {
                Some(trailer) => Arrival::PassedOver(trailer),
                None => Arrival::Message(message),
            });
            target = Some((at, inbox));
        }
        if let Some((at, inbox)) = target {
            self.give(&at, &*inbox, arrivals);
        }
    }

    fn give(self: &Arc<Self>, at: &At, inbox: &dyn Inbox, arrivals: Vec<Arrival>) {
        inbox.receive(arrivals);
        self.compare(at);
    }

    /// What the sockets have is what they must have; those that were disconnected leave.
    pub(crate) fn compare(&self, at: &At) {
        let gone = self.with(|state, now| {
            let result = state.model.compare(at);
            state.check(now, result.map_err(|why| format!("{} in {:?}: {why}", state.label(at.0), at.1)));
            let socks: Vec<usize> = state.model.place(at).socks.iter().copied().collect();
            let ended = |sock: &usize| state.model.socks.get(*sock).is_some_and(|sock| sock.disconnects > 0);
            let ended: Vec<usize> = socks.into_iter().filter(ended).collect();
            ended.into_iter().filter_map(|sock| state.model.remove(sock, now)).collect::<Vec<_>>()
        });
        for (adapter, id) in gone {
            if let Some(adapter) = adapter.upgrade() {
                adapter.remove(id);
            }
        }
    }

    /// A client does what it does when it is asked.
    pub(crate) async fn client(self: Arc<Self>, sock: usize, ack: u64, n: u64, client: Client) {
        let (Client::Answers(after) | Client::Twice(after) | Client::Leaves(after)) = client else { return };
        sleep(Duration::from_millis(after)).await;
        if matches!(client, Client::Leaves(_)) {
            if let Some((adapter, id)) = self.with(|state, now| state.model.remove(sock, now))
                && let Some(adapter) = adapter.upgrade()
            {
                adapter.remove(id);
            }
            return;
        }
        let found = self.with(|state, now| {
            let it = state.model.socks.get(sock).filter(|it| it.left.is_none())?;
            let found = (it.adapter.upgrade()?, it.id);
            state.model.acks.entry(n).or_default().push((sock, now));
            Some(found)
        });
        let Some((adapter, id)) = found else { return };
        let times = if matches!(client, Client::Twice(_)) { 2 } else { 1 };
        for _ in 0..times {
            if let Ok(args) = Args::event("", &(sock as u64)).map(|args| args.skip(1)) {
                adapter.ack(id, ack, args);
            }
        }
    }

    /// A foreign server answers questions, and takes answers to its own.
    fn foreign_hears(self: &Arc<Self>, at: &At, from: Node, message: Message) {
        if from == at.0 {
            return;
        }
        let body = match message.body {
            Body::FetchSockets { request, .. } => Body::Sockets { request, sockets: Vec::new() },
            Body::FetchRooms { request } => Body::Rooms { request, rooms: Vec::new() },
            Body::BroadcastWithAck { request, .. } => Body::AskedClients { request, count: 0 },
            Body::ServerSideEmit { request: Some(request), .. } => Body::ServerAnswer { request, args: Args::none() },
            Body::Sockets { request, .. } | Body::Rooms { request, .. } | Body::AskedClients { request, .. } => {
                let n = request.0.strip_prefix(&format!("foreign-{}-", at.0)).and_then(|n| n.parse().ok());
                return self.with(|state, now| {
                    if let Some(n) = n {
                        state.foreign.entry(n).or_default().push((from, now));
                    }
                });
            }
            _ => return,
        };
        let (sim, at) = (self.clone(), at.clone());
        tokio::spawn(async move {
            sim.latency().await;
            let message = Message { sender: None, to: None, trailer: None, body };
            sim.with(|state, now| sim.send(state, at.0, &Outgoing { namespace: at.1.clone(), message }, now));
        });
    }
}

/// A server's end of the network.
#[derive(Debug)]
pub(crate) struct SimBroker {
    sim: Arc<Sim>,
    node: Node,
}

impl SimBroker {
    /// Publishes, as far as it does, and tells what is told of it; `None`: nothing, ever.
    fn out(&self, batch: &[Outgoing]) -> Option<Vec<Outcome>> {
        let again = || Outcome::Again("simulated".to_owned());
        self.sim.with(|state, now| {
            let node = state.nodes.get_mut(self.node)?;
            if node.mute || node.dead {
                return Some(vec![again(); batch.len()]);
            }
            let fault = node.publish.pop_front();
            let mut refused = false;
            let mut outcomes = Vec::new();
            for (index, outgoing) in batch.iter().enumerate() {
                let (out, outcome) = match fault {
                    None => (true, Outcome::Sent),
                    Some(Publish::Hangs { out } | Publish::Again { out }) => (out, again()),
                    Some(Publish::Every2nd { out }) if index % 2 == 0 => (out, again()),
                    Some(Publish::Never) if !refused && Lane::of(&outgoing.message.body).is_some() => {
                        refused = true;
                        (false, Outcome::Never("simulated".to_owned()))
                    }
                    Some(Publish::Half) if index > batch.len() / 2 => break,
                    Some(_) => (true, Outcome::Sent),
                };
                let result = state.model.published(self.node, &outgoing.namespace, &outgoing.message, !self.sim.setup.faults, now);
                let result = result.and_then(|()| self.in_order(state, outgoing));
                state.check(now, result.map_err(|why| format!("{} in {:?}: {why}: {}", state.label(self.node), outgoing.namespace, tell(&outgoing.message))));
                if outcome != Outcome::Sent {
                    state.log(now, |state| format!("{} is told {outcome:?} (out: {out}): {}", state.label(self.node), tell(&outgoing.message)));
                }
                if outcome == Outcome::Sent {
                    state.model.sent(self.node, &outgoing.namespace, &outgoing.message, now);
                }
                if out {
                    self.sim.send(state, self.node, outgoing, now);
                }
                if let Some(sent) = mark(&outgoing.message.body).and_then(|n| state.model.outs.get_mut(&n)).filter(|_| outcome == Outcome::Sent) {
                    sent.sent = true;
                }
                outcomes.push(outcome);
            }
            (!matches!(fault, Some(Publish::Hangs { .. }))).then_some(outcomes)
        })
    }

    /// Everything with a lane has a number.
    fn in_order(&self, _: &State, outgoing: &Outgoing) -> Result<(), String> {
        let Some(trailer) = outgoing.message.trailer else { return Err("a message without a trailer".to_owned()) };
        if Lane::of(&outgoing.message.body).is_some() && trailer.number == 0 {
            return Err("a message without a number".to_owned());
        }
        Ok(())
    }
}

#[async_trait]
impl Broker for SimBroker {
    fn open(&self, namespace: &Arc<str>, _: &ServerId, inbox: Arc<dyn Inbox>) {
        let dead = self.sim.with(|state, _| state.nodes.get(self.node).is_none_or(|it| it.dead));
        if !dead {
            self.sim.open(&(self.node, namespace.clone()), Some(inbox));
        }
    }

    async fn close(&self, namespace: &str) {
        let at = (self.node, Arc::<str>::from(namespace));
        self.sim.with(|state, now| {
            state.log(now, |state| format!("{} closes {namespace:?} at the broker", state.label(self.node)));
            let place = state.model.place(&at);
            if !namespace.is_empty() && !place.closing && place.open {
                let label = state.label(self.node);
                state.fail(now, format!("{label} closes {namespace:?} at the broker, though an adapter is open"));
            }
            state.model.closed(&at, now);
        });
        if self.sim.setup.late_close {
            self.sim.latency().await;
        }
        let now_open = self.sim.with(|state, now| {
            state.changed(&at.1, now);
            let Some(subscription) = state.subscriptions.get_mut(&at) else { return };
            if at.1.is_empty() {
                state.subscriptions.remove(&at);
            } else if !matches!(subscription.stage, Stage::Lingering(_)) {
                subscription.stage = Stage::Lingering(now + LINGERS);
            }
        });
        let () = now_open;
        self.sim.latency().await;
    }

    fn lingers(&self) -> Duration {
        Duration::from_millis(LINGERS)
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        self.sim.latency().await;
        let Some(outcomes) = self.out(batch) else { return std::future::pending().await };
        self.sim.latency().await;
        outcomes
    }

    async fn count(&self, namespace: &str) -> Result<Count, BrokerError> {
        self.sim.latency().await;
        let (count, how) = self.sim.with(|state, _| {
            let node = state.nodes.get(self.node);
            let how = node.and_then(|it| it.count);
            let fails = how == Some(Counting::Fails) || node.is_none_or(|it| it.dead);
            let all = state.counted(namespace).len() + usize::from(how == Some(Counting::Ghost));
            let hole = how == Some(Counting::Hole);
            let count = if hole { Count::at_least(all.saturating_sub(1).max(1)) } else { Count::of(all) };
            (if fails { Err(BrokerError("simulated".to_owned())) } else { Ok(count) }, how)
        });
        if let Some(Counting::Slow(time)) = how {
            sleep(Duration::from_millis(time)).await;
        }
        self.sim.latency().await;
        count
    }
}

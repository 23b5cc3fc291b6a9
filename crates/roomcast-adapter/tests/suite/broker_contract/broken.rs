//! [`Broken`]: a broker that keeps the contract except for one [`Fault`].

use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::Room;
use roomcast_adapter::cluster::{
    Arrival, Body, Broker, BrokerError, Count, Hears, Inbox, Looked, MemoryBroker, MemoryNetwork, Message, Outcome,
    Outgoing, Route, Series, ServerId,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// No fault: the wrapper itself must break nothing.
    None,
    DeafToItself,
    Twice,
    AllNamespaces,
    PrefixesMatch,
    CutRoomAtSeparator,
    FirstRoomDecides,
    NoMessagesForOne,
    PublishOnlyWhenOpen,
    NoTimeout,
    NoTrailer,
    ForgetsWhatNobodyWants,
    EmptySender,
    EmptyAttachmentsAreText,
    NoNul,
    DropLarge,
    BatchBackwards,
    SwapNow,
    LoseOneInAThousand,
    NeverConnected,
    ConnectedLate,
    LastInboxHears,
    NeverCloses,
    ClosesForGood,
    CountsItselfAlways,
    CountsNobody,
    /// The dialect states that it does not count.
    CountsAllTheSame,
    CountedLate,
    SilentAboutGarbage,
    DeafAfterGarbage,
    PublishesIntoTheVoid,
    KeepsWhatFailed,
    NeverLost,
    DeafAfterReconnect,
    /// No fault where rooms are subscribed one by one, as with the faults below.
    NoneInRooms,
    LookedEarly,
    NeverLooked,
    LooksOnce,
    LeavesAllRooms,
    RemembersRoomsClosed,
    ForgetsRooms,
    DeafToLooksWhenCutOff,
    SaysThatItHearsAll,
    /// No fault where each room has a channel and one of three roads, as with the faults below.
    NoneOnRoads,
    /// The namespace's series are not kept in order, as their messages take any road that is free.
    RoadsByNumber,
    ChannelsOfARoomChange,
    /// A second batch is refused while one is in flight, whatever its road.
    OneBatchAtATime,
    /// What two roads carry at the same time is mixed up: when a batch meets another one, its first message goes last.
    RoadsMeet,
    NeverReady,
    NeverReadyAgain,
    ReadyNeverAnswers,
}

impl Fault {
    pub(crate) fn is_of_rooms(self) -> bool {
        self >= Self::NoneInRooms
    }

    fn is_of_roads(self) -> bool {
        self >= Self::NoneOnRoads
    }
}

#[derive(Debug)]
pub(crate) struct Broken {
    inner: Arc<MemoryBroker>,
    fault: Fault,
    state: Mutex<State>,
    published: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<Arc<str>, Arc<BrokenInbox>>,
    closed: HashSet<String>,
    failed: Vec<Outgoing>,
    /// A namespace was opened just now.
    new: bool,
    /// Rooms that were looked at.
    looked: HashSet<(String, Room)>,
    cut: bool,
    was_cut: bool,
    /// The number of batches in flight.
    under_way: usize,
    /// The number of routes that were asked for.
    asked: u64,
}

impl Broken {
    pub(crate) fn new(inner: Arc<MemoryBroker>, fault: Fault) -> Arc<Self> {
        Arc::new(Self { inner, fault, state: Mutex::default(), published: AtomicU64::new(0) })
    }

    pub(crate) fn cut_off(&self, network: &MemoryNetwork, cut: bool) {
        {
            let mut state = self.state.lock();
            state.cut = cut;
            state.was_cut |= cut;
        }
        if !cut && self.is(Fault::ForgetsRooms) {
            self.forget_rooms();
        }
        network.cut_off(&self.inner, cut);
    }

    /// Pretends that no room has members any more.
    fn forget_rooms(&self) {
        let (broken, rooms) = {
            let state = self.state.lock();
            (state.open.clone(), state.looked.clone())
        };
        broken.values().for_each(|broken| broken.nobody.store(true, Ordering::Relaxed));
        for (namespace, room) in rooms {
            drop(self.inner.look(&namespace, &room));
        }
        broken.values().for_each(|broken| broken.nobody.store(false, Ordering::Relaxed));
    }

    /// Bytes have arrived that are not a message.
    pub(crate) fn garbage(&self, namespace: &str) {
        let broken = self.state.lock().open.get(namespace).cloned();
        let Some(broken) = broken else { return };
        if self.fault == Fault::DeafAfterGarbage {
            broken.deaf.store(true, Ordering::Relaxed);
        }
        if self.fault != Fault::SilentAboutGarbage {
            broken.inner.lock().receive(vec![Arrival::Malformed("garbage".to_owned())]);
        }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn changed(&self, mut outgoing: Outgoing) -> Option<Outgoing> {
        let message = &mut outgoing.message;
        let data = match &mut message.body {
            Body::Broadcast { data, .. } => Some(data),
            _ => None,
        };
        match self.fault {
            Fault::NoMessagesForOne if message.to.is_some() => return None,
            Fault::NoTimeout => {
                if let Body::BroadcastWithAck { timeout, .. } = &mut message.body {
                    *timeout = None;
                }
            }
            Fault::NoTrailer => message.trailer = None,
            Fault::EmptySender => message.sender = Some(message.sender.clone().unwrap_or_else(|| "".into())),
            Fault::EmptyAttachmentsAreText => {
                if let Some(data) = data.filter(|data| data.attachments().iter().any(bytes::Bytes::is_empty)) {
                    let items = data.items().replace(r#"{"_placeholder":true,"num":0}"#, "\"\"");
                    *data = roomcast_protocol::Args::from_parts(items.into(), Vec::new());
                }
            }
            Fault::NoNul => {
                if let Some(data) = data {
                    let items = data.items().replace("\\u0000", "");
                    *data = roomcast_protocol::Args::from_parts(items.into(), data.attachments().to_vec());
                }
            }
            Fault::DropLarge if message.body.size() > 500_000 => return None,
            Fault::LoseOneInAThousand if self.published.fetch_add(1, Ordering::Relaxed) % 1_000 == 999 => return None,
            _ => {}
        }
        Some(outgoing)
    }
}

/// The inbox that the memory broker sees.
struct BrokenInbox {
    inner: Mutex<Arc<dyn Inbox>>,
    id: ServerId,
    fault: Fault,
    deaf: AtomicBool,
    /// Tells whoever asks that no room has members.
    nobody: AtomicBool,
    was_connected: AtomicBool,
}

impl std::fmt::Debug for BrokenInbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BrokenInbox")
    }
}

impl BrokenInbox {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn inbox(&self) -> Arc<dyn Inbox> {
        self.inner.lock().clone()
    }
}

impl Inbox for BrokenInbox {
    fn wants(&self, room: &str) -> bool {
        !self.nobody.load(Ordering::Relaxed) && self.inbox().wants(room)
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            match arrival {
                Arrival::Message(message) => self.receive_one(message),
                Arrival::PassedOver(_) if self.is(Fault::ForgetsWhatNobodyWants) => {}
                other => self.inbox().receive(vec![other]),
            }
        }
    }

    fn connected(&self) {
        let before = self.was_connected.swap(true, Ordering::Relaxed);
        match self.fault {
            Fault::NeverConnected => {}
            Fault::ConnectedLate => {
                let inbox = self.inbox();
                self.deaf.store(true, Ordering::Relaxed);
                inbox.connected();
            }
            _ => {
                if before && self.is(Fault::DeafAfterReconnect) {
                    self.deaf.store(true, Ordering::Relaxed);
                }
                self.inbox().connected();
            }
        }
    }

    fn lost(&self) {
        if !self.is(Fault::NeverLost) {
            self.inbox().lost();
        }
    }
}

impl BrokenInbox {
    fn receive_one(&self, message: Message) {
        if self.deaf.load(Ordering::Relaxed)
            || (self.is(Fault::DeafToItself) && message.sender.as_ref() == Some(&self.id))
        {
            return;
        }
        // As a broker does whose channels tell the room of a broadcast, and which asks before decoding.
        if let Body::Broadcast { target, .. } = &message.body {
            let first = target.rooms.first().map(|room| &**room);
            let asked = match first {
                Some(room) if self.is(Fault::CutRoomAtSeparator) && target.rooms.len() == 1 => {
                    Some(room.split('#').next().unwrap_or_default())
                }
                Some(room) if target.rooms.len() == 1 || self.is(Fault::FirstRoomDecides) => Some(room),
                _ => None,
            };
            if asked.is_some_and(|room| !self.wants(room)) {
                return;
            }
        }
        if self.is(Fault::Twice) {
            self.inbox().receive(vec![Arrival::Message(message.clone())]);
        }
        self.inbox().receive(vec![Arrival::Message(message)]);
    }
}

#[async_trait]
impl Broker for Broken {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        let broken = {
            let mut state = self.state.lock();
            if self.is(Fault::ClosesForGood) && state.closed.contains(&**namespace) {
                drop(state);
                return inbox.connected();
            }
            if let Some(broken) = state.open.get(namespace) {
                if self.is(Fault::LastInboxHears) {
                    *broken.inner.lock() = inbox;
                }
                return;
            }
            let (inner, deaf, was_connected) = (Mutex::new(inbox), AtomicBool::new(false), AtomicBool::new(false));
            let nobody = AtomicBool::new(false);
            let broken =
                Arc::new(BrokenInbox { inner, id: id.clone(), fault: self.fault, deaf, nobody, was_connected });
            state.open.insert(namespace.clone(), broken.clone());
            state.new = true;
            broken
        };
        self.inner.open(namespace, id, broken);
    }

    async fn close(&self, namespace: &str) {
        if !self.is(Fault::NeverCloses) {
            self.state.lock().open.remove(namespace);
            self.state.lock().closed.insert(namespace.to_owned());
            self.inner.close(namespace).await;
        }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        if self.is(Fault::PublishOnlyWhenOpen) && self.state.lock().open.is_empty() {
            return vec![Outcome::Again("not open".to_owned())];
        }
        let all = batch.len();
        let mut batch: Vec<Outgoing> = batch.iter().cloned().filter_map(|outgoing| self.changed(outgoing)).collect();
        match self.fault {
            Fault::BatchBackwards => batch.reverse(),
            Fault::SwapNow if batch.len() > 1 && self.published.fetch_add(1, Ordering::Relaxed) == 100 => {
                batch.swap(0, 1);
            }
            Fault::KeepsWhatFailed => {
                let failed = std::mem::take(&mut self.state.lock().failed);
                batch.splice(..0, failed);
            }
            Fault::AllNamespaces => {
                let names = ["/here", "/there"].map(Arc::<str>::from);
                let everywhere = |outgoing: &Outgoing| {
                    let message = outgoing.message.clone();
                    names.clone().map(move |namespace| Outgoing { namespace, message: message.clone() })
                };
                batch = batch.iter().flat_map(everywhere).collect();
            }
            Fault::PrefixesMatch => {
                let more: Vec<Outgoing> =
                    batch.iter().filter(|outgoing| &*outgoing.namespace == "/a#b").cloned().collect();
                batch.extend(more.into_iter().map(|outgoing| Outgoing { namespace: "/a".into(), ..outgoing }));
            }
            _ => {}
        }
        if self.fault.is_of_roads() {
            let meets = {
                let mut state = self.state.lock();
                state.under_way += 1;
                state.under_way > 1
            };
            // Time in which a batch of another road starts.
            tokio::task::yield_now().await;
            self.state.lock().under_way -= 1;
            match self.fault {
                Fault::OneBatchAtATime if meets => return vec![Outcome::Again("busy".to_owned())],
                Fault::RoadsMeet if meets => batch.rotate_left(1),
                _ => {}
            }
        }
        let outcomes = self.inner.publish(&batch).await;
        if outcomes.iter().all(|outcome| *outcome == Outcome::Sent) {
            return vec![Outcome::Sent; all];
        }
        match self.fault {
            Fault::PublishesIntoTheVoid => return vec![Outcome::Sent; all],
            Fault::KeepsWhatFailed => self.state.lock().failed = batch,
            _ => {}
        }
        outcomes
    }

    fn hears(&self, series: Series) -> Hears {
        match self.inner.hears(series) {
            Hears::Some if self.is(Fault::SaysThatItHearsAll) => Hears::All,
            Hears::Some if self.fault.is_of_roads() => Hears::EachRoom,
            hears => hears,
        }
    }

    fn route(&self, outgoing: &Outgoing) -> Route {
        let mut route = Route::default();
        if !self.fault.is_of_roads() {
            return route;
        }
        let room = match &outgoing.message.body {
            Body::Broadcast { target, .. } if Series::of(&outgoing.message.body) == Some(Series::Rooms) => {
                target.rooms.first().map_or(0, |room| 1 + u64::from(room.as_bytes()[0]))
            }
            _ => 0,
        };
        let asked = {
            let mut state = self.state.lock();
            state.asked += 1;
            state.asked
        };
        route.channel = 1 + room;
        match self.fault {
            Fault::RoadsByNumber if room == 0 => route.channel = asked,
            Fault::ChannelsOfARoomChange if room > 0 => route.channel = 1 + room + asked % 2,
            _ => {}
        }
        route.road = route.channel % 3;
        route
    }

    async fn ready(&self, road: u64) -> Result<(), BrokerError> {
        let (cut, was_cut) = {
            let state = self.state.lock();
            (state.cut, state.was_cut)
        };
        let barred = match self.fault {
            Fault::ReadyNeverAnswers if cut => std::future::pending().await,
            Fault::NeverReady => road == 1,
            Fault::NeverReadyAgain => was_cut,
            _ => cut,
        };
        if barred { Err(BrokerError("this road is barred".to_owned())) } else { Ok(()) }
    }

    fn looks(&self) -> bool {
        self.inner.looks()
    }

    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        let (wanted, new) = {
            let mut state = self.state.lock();
            if state.cut && self.is(Fault::DeafToLooksWhenCutOff) {
                return None;
            }
            let wanted = state.open.get(namespace).is_some_and(|broken| broken.wants(room));
            let asked = (namespace.to_owned(), room.clone());
            if !wanted && self.is(Fault::RemembersRoomsClosed) {
                state.looked.remove(&asked);
            }
            (wanted, wanted && state.looked.insert(asked))
        };
        match self.fault {
            Fault::LooksOnce | Fault::RemembersRoomsClosed if wanted && !new => return None,
            Fault::LeavesAllRooms if !wanted => self.forget_rooms(),
            Fault::NeverLooked => return Some(Box::pin(std::future::pending())),
            Fault::LookedEarly => {
                let (inner, namespace, room) = (self.inner.clone(), namespace.to_owned(), room.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    drop(inner.look(&namespace, &room));
                });
                return Some(Box::pin(async { Ok(()) }));
            }
            _ => {}
        }
        self.inner.look(namespace, room)
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        if self.is(Fault::CountsNobody) {
            return Ok(None);
        }
        let count = self.inner.count(namespace).await?.map_or(0, |count| count.servers);
        Ok(Some(Count::of(match self.fault {
            Fault::CountsItselfAlways => count.max(1),
            // A newcomer is left out once.
            Fault::CountedLate => count - usize::from(std::mem::take(&mut self.state.lock().new)),
            _ => count,
        })))
    }
}

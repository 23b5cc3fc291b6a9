//! [`NatsBroker`]: connects the servers of a cluster over NATS, with a subject for each room.

use super::client::{self, Client, Event, MAX_SUBJECT};
use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::Room;
use roomcast_adapter::cluster::{
    Arrival, Broker, BrokerError, Hears, Inbox, Looked, Message, Outcome, Outgoing, Series, ServerId, codec,
};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The broker of one server, with one connection. Its subjects are `roomcast.NAMESPACE.all`,
/// `roomcast.NAMESPACE.room.ROOM` and `roomcast.NAMESPACE.server.ID`, with names as [`token`] encodes them.
pub struct NatsBroker {
    state: Arc<Mutex<State>>,
    /// The task that follows the connection. It ends when this is dropped.
    _following: JoinSet<()>,
}

#[derive(Default)]
struct State {
    /// `None` while there is no connection.
    client: Option<Client<Then>>,
    open: HashMap<Arc<str>, Open>,
    /// The namespace of each subscription.
    subscriptions: HashMap<u64, Arc<str>>,
}

/// What to do once the server has processed everything sent before. Returns the inbox to call `connected` on.
type Then = Box<dyn FnOnce(&mut State) -> Option<Arc<dyn Inbox>> + Send>;

struct Open {
    inbox: Arc<dyn Inbox>,
    id: ServerId,
    connected: bool,
    /// The subscriptions for all servers and for this one.
    own: [u64; 2],
    /// The subscriptions for rooms.
    rooms: HashMap<Room, u64>,
}

impl State {
    fn subscribe(&mut self, namespace: &Arc<str>, kind: &str, name: Option<&str>) -> u64 {
        let Some(client) = &self.client else { return 0 };
        let number = client.subscribe(&subject(namespace, kind, name));
        self.subscriptions.insert(number, namespace.clone());
        number
    }

    fn unsubscribe(&mut self, number: u64) {
        if let (Some(_), Some(client)) = (self.subscriptions.remove(&number), &self.client) {
            client.unsubscribe(number);
        }
    }

    /// Subscribes to a namespace and its rooms.
    fn hear(&mut self, namespace: &Arc<str>) {
        let Some(mut open) = self.open.remove(namespace) else { return };
        let own = [self.subscribe(namespace, "all", None), self.subscribe(namespace, "server", Some(open.id.as_str()))];
        open.own = own;
        for (room, number) in &mut open.rooms {
            *number = self.subscribe(namespace, "room", Some(&**room));
        }
        self.open.insert(namespace.clone(), open);
        let namespace = namespace.clone();
        self.flush(Box::new(move |state| {
            // It may have been closed and opened again meanwhile.
            let open = state.open.get_mut(&namespace).filter(|open| open.own == own)?;
            open.connected = true;
            Some(open.inbox.clone())
        }));
    }

    fn flush(&self, then: Then) {
        if let Some(client) = &self.client {
            client.flush(then);
        }
    }

    /// Resolves when the server has processed everything sent before. Fails if there is no connection, or it ends.
    fn flushed(&self) -> oneshot::Receiver<()> {
        let (done, receiver) = oneshot::channel();
        self.flush(Box::new(|_| done.send(()).map_or(None, |()| None)));
        receiver
    }
}

/// A name as a token of a subject: every byte except letters, digits, `-` and `_` becomes `=` and two digits, and the
/// empty name becomes `=`.
fn token(name: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let spelled = |byte| if safe(byte) { char::from(byte).to_string() } else { format!("={byte:02X}") };
    if name.is_empty() { "=".to_owned() } else { name.bytes().map(spelled).collect() }
}

fn subject(namespace: &str, kind: &str, name: Option<&str>) -> String {
    let name = name.map_or(String::new(), |name| format!(".{}", token(name)));
    format!("roomcast.{}.{kind}{name}", token(namespace))
}

fn subject_of(namespace: &str, message: &Message) -> String {
    match (&message.to, message.body.room()) {
        (Some(to), _) => subject(namespace, "server", Some(to.as_str())),
        (None, Some(room)) => subject(namespace, "room", Some(room)),
        (None, None) => subject(namespace, "all", None),
    }
}

/// Follows the connection. Inboxes are called outside the lock, as they may call `look`.
fn follow(state: &Mutex<State>, together: &mut Vec<(Arc<dyn Inbox>, Vec<Arrival>)>, event: Event<Then>) {
    if let Event::Message(number, payload) = event {
        let state = state.lock();
        let open = state.subscriptions.get(&number).and_then(|namespace| state.open.get(namespace));
        // Messages that arrive before `connected` was called are not for this inbox.
        let Some(inbox) = open.filter(|open| open.connected).map(|open| open.inbox.clone()) else { return };
        drop(state);
        let decoded = codec::decode(&payload).map(Arrival::Message);
        let arrival = decoded.unwrap_or_else(|error| Arrival::Malformed(error.to_string()));
        match together.last_mut() {
            Some((last, arrivals)) if Arc::ptr_eq(last, &inbox) => arrivals.push(arrival),
            _ => together.push((inbox, vec![arrival])),
        }
        return;
    }
    together.drain(..).for_each(|(inbox, arrivals)| inbox.receive(arrivals));
    match event {
        Event::Connected(client) => {
            let mut state = state.lock();
            state.client = Some(client);
            let namespaces: Vec<Arc<str>> = state.open.keys().cloned().collect();
            namespaces.iter().for_each(|namespace| state.hear(namespace));
        }
        Event::Flushed(then) => {
            let opened = then(&mut state.lock());
            opened.into_iter().for_each(|inbox| inbox.connected());
        }
        Event::Disconnected => {
            let mut state = state.lock();
            let client = state.client.take();
            state.subscriptions.clear();
            let connected = |open: &mut Open| std::mem::take(&mut open.connected).then(|| open.inbox.clone());
            let lost: Vec<Arc<dyn Inbox>> = state.open.values_mut().filter_map(connected).collect();
            drop((state, client));
            lost.iter().for_each(|inbox| inbox.lost());
        }
        Event::Message(..) | Event::Together => {}
    }
}

impl NatsBroker {
    /// A broker that connects to the NATS server at `address` (`127.0.0.1:4222`, say), and reconnects when it must.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(address: &str) -> Arc<Self> {
        let (address, state) = (address.to_owned(), Arc::<Mutex<State>>::default());
        let (shared, mut together, mut following) = (state.clone(), Vec::new(), JoinSet::new());
        following.spawn(async move { client::run(&address, |event| follow(&shared, &mut together, event)).await });
        Arc::new(Self { state, _following: following })
    }
}

#[async_trait]
impl Broker for NatsBroker {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        let mut state = self.state.lock();
        if !state.open.contains_key(namespace) {
            let open = Open { inbox, id: id.clone(), connected: false, own: [0; 2], rooms: HashMap::new() };
            state.open.insert(namespace.clone(), open);
            state.hear(namespace);
        }
    }

    async fn close(&self, namespace: &str) {
        let flushed = {
            let mut state = self.state.lock();
            let Some(open) = state.open.remove(namespace) else { return };
            open.own.into_iter().chain(open.rooms.into_values()).for_each(|number| state.unsubscribe(number));
            state.flushed()
        };
        // A message may be in flight to the inbox. Without a connection there is none.
        let _ = flushed.await;
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        let encode = |it: &Outgoing| (subject_of(&it.namespace, &it.message), codec::encode(&it.message));
        let (largest, encoded) = (self.largest(), batch.iter().map(encode).collect::<Vec<(String, Vec<u8>)>>());
        let fits = |(subject, payload): &&(String, Vec<u8>)| payload.len() <= largest && subject.len() <= MAX_SUBJECT;
        let flushed = {
            let state = self.state.lock();
            if let Some(client) = &state.client {
                encoded.iter().filter(fits).for_each(|(subject, payload)| client.publish(subject, payload));
            }
            state.flushed()
        };
        let went_out = flushed.await.is_ok();
        let outcome = |message: &(String, Vec<u8>)| match (fits(&message), went_out) {
            (false, _) => Outcome::Never(format!("it, of {} bytes, or a name is too long for NATS", message.1.len())),
            (true, true) => Outcome::Sent,
            (true, false) => Outcome::Again("no connection to NATS".to_owned()),
        };
        encoded.iter().map(outcome).collect()
    }

    fn hears(&self, series: Series) -> Hears {
        if series == Series::Main { Hears::All } else { Hears::Some }
    }

    fn looks(&self) -> bool {
        true
    }

    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        let mut state = self.state.lock();
        let (namespace, open) = state.open.get_key_value(namespace)?;
        // Under the lock, so that of two concurrent looks the later one decides.
        let (wants, heard, namespace) = (open.inbox.wants(room), open.rooms.get(room).copied(), namespace.clone());
        if !wants {
            state.unsubscribe(heard?);
            state.open.get_mut(&namespace)?.rooms.remove(room);
            return None;
        }
        if heard.is_none() {
            let number = state.subscribe(&namespace, "room", Some(&**room));
            state.open.get_mut(&namespace)?.rooms.insert(room.clone(), number);
        }
        // If the room is subscribed already, this costs only a round trip. Without a connection, the room is subscribed
        // by the time `connected` is called.
        let flushed = state.flushed();
        Some(Box::pin(async { flushed.await.map_err(|_| BrokerError("no connection to NATS".to_owned())) }))
    }

    fn largest(&self) -> usize {
        // NATS states its limit when a connection opens: 1 MiB, unless it is configured otherwise.
        self.state.lock().client.as_ref().map_or(codec::MAX_BYTES, |client| client.max_payload.min(codec::MAX_BYTES))
    }
}

impl std::fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBroker").finish_non_exhaustive()
    }
}

//! [`Link`]: what the sockets of one connection share: which there are, how many handlers run, and the input that is kept while a socket
//! enters its namespace.

use crate::error::ConnectError;
use crate::limits::LEFT_NAMESPACES;
use crate::rates::ConnectionRates;
use parking_lot::Mutex;
use roomcast_engine::{CloseReason, Connection};
use roomcast_protocol::{Args, Parser, Received};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What the sockets of one connection share. `S` is [`Socket`](crate::Socket).
pub(crate) struct Link<S> {
    pub(crate) connection: Arc<Connection>,
    /// If the server limits rates.
    pub(crate) rates: Option<Box<ConnectionRates>>,
    state: Mutex<State<S>>,
}

/// What a link needs to know of a socket.
pub(crate) trait Linked: Clone + PartialEq {
    fn namespace_name(&self) -> &Arc<str>;
}

/// Who ends a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndedBy {
    /// The client, or its connection.
    Client,
    /// The application; the client is told.
    Server,
    /// The close of the server; the client is not told, as in Node.
    Shutdown,
}

struct State<S> {
    /// Sockets that are connected or connecting, at most one per namespace.
    sockets: SmallVec<[S; 1]>,
    /// Whether the client has joined a namespace, now or earlier.
    joined: bool,
    /// Whether the connection has ended.
    closed: bool,
    /// Handlers that run; one with a large event counts for several.
    handlers: u32,
    /// As many as may run; while they do, nothing is read.
    max_handlers: u32,
    /// Sockets that are entering their namespaces: at most one for each namespace. With a `u16` a link takes 88 bytes, a step less of the
    /// allocator's.
    entering: u16,
    /// Number of the latest hold.
    holds: u32,
    /// Allocated only while there is something in it.
    rare: Option<Box<Rare>>,
}

/// What most connections never have.
#[derive(Default)]
struct Rare {
    /// Tasks that wait until reading may go on: one, or two while a POST waits and a WebSocket has overtaken it.
    waiting: SmallVec<[Waker; 2]>,
    /// Namespaces that asynchronous patterns are deciding about.
    undecided: Vec<Arc<str>>,
    /// Namespaces from which the server disconnected the client, the latest last. What the client sent before it received the
    /// DISCONNECT still arrives, and is no fault.
    left: VecDeque<Arc<str>>,
    /// What the client sent to namespaces that its sockets are entering: at most one queue for each.
    kept: SmallVec<[Queue; 1]>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.undecided.is_empty() && self.left.is_empty() && self.kept.is_empty()
    }
}

/// Input that is kept for one namespace.
struct Queue {
    namespace: Arc<str>,
    /// The hold whose owner handles it.
    number: u32,
    packets: VecDeque<Kept>,
}

/// Where a packet goes.
pub(crate) enum Route<S> {
    /// It is kept.
    Kept,
    /// To that socket, if there is one.
    To(Option<S>),
}

/// Input that is kept, in an owned form.
#[derive(Debug)]
pub(crate) enum Kept {
    Connect {
        auth: Option<String>,
    },
    Event {
        name: String,
        args: Args,
        id: Option<u64>,
    },
    Disconnect,
    /// The connection has ended.
    End(CloseReason),
}

impl Kept {
    /// An acknowledgement is never kept, as a handler may be waiting for it. CONNECT_ERROR is a fault at any time.
    fn of(packet: &Received<'_>) -> Option<Self> {
        Some(match packet {
            Received::Connect { auth, .. } => Self::Connect { auth: auth.map(str::to_owned) },
            Received::Event { id, event, .. } => {
                Self::Event { name: event.name.clone().into_owned(), args: event.args.to_owned(), id: *id }
            }
            Received::Disconnect { .. } => Self::Disconnect,
            Received::Ack { .. } | Received::ConnectError { .. } => return None,
        })
    }
}

impl<S: Linked> State<S> {
    fn queue(&mut self, is_it: impl Fn(&Queue) -> bool) -> Option<&mut Queue> {
        self.rare.as_mut()?.kept.iter_mut().find(|queue| is_it(queue))
    }

    fn is_ready(&self) -> bool {
        self.handlers < self.max_handlers && self.entering == 0
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn named(&self, namespace: &str) -> Option<S> {
        self.sockets.iter().find(|socket| **socket.namespace_name() == *namespace).cloned()
    }

    /// Removes something from `rare`, and frees it if nothing is left.
    fn reduce(&mut self, remove: impl FnOnce(&mut Rare)) {
        if let Some(mut rare) = self.rare.take() {
            remove(&mut rare);
            self.rare = Some(rare).filter(|rare| !rare.is_empty());
        }
    }

    /// The tasks to wake if reading may go on.
    fn ready(&mut self) -> SmallVec<[Waker; 2]> {
        let mut ready = SmallVec::new();
        if self.is_ready() {
            self.reduce(|rare| ready = std::mem::take(&mut rare.waiting));
        }
        ready
    }
}

/// A handler that runs.
pub(crate) struct HandlerGuard<S: Linked> {
    link: Arc<Link<S>>,
    weight: u32,
}

impl<S: Linked> Drop for HandlerGuard<S> {
    fn drop(&mut self) {
        let weight = self.weight;
        self.link.change(|state| state.handlers -= weight);
    }
}

/// While this exists, nothing more is read from the connection, and input for the namespace that was read already (by one read of a
/// WebSocket, or from one POST) is kept.
pub(crate) struct InputHold<S: Linked> {
    link: Arc<Link<S>>,
    number: u32,
}

impl<S: Linked> InputHold<S> {
    /// The next packet that was kept, in the order sent. After `None` nothing is kept any more: input goes to the socket itself.
    pub(crate) fn next(&self) -> Option<Kept> {
        let mut state = self.link.state.lock();
        let next = state.queue(|queue| queue.number == self.number)?.packets.pop_front();
        if next.is_none() {
            state.reduce(|rare| rare.kept.retain(|queue| queue.number != self.number));
        }
        next
    }
}

impl<S: Linked> Drop for InputHold<S> {
    fn drop(&mut self) {
        self.link.change(|state| state.entering -= 1);
    }
}

impl<S: Linked> Link<S> {
    /// While `max_handlers` handlers run, nothing is read from the connection.
    pub(crate) fn new(
        connection: Arc<Connection>,
        max_handlers: usize,
        rates: Option<Box<ConnectionRates>>,
    ) -> Arc<Self> {
        let state = State {
            sockets: SmallVec::new(),
            joined: false,
            closed: false,
            handlers: 0,
            max_handlers: u32::try_from(max_handlers).unwrap_or(u32::MAX),
            entering: 0,
            holds: 0,
            rare: None,
        };
        Arc::new(Self { connection, rates, state: Mutex::new(state) })
    }

    fn change(&self, change: impl FnOnce(&mut State<S>)) {
        let ready = {
            let mut state = self.state.lock();
            change(&mut state);
            state.ready()
        };
        ready.into_iter().for_each(Waker::wake);
    }

    // --- reading ---

    /// A handler begins.
    pub(crate) fn handler(self: &Arc<Self>) -> HandlerGuard<S> {
        self.weighty_handler(1)
    }

    /// A handler begins that counts for so many ([`Config::weight`](crate::config::Config::weight)).
    pub(crate) fn weighty_handler(self: &Arc<Self>, weight: u32) -> HandlerGuard<S> {
        let mut state = self.state.lock();
        // It takes back what it adds, whatever other handlers weigh.
        let weight = weight.min(u32::MAX - state.handlers);
        state.handlers += weight;
        drop(state);
        HandlerGuard { link: self.clone(), weight }
    }

    /// A socket enters that namespace. What an earlier hold of the namespace has kept goes over to this one.
    pub(crate) fn hold(self: &Arc<Self>, namespace: &Arc<str>) -> InputHold<S> {
        let mut state = self.state.lock();
        state.entering += 1;
        state.holds = state.holds.wrapping_add(1);
        let number = state.holds;
        let rare = state.rare();
        match rare.kept.iter_mut().find(|queue| queue.namespace == *namespace) {
            Some(queue) => queue.number = number,
            None => rare.kept.push(Queue { namespace: namespace.clone(), number, packets: VecDeque::new() }),
        }
        InputHold { link: self.clone(), number }
    }

    /// Where a packet goes. It is kept if a socket is entering its namespace.
    pub(crate) fn route(&self, namespace: &str, packet: &Received<'_>) -> Route<S> {
        let mut state = self.state.lock();
        if let Some(queue) = state.queue(|queue| *queue.namespace == *namespace)
            && let Some(kept) = Kept::of(packet)
        {
            queue.packets.push_back(kept);
            return Route::Kept;
        }
        Route::To(state.named(namespace))
    }

    pub(crate) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.is_ready() {
            return Poll::Ready(());
        }
        let waiting = &mut state.rare().waiting;
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    // --- sockets ---

    pub(crate) fn sockets(&self) -> Vec<S> {
        self.state.lock().sockets.to_vec()
    }

    /// The socket in the namespace of that name, if there is one.
    pub(crate) fn named(&self, namespace: &str) -> Option<S> {
        self.state.lock().named(namespace)
    }

    /// Adds a socket; `false` if the connection has ended.
    pub(crate) fn add(&self, socket: &S) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.sockets.push(socket.clone());
        true
    }

    /// Removes a socket that has ended. If the server ended it, what is kept for it is dropped; if the client is told so by a
    /// DISCONNECT, what it sends until it receives that is no fault.
    pub(crate) fn remove(&self, socket: &S, by: EndedBy) {
        let namespace = socket.namespace_name();
        let mut state = self.state.lock();
        state.sockets.retain(|other| other != socket);
        if state.sockets.is_empty() {
            state.sockets = SmallVec::new();
        }
        if by != EndedBy::Client
            && let Some(queue) = state.queue(|queue| queue.namespace == *namespace)
        {
            queue.packets.clear();
        }
        if by == EndedBy::Server && !state.closed {
            let left = &mut state.rare().left;
            if left.len() == LEFT_NAMESPACES {
                left.pop_front();
            }
            left.push_back(namespace.clone());
        }
    }

    /// Whether the server disconnected the client from that namespace lately.
    pub(crate) fn has_left(&self, namespace: &str) -> bool {
        let state = self.state.lock();
        state.rare.as_ref().is_some_and(|rare| rare.left.iter().any(|left| **left == *namespace))
    }

    // --- joining ---

    /// Number of namespaces that the client has joined or asked for.
    pub(crate) fn namespaces(&self) -> usize {
        let state = self.state.lock();
        state.sockets.len() + state.rare.as_ref().map_or(0, |rare| rare.undecided.len())
    }

    pub(crate) fn is_undecided(&self, namespace: &str) -> bool {
        let state = self.state.lock();
        state.rare.as_ref().is_some_and(|rare| rare.undecided.iter().any(|name| **name == *namespace))
    }

    /// The client asks again for a namespace that it may have left.
    pub(crate) fn forget_left(&self, namespace: &str) {
        self.state.lock().reduce(|rare| rare.left.retain(|left| **left != *namespace));
    }

    /// Asynchronous patterns begin to decide about that namespace.
    pub(crate) fn begin_decision(&self, namespace: Arc<str>) {
        self.state.lock().rare().undecided.push(namespace);
    }

    pub(crate) fn end_decision(&self, namespace: &str) {
        self.state.lock().reduce(|rare| rare.undecided.retain(|name| **name != *namespace));
    }

    /// Tells the client by a CONNECT_ERROR that it may not join that namespace.
    pub(crate) fn refuse(&self, parser: Parser, namespace: &str, error: &ConnectError) {
        if let Ok(packet) = parser.connect_error(namespace, &error.to_json()) {
            self.connection.send(&Arc::new(packet)).wake();
        }
    }

    /// The client has joined a namespace.
    pub(crate) fn joined(&self) {
        self.state.lock().joined = true;
        self.connection.establish();
    }

    pub(crate) fn has_joined(&self) -> bool {
        self.state.lock().joined
    }

    /// The connection has ended. Returns the sockets that end now; a socket for which input is kept ends when that is handled.
    pub(crate) fn close(&self, reason: CloseReason) -> Vec<S> {
        let mut state = self.state.lock();
        state.closed = true;
        let mut sockets = state.sockets.to_vec();
        sockets.retain(|socket| match state.queue(|queue| queue.namespace == *socket.namespace_name()) {
            Some(queue) => {
                queue.packets.push_back(Kept::End(reason));
                false
            }
            None => true,
        });
        sockets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_engine::{Engine, EngineConfig, SessionHandler};
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc::channel;
    use std::task::Wake;
    use tower_service::Service;

    const HANDLERS: usize = 3;

    /// A socket of that namespace.
    #[derive(Clone, PartialEq)]
    struct Member(Arc<str>);

    impl Linked for Member {
        fn namespace_name(&self) -> &Arc<str> {
            &self.0
        }
    }

    struct Nobody;

    impl SessionHandler for Nobody {
        fn text(&mut self, _: &str) {}
        fn binary(&mut self, _: &[u8]) {}
        fn closed(&mut self, _: CloseReason) {}
    }

    /// The link of a session by polling.
    async fn link() -> Arc<Link<Member>> {
        let (opened, connections) = channel();
        let engine =
            Engine::new(EngineConfig::default(), move |connection: &Arc<Connection>| -> Box<dyn SessionHandler> {
                opened.send(connection.clone()).unwrap();
                Box::new(Nobody)
            });
        let path = engine.config().path.clone();
        let request = http::Request::get(format!("{path}?EIO=4&transport=polling")).body(String::new()).unwrap();
        let _ = engine.into_service().call(request).await;
        Link::new(connections.recv().unwrap(), HANDLERS, None)
    }

    #[derive(Default)]
    struct Asker(AtomicUsize);

    impl Wake for Asker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn is_ready(link: &Link<Member>, asker: &Arc<Asker>) -> bool {
        link.poll_ready(&Context::from_waker(&Waker::from(asker.clone()))).is_ready()
    }

    /// A POST that waits and the WebSocket that has overtaken it both wait for reading to go on, and both are woken.
    #[tokio::test]
    async fn each_asker_is_woken() {
        let (link, post, websocket) = (link().await, Arc::<Asker>::default(), Arc::<Asker>::default());
        let mut working: Vec<HandlerGuard<Member>> = (0..HANDLERS).map(|_| link.handler()).collect();
        assert!(!is_ready(&link, &post) && !is_ready(&link, &websocket) && !is_ready(&link, &post));
        working.pop();
        assert_eq!((post.0.load(SeqCst), websocket.0.load(SeqCst)), (1, 1));
        assert!(is_ready(&link, &post) && is_ready(&link, &websocket));
        drop(working);
        assert_eq!((post.0.load(SeqCst), websocket.0.load(SeqCst)), (1, 1));
    }

    /// While a socket enters its namespace nothing is read, and what was read for that namespace is kept, except for ACKs.
    #[tokio::test]
    async fn input_is_held_while_a_socket_enters() {
        let (link, asker) = (link().await, Arc::<Asker>::default());
        let name: Arc<str> = "/a".into();
        let leave = Received::Disconnect { namespace: "/a" };
        let keeps = |namespace: &str, packet: &Received<'_>| matches!(link.route(namespace, packet), Route::Kept);
        assert!(!keeps("/a", &leave));
        let held = link.hold(&name);
        assert!(!is_ready(&link, &asker));
        assert!(keeps("/a", &leave) && !keeps("/b", &leave));
        let args = roomcast_protocol::ArgsRef { items: "", attachments: &[] };
        assert!(!keeps("/a", &Received::Ack { namespace: "/a", id: Some(1), args }));
        assert!(matches!(held.next(), Some(Kept::Disconnect)));
        assert!(keeps("/a", &leave), "input that arrives meanwhile waits behind it");
        // A second hold of the same namespace takes over what is left.
        let inner = link.hold(&name);
        assert!(held.next().is_none());
        assert!(matches!(inner.next(), Some(Kept::Disconnect)) && inner.next().is_none());
        assert!(!keeps("/a", &leave), "input goes to the socket again");
        drop(inner);
        assert_eq!(asker.0.load(SeqCst), 0, "the first hold still exists");
        drop(held);
        assert_eq!(asker.0.load(SeqCst), 1);
        assert!(is_ready(&link, &asker) && link.state.lock().rare.is_none(), "nothing is left of it");
    }
}

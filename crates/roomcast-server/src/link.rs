//! [`Link`]: what the sockets of one connection share, and what is kept of its input while a socket steps into its namespace.

use crate::limits::LEFT_NAMESPACES;
use crate::namespace::Namespace;
use crate::socket::{By, Socket};
use parking_lot::Mutex;
use roomcast_engine::{CloseReason, Connection};
use roomcast_protocol::{Args, Received};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What the sockets of one connection share.
pub(crate) struct Link {
    pub(crate) connection: Arc<Connection>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Sockets that are connected or connecting, at most one per namespace.
    sockets: SmallVec<[Socket; 1]>,
    /// A namespace was joined once.
    joined: bool,
    /// The connection is over.
    closed: bool,
    /// Handlers under way.
    handlers: u32,
    /// Most of them; then nothing is read.
    most_handlers: u32,
    /// Sockets that are taking the step into their namespaces.
    entering: u32,
    /// Number of such steps so far.
    steps: u32,
    /// Only while there is something in it.
    rare: Option<Box<Rare>>,
}

/// What most connections never have.
#[derive(Default)]
struct Rare {
    /// Tasks that wait until more may be read: one, or two while a POST is held and a WebSocket has overtaken it.
    waiting: SmallVec<[Waker; 2]>,
    /// Namespaces that asynchronous patterns decide about.
    undecided: Vec<Arc<str>>,
    /// Namespaces that the server took the client out of, the latest last: what the client had sent before it heard of it
    /// still comes.
    left: VecDeque<Arc<str>>,
    /// What the client sent to namespaces that its sockets are stepping into, one or none for each.
    kept: SmallVec<[Queue; 1]>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.undecided.is_empty() && self.left.is_empty() && self.kept.is_empty()
    }
}

struct Queue {
    namespace: Arc<str>,
    /// Who works it off.
    number: u32,
    packets: VecDeque<Kept>,
}

/// Where a packet goes.
pub(crate) enum Route {
    /// It is kept.
    Kept,
    /// To that socket, if there is one.
    To(Option<Socket>),
}

/// What the client sent, and what became of it.
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
    /// An acknowledgement is never kept: somebody may wait for it. CONNECT_ERROR is out of turn at any time.
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

impl State {
    fn queue(&mut self, is_it: impl Fn(&Queue) -> bool) -> Option<&mut Queue> {
        self.rare.as_mut()?.kept.iter_mut().find(|queue| is_it(queue))
    }

    fn is_ready(&self) -> bool {
        self.handlers < self.most_handlers && self.entering == 0
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn named(&self, namespace: &str) -> Option<Socket> {
        self.sockets.iter().find(|socket| socket.namespace().name() == namespace).cloned()
    }

    /// Takes something out of what is rare.
    fn lessen(&mut self, take: impl FnOnce(&mut Rare)) {
        if let Some(mut rare) = self.rare.take() {
            take(&mut rare);
            self.rare = Some(rare).filter(|rare| !rare.is_empty());
        }
    }

    /// Whom to wake once more may be read.
    fn ready(&mut self) -> SmallVec<[Waker; 2]> {
        let mut ready = SmallVec::new();
        if self.is_ready() {
            self.lessen(|rare| ready = std::mem::take(&mut rare.waiting));
        }
        ready
    }
}

/// One handler under way.
pub(crate) struct Working(Arc<Link>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.change(|state| state.handlers -= 1);
    }
}

/// While this is held nothing is read of the connection, and what was read already of that namespace, one read of a WebSocket
/// or one POST, is kept.
pub(crate) struct Held {
    link: Arc<Link>,
    number: u32,
}

impl Held {
    /// What was kept, one by one, in order. After `None` nothing is kept any more: what comes is for the socket itself.
    pub(crate) fn next(&self) -> Option<Kept> {
        let mut state = self.link.state.lock();
        let next = state.queue(|queue| queue.number == self.number)?.packets.pop_front();
        if next.is_none() {
            state.lessen(|rare| rare.kept.retain(|queue| queue.number != self.number));
        }
        next
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.link.change(|state| state.entering -= 1);
    }
}

impl Link {
    /// `most_handlers`: so many may be under way while it is read.
    pub(crate) fn new(connection: Arc<Connection>, most_handlers: usize) -> Arc<Self> {
        let most_handlers = u32::try_from(most_handlers).unwrap_or(u32::MAX);
        Arc::new(Self { connection, state: Mutex::new(State { most_handlers, ..State::default() }) })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let ready = {
            let mut state = self.state.lock();
            change(&mut state);
            state.ready()
        };
        ready.into_iter().for_each(Waker::wake);
    }

    // --- reading ---

    pub(crate) fn working(self: &Arc<Self>) -> Working {
        self.state.lock().handlers += 1;
        Working(self.clone())
    }

    /// A socket steps into that namespace. What is kept of an earlier step is from now on this one's to work off.
    pub(crate) fn hold(self: &Arc<Self>, namespace: &Arc<str>) -> Held {
        let mut state = self.state.lock();
        state.entering += 1;
        state.steps = state.steps.wrapping_add(1);
        let number = state.steps;
        let rare = state.rare();
        match rare.kept.iter_mut().find(|queue| queue.namespace == *namespace) {
            Some(queue) => queue.number = number,
            None => rare.kept.push(Queue { namespace: namespace.clone(), number, packets: VecDeque::new() }),
        }
        Held { link: self.clone(), number }
    }

    /// Where a packet goes. It is kept if a socket is stepping into its namespace.
    pub(crate) fn route(&self, namespace: &str, packet: &Received<'_>) -> Route {
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

    pub(crate) fn sockets(&self) -> Vec<Socket> {
        self.state.lock().sockets.to_vec()
    }

    pub(crate) fn find(&self, namespace: &Namespace) -> Option<Socket> {
        self.state.lock().sockets.iter().find(|socket| socket.namespace() == namespace).cloned()
    }

    pub(crate) fn named(&self, namespace: &str) -> Option<Socket> {
        self.state.lock().named(namespace)
    }

    /// Takes a socket in; `false` if the connection is over.
    pub(crate) fn admit(&self, socket: &Socket) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        state.sockets.push(socket.clone());
        true
    }

    /// The socket is no more. If the server ended it, what is kept for it is dropped; if the client is told, what it sent
    /// meanwhile is no fault of its.
    pub(crate) fn forget(&self, socket: &Socket, by: By) {
        let namespace = socket.namespace().shared_name();
        let mut state = self.state.lock();
        state.sockets.retain(|other| other != socket);
        if state.sockets.is_empty() {
            state.sockets = SmallVec::new();
        }
        if by != By::Client
            && let Some(queue) = state.queue(|queue| queue.namespace == *namespace)
        {
            queue.packets.clear();
        }
        if by == By::Server && !state.closed {
            let left = &mut state.rare().left;
            if left.len() == LEFT_NAMESPACES {
                left.pop_front();
            }
            left.push_back(namespace.clone());
        }
    }

    /// Whether the server took the client out of that namespace lately.
    pub(crate) fn has_left(&self, namespace: &str) -> bool {
        let state = self.state.lock();
        state.rare.as_ref().is_some_and(|rare| rare.left.iter().any(|left| **left == *namespace))
    }

    // --- joining ---

    /// Number of namespaces that are joined or asked for.
    pub(crate) fn asked(&self) -> usize {
        let state = self.state.lock();
        state.sockets.len() + state.rare.as_ref().map_or(0, |rare| rare.undecided.len())
    }

    pub(crate) fn is_undecided(&self, namespace: &str) -> bool {
        let state = self.state.lock();
        state.rare.as_ref().is_some_and(|rare| rare.undecided.iter().any(|name| **name == *namespace))
    }

    /// The client asks for a namespace that it is not in.
    pub(crate) fn asks(&self, namespace: &str) {
        self.state.lock().lessen(|rare| rare.left.retain(|left| **left != *namespace));
    }

    pub(crate) fn decide(&self, namespace: Arc<str>) {
        self.state.lock().rare().undecided.push(namespace);
    }

    pub(crate) fn decided(&self, namespace: &str) {
        self.state.lock().lessen(|rare| rare.undecided.retain(|name| **name != *namespace));
    }

    /// A namespace was joined.
    pub(crate) fn joined(&self) {
        self.state.lock().joined = true;
        self.connection.establish();
    }

    pub(crate) fn has_joined(&self) -> bool {
        self.state.lock().joined
    }

    /// The connection is over for this reason; the sockets that end now. Others hear of it after what is kept for them.
    pub(crate) fn close(&self, reason: CloseReason) -> Vec<Socket> {
        let mut state = self.state.lock();
        state.closed = true;
        let mut sockets = state.sockets.to_vec();
        sockets.retain(|socket| match state.queue(|queue| *queue.namespace == *socket.namespace().name()) {
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

    struct Nobody;

    impl SessionHandler for Nobody {
        fn text(&mut self, _: &str) {}
        fn binary(&mut self, _: &[u8]) {}
        fn closed(&mut self, _: CloseReason) {}
    }

    /// The link of a session by polling.
    async fn link() -> Arc<Link> {
        let (opened, connections) = channel();
        let engine =
            Engine::new(EngineConfig::default(), move |connection: &Arc<Connection>| -> Box<dyn SessionHandler> {
                opened.send(connection.clone()).unwrap();
                Box::new(Nobody)
            });
        let path = engine.config().path.clone();
        let request = http::Request::get(format!("{path}?EIO=4&transport=polling")).body(String::new()).unwrap();
        let _ = engine.into_service().call(request).await;
        Link::new(connections.recv().unwrap(), HANDLERS)
    }

    #[derive(Default)]
    struct Asker(AtomicUsize);

    impl Wake for Asker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn is_ready(link: &Link, asker: &Arc<Asker>) -> bool {
        link.poll_ready(&Context::from_waker(&Waker::from(asker.clone()))).is_ready()
    }

    /// A POST that is held and the WebSocket that has overtaken it both ask, and both are woken.
    #[tokio::test]
    async fn each_asker_is_woken() {
        let (link, post, websocket) = (link().await, Arc::<Asker>::default(), Arc::<Asker>::default());
        let mut working: Vec<Working> = (0..HANDLERS).map(|_| link.working()).collect();
        assert!(!is_ready(&link, &post) && !is_ready(&link, &websocket) && !is_ready(&link, &post));
        working.pop();
        assert_eq!((post.0.load(SeqCst), websocket.0.load(SeqCst)), (1, 1));
        assert!(is_ready(&link, &post) && is_ready(&link, &websocket));
        drop(working);
        assert_eq!((post.0.load(SeqCst), websocket.0.load(SeqCst)), (1, 1));
    }

    /// While a socket steps into its namespace nothing is read, and what was read of that namespace is kept, ACKs left out.
    #[tokio::test]
    async fn a_step_holds_the_input() {
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
        assert!(keeps("/a", &leave), "what comes meanwhile waits in its turn");
        // A step of the same namespace takes over what is left.
        let inner = link.hold(&name);
        assert!(held.next().is_none());
        assert!(matches!(inner.next(), Some(Kept::Disconnect)) && inner.next().is_none());
        assert!(!keeps("/a", &leave), "it is the socket's own again");
        drop(inner);
        assert_eq!(asker.0.load(SeqCst), 0, "one is held still");
        drop(held);
        assert_eq!(asker.0.load(SeqCst), 1);
        assert!(is_ready(&link, &asker) && link.state.lock().rare.is_none(), "nothing is left of it");
    }
}

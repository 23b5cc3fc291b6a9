//! Which handlers an event has: [`EventTable`] is a namespace's, [`OwnEvents`] a socket's, and [`Found`] what both have for one event.

use crate::context::{HandlerContext, HandlerName};
use crate::handler::BoxedEvent;
use crate::listener_id::ListenerId;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// What a namespace has for events of its sockets, or of other servers.
pub(crate) struct EventTable<C: HandlerContext> {
    named: HashMap<HandlerName, SmallVec<[BoxedEvent<C>; 1]>, RandomState>,
    observers: Vec<BoxedEvent<C>>,
    middlewares: Vec<BoxedEvent<C>>,
    fallback: Option<BoxedEvent<C>>,
}

/// What there is for one event, in the order in which it is called: of the pattern, of the namespace, of the socket.
pub(crate) struct Found<C: HandlerContext> {
    /// The middlewares have let the event pass.
    passed: bool,
    pub(crate) observers: SmallVec<[BoxedEvent<C>; 1]>,
    pub(crate) middlewares: SmallVec<[BoxedEvent<C>; 1]>,
    pub(crate) handlers: SmallVec<[BoxedEvent<C>; 2]>,
    /// The most specific one.
    pub(crate) fallback: Option<BoxedEvent<C>>,
}

impl<C: HandlerContext> EventTable<C> {
    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.observers.is_empty() && self.middlewares.is_empty() && self.fallback.is_none()
    }

    pub(crate) fn add(&mut self, event: HandlerName, handler: BoxedEvent<C>) {
        self.named.entry(event).or_default().push(handler);
    }

    pub(crate) fn remove(&mut self, event: &str) {
        self.named.remove(event);
    }

    pub(crate) fn observe(&mut self, handler: BoxedEvent<C>) {
        self.observers.push(handler);
    }

    pub(crate) fn observe_first(&mut self, handler: BoxedEvent<C>) {
        self.observers.insert(0, handler);
    }

    pub(crate) fn observe_no_more(&mut self) {
        self.observers = Vec::new();
    }

    pub(crate) fn add_middleware(&mut self, middleware: BoxedEvent<C>) {
        self.middlewares.push(middleware);
    }

    pub(crate) fn set_fallback(&mut self, handler: BoxedEvent<C>) {
        self.fallback = Some(handler);
    }

    /// Adds what it has for an event.
    pub(crate) fn find(&self, event: &str, found: &mut Found<C>) {
        if let Some(handlers) = self.named.get(event) {
            found.handlers.extend(handlers.iter().cloned());
        }
        if !found.passed {
            found.observers.extend(self.observers.iter().cloned());
            found.middlewares.extend(self.middlewares.iter().cloned());
        }
        if self.fallback.is_some() {
            found.fallback.clone_from(&self.fallback);
        }
    }
}

impl<C: HandlerContext> Default for EventTable<C> {
    fn default() -> Self {
        Self { named: HashMap::default(), observers: Vec::new(), middlewares: Vec::new(), fallback: None }
    }
}

impl<C: HandlerContext> Default for Found<C> {
    fn default() -> Self {
        Self {
            passed: false,
            observers: SmallVec::new(),
            middlewares: SmallVec::new(),
            handlers: SmallVec::new(),
            fallback: None,
        }
    }
}

impl<C: HandlerContext> Found<C> {
    /// For an event that its middlewares have let pass: observers and middlewares are not found again.
    pub(crate) fn passed() -> Self {
        Self { passed: true, ..Self::default() }
    }

    /// The handlers of its name, or else the fallback; and whether its arguments begin with the event's name.
    pub(crate) fn into_handlers(mut self) -> (SmallVec<[BoxedEvent<C>; 2]>, bool) {
        let named = self.handlers.is_empty();
        if named {
            self.handlers.extend(self.fallback);
        }
        (self.handlers, named)
    }
}

/// What one socket has for events beside its namespace. Lists, as there is little.
pub(crate) struct OwnEvents<C: HandlerContext> {
    /// Of the listener that was added last.
    last: u32,
    named: VecDeque<Own<C>>,
    observers: VecDeque<Own<C>>,
    /// Observers of what is sent.
    outgoing: VecDeque<Own<C>>,
    middlewares: VecDeque<Own<C>>,
    fallback: Option<Own<C>>,
}

impl<C: HandlerContext> Default for OwnEvents<C> {
    fn default() -> Self {
        Self {
            last: 0,
            named: VecDeque::new(),
            observers: VecDeque::new(),
            outgoing: VecDeque::new(),
            middlewares: VecDeque::new(),
            fallback: None,
        }
    }
}

/// What was taken out of [`OwnEvents`]. Drop it outside the socket's lock: it holds values of the application, whose `Drop` may use the
/// socket.
pub(crate) type Removed<C> = VecDeque<Own<C>>;

pub(crate) struct Own<C: HandlerContext> {
    id: ListenerId,
    /// Empty for what concerns every event.
    event: HandlerName,
    handler: BoxedEvent<C>,
    once: bool,
}

/// How a handler is added to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Last,
    First,
    Once,
}

/// What a handler of a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Every {
    Observer,
    Outgoing,
    Middleware,
    Fallback,
}

impl<C: HandlerContext> OwnEvents<C> {
    fn next_id(&mut self) -> ListenerId {
        self.last = self.last.wrapping_add(1);
        ListenerId::numbered(self.last)
    }

    pub(crate) fn add(&mut self, event: HandlerName, handler: BoxedEvent<C>, how: How) -> ListenerId {
        let own = Own { id: self.next_id(), event, handler, once: how == How::Once };
        put(&mut self.named, own, how)
    }

    /// Also returns what it has replaced.
    pub(crate) fn add_every(&mut self, every: Every, handler: BoxedEvent<C>, how: How) -> (ListenerId, Removed<C>) {
        let own = Own { id: self.next_id(), event: HandlerName::default(), handler, once: false };
        let list = match every {
            Every::Observer => &mut self.observers,
            Every::Outgoing => &mut self.outgoing,
            Every::Middleware => &mut self.middlewares,
            Every::Fallback => {
                let id = own.id;
                return (id, self.fallback.replace(own).into_iter().collect());
            }
        };
        (put(list, own, how), Removed::default())
    }

    /// Removes all handlers of an event.
    pub(crate) fn remove(&mut self, event: &str) -> Removed<C> {
        take_out(&mut self.named, |own| own.event == event)
    }

    pub(crate) fn remove_observers(&mut self) -> Removed<C> {
        std::mem::take(&mut self.observers)
    }

    /// The observers of what is sent, in order.
    pub(crate) fn outgoing(&self) -> impl Iterator<Item = BoxedEvent<C>> {
        self.outgoing.iter().map(|own| own.handler.clone())
    }

    pub(crate) fn remove_outgoing(&mut self) -> Removed<C> {
        std::mem::take(&mut self.outgoing)
    }

    /// Removes one, unless it is gone already.
    pub(crate) fn remove_one(&mut self, id: ListenerId) -> Removed<C> {
        let lists = [&mut self.named, &mut self.observers, &mut self.outgoing, &mut self.middlewares];
        let of_lists = lists.into_iter().flat_map(|list| take_out(list, |own| own.id == id));
        of_lists.chain(self.fallback.take_if(|own| own.id == id)).collect()
    }

    /// Adds what it has for an event. What was given for one event only is taken out, if no middleware has to decide first.
    pub(crate) fn find(&mut self, event: &str, found: &mut Found<C>) {
        if !found.passed {
            found.observers.extend(self.observers.iter().map(|own| own.handler.clone()));
            found.middlewares.extend(self.middlewares.iter().map(|own| own.handler.clone()));
            if !found.middlewares.is_empty() {
                return;
            }
        }
        let mut spent = false;
        for own in self.named.iter().filter(|own| own.event == event) {
            found.handlers.push(own.handler.clone());
            spent |= own.once;
        }
        if spent {
            self.named.retain(|own| !(own.once && own.event == event));
        }
        if let Some(own) = &self.fallback {
            found.fallback = Some(own.handler.clone());
        }
    }
}

/// Takes out those that are meant; the others stay in their order.
fn take_out<C: HandlerContext>(list: &mut VecDeque<Own<C>>, is_meant: impl Fn(&Own<C>) -> bool) -> Removed<C> {
    let (meant, others) = std::mem::take(list).into_iter().partition(is_meant);
    *list = others;
    meant
}

fn put<C: HandlerContext>(list: &mut VecDeque<Own<C>>, own: Own<C>, how: How) -> ListenerId {
    let id = own.id;
    if how == How::First {
        list.push_front(own);
    } else {
        list.push_back(own);
    }
    id
}

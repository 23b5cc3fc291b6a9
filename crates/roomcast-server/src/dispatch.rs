//! What a socket does with its client's packets: which handler an event goes to, and what is logged when there is none.

use crate::ack::Ack;
use crate::context::{Failure, HandlerContext as _};
use crate::durations;
use crate::error::ExtractError;
use crate::extract::EventParts;
use crate::failures::shown;
use crate::handler::BoxedEvent;
use crate::link::HandlerGuard;
use crate::listeners::Found;
use crate::parts::{Phase, Socket};
use crate::reason::DisconnectReason;
use crate::task::{self, Job};
use roomcast_protocol::{Args, ArgsRef};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An event of a client.
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    pub(crate) name: &'a str,
    pub(crate) args: ArgsRef<'a>,
    pub(crate) id: Option<u64>,
}

impl Incoming<'_> {
    /// Its arguments, with its name before them.
    fn named_items(&self) -> String {
        // A name can be written as JSON.
        let named = Args::event(self.name, &()).unwrap_or_default();
        let separator = if self.args.items.is_empty() { "" } else { "," };
        format!("{}{separator}{}", named.items(), self.args.items)
    }
}

impl Socket {
    /// Runs the handlers of an event; `false` if the client may not send an event now.
    pub(crate) fn dispatch(&self, name: &str, args: ArgsRef<'_>, id: Option<u64>) -> bool {
        if !self.0.namespace.config().ordered {
            return self.handle(name, args, id, ());
        }
        match self.0.state.lock().phase {
            Phase::Connected => {}
            Phase::Connecting(_) => return false,
            Phase::Disconnected(_) => return true,
        }
        self.handle_in_turn(name, args, id);
        true
    }

    /// As [`Socket::dispatch`], at once. `guard` is dropped when all of its handlers have ended.
    pub(crate) fn handle(
        &self,
        name: &str,
        args: ArgsRef<'_>,
        id: Option<u64>,
        guard: impl Clone + Send + 'static,
    ) -> bool {
        let mut found = Found::default();
        self.namespace().find_event(name, &mut found);
        {
            let mut state = self.0.state.lock();
            match &state.phase {
                Phase::Connected => {}
                Phase::Connecting(_) => return false,
                Phase::Disconnected(_) => return true,
            }
            if let Some(own) = &mut state.own {
                own.events.find(name, &mut found);
            }
        }
        self.namespace().0.counted.event();
        let event = Incoming { name, args, id };
        for observer in &found.observers {
            self.observe(observer, event, guard.clone());
        }
        if found.middlewares.is_empty() {
            self.start(found, event, None, guard);
        } else {
            self.ask_middlewares(found.middlewares, event, guard);
        }
        true
    }

    /// Takes an acknowledgement; `false` if the client may not send one now.
    pub(crate) fn acknowledged(&self, id: Option<u64>, args: ArgsRef<'_>) -> bool {
        let in_turn = !self.is_undecided();
        if in_turn && let Some(id) = id {
            self.namespace().adapter().ack(self.id(), id, args.to_owned());
        }
        in_turn
    }

    /// The client leaves the namespace; `false` if it may not do so now.
    pub(crate) fn client_leaves(&self) -> bool {
        let in_turn = !self.is_undecided();
        if in_turn {
            self.finish(DisconnectReason::ClientNamespace);
        }
        in_turn
    }

    /// Runs what was found. `answered` is set if a middleware has answered the event.
    fn start(
        &self,
        found: Found<Self>,
        event: Incoming<'_>,
        answered: Option<Arc<AtomicBool>>,
        guard: impl Clone + Send + 'static,
    ) {
        let (handlers, named) = found.into_handlers();
        let items;
        let mut event = event;
        let name = event.name;
        match &handlers[..] {
            [] => return self.unhandled(name),
            _ if named => {
                items = event.named_items();
                event.args.items = &items;
            }
            _ => {}
        }
        match &handlers[..] {
            [handler] => self.run(handler, event, Ack::new(self.clone(), event.id, answered), guard),
            several => {
                // Whichever answers first.
                let first = answered.or_else(|| event.id.map(|_| Arc::default()));
                for handler in several {
                    let ack = Ack::new(self.clone(), event.id, first.clone());
                    self.run(handler, event, ack, guard.clone());
                }
            }
        }
    }

    fn run(&self, handler: &BoxedEvent<Self>, event: Incoming<'_>, ack: Ack, guard: impl Send + 'static) {
        let Incoming { name, args, .. } = event;
        let spare = ack.again();
        let parts = EventParts::new(self, name, args, Some(ack));
        let make = || self.made(name, handler(parts), spare);
        let stopwatch = durations::handler(|| self.namespace().0.counted.label());
        task::run("event", make, (self.working(args), stopwatch, guard));
    }

    /// What an event's handler is to do, unless it could not be called.
    fn made(&self, name: &str, job: Result<Job, ExtractError>, ack: Ack) -> Option<Job> {
        let error = match job {
            Ok(job) => return Some(job),
            Err(error) => error,
        };
        if let Some(args) = self.failed(name, &Failure::Extract(&error)) {
            self.answer(name, ack, &args);
        }
        None
    }

    pub(crate) fn working(&self, args: ArgsRef<'_>) -> HandlerGuard<Self> {
        let bytes = args.items.len() + args.attachments.iter().map(bytes::Bytes::len).sum::<usize>();
        self.link().weighty_handler(self.namespace().config().weight(bytes))
    }

    /// Shows an event to a handler of all events. It cannot answer.
    pub(crate) fn observe(&self, observer: &BoxedEvent<Self>, event: Incoming<'_>, guard: impl Send + 'static) {
        let items = event.named_items();
        let args = ArgsRef { items: &items, attachments: event.args.attachments };
        let parts = EventParts::new(self, event.name, args, None);
        let make = || observer(parts).inspect_err(|error| drop(self.failed(event.name, &Failure::Extract(error)))).ok();
        task::run("observer", make, (self.working(args), guard));
    }

    /// Asks one middleware after another. If all let the event pass, its handlers run.
    fn ask_middlewares(
        &self,
        middlewares: SmallVec<[BoxedEvent<Self>; 1]>,
        event: Incoming<'_>,
        guard: impl Clone + Send + 'static,
    ) {
        let (name, id) = (event.name.to_owned(), event.id);
        let (args, items) = (event.args.to_owned(), event.named_items());
        let socket = self.clone();
        let held = (self.working(event.args), guard.clone());
        // Middlewares may answer too. Whoever does so first, of them and of the handlers.
        let answered = id.map(|_| Arc::<AtomicBool>::default());
        let job = async move {
            for middleware in &middlewares {
                let passes = Arc::<AtomicBool>::default();
                let ack = || Ack::new(socket.clone(), id, answered.clone());
                let args = ArgsRef { items: &items, attachments: args.attachments() };
                let mut parts = EventParts::new(&socket, &name, args, Some(ack()));
                parts.passes = Some(passes.clone());
                let Some(job) = socket.made(&name, middleware(parts), ack()) else { return };
                job.await;
                if !passes.load(Ordering::Acquire) {
                    metrics::counter!("roomcast_events_refused_total").increment(1);
                    return;
                }
            }
            let mut found = Found::passed();
            socket.namespace().find_event(&name, &mut found);
            {
                let mut state = socket.0.state.lock();
                if !matches!(state.phase, Phase::Connected) {
                    // Node ignores it too.
                    return;
                }
                if let Some(own) = &mut state.own {
                    own.events.find(&name, &mut found);
                }
            }
            socket.start(found, Incoming { name: &name, args: args.as_ref(), id }, answered, guard);
        };
        task::run("event middleware", || Some(Box::pin(job)), held);
    }

    fn unhandled(&self, name: &str) {
        metrics::counter!("roomcast_events_unhandled_total").increment(1);
        let (namespace, event) = (self.namespace().name(), shown(name));
        let connecting = self.0.state.lock().connection_handlers > 0;
        if connecting && self.namespace().handlers().is_first("early", name) {
            tracing::warn!(socket = %self.id(), namespace, event, "an event was lost: it has no handler yet, and a connection handler still runs. Register handlers before the first await. Logged once per event");
        } else {
            tracing::debug!(socket = %self.id(), namespace, event, "no handler for this event");
        }
    }
}

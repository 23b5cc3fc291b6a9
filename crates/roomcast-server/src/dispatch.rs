//! What a socket does with its client's packets: which handler an event goes to, and what is logged when there is none.

use crate::ack::Ack;
use crate::context::{Failure, HandlerContext as _};
use crate::durations;
use crate::extract::EventParts;
use crate::failures::shown;
use crate::handler::BoxedEvent;
use crate::parts::{Phase, Socket, State};
use crate::reason::DisconnectReason;
use crate::task;
use roomcast_protocol::{Args, ArgsRef};

/// The socket's own handlers for an event: the one of its name, or else the one for any event.
type Own = (Option<BoxedEvent<Socket>>, Option<BoxedEvent<Socket>>);

impl Socket {
    /// Runs the handler of an event; `false` if the client may not send an event now.
    pub(crate) fn dispatch(&self, name: &str, args: ArgsRef<'_>, id: Option<u64>) -> bool {
        let own = {
            let state = self.0.state.lock();
            match &state.phase {
                Phase::Connected => own(&state, name),
                Phase::Connecting(_) => return false,
                Phase::Disconnected(_) => return true,
            }
        };
        self.namespace().0.counted.event();
        self.start(own, name, args, id);
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

    fn start(&self, (own, any): Own, name: &str, args: ArgsRef<'_>, id: Option<u64>) {
        if let Some(handler) = own.or_else(|| self.namespace().event_handler(name)) {
            self.run(&handler, name, args, id);
        } else if let Some(handler) = any.or_else(|| self.namespace().any_handler()) {
            let Ok(named) = Args::event(name, &()) else { return };
            let items = if args.items.is_empty() {
                named.items().to_owned()
            } else {
                format!("{},{}", named.items(), args.items)
            };
            self.run(&handler, name, ArgsRef { items: &items, attachments: args.attachments }, id);
        } else {
            self.unhandled(name);
        }
    }

    fn run(&self, handler: &BoxedEvent<Self>, name: &str, args: ArgsRef<'_>, id: Option<u64>) {
        let ack = || Ack::new(self.clone(), id);
        let make = || match handler(EventParts { context: self, name, args, ack: Some(ack()), registered: None }) {
            Ok(job) => Some(job),
            Err(error) => {
                if let Some(args) = self.failed(name, &Failure::Extract(&error)) {
                    self.answer(name, ack(), &args);
                }
                None
            }
        };
        let bytes = args.items.len() + args.attachments.iter().map(bytes::Bytes::len).sum::<usize>();
        let guard = self.link().weighty_handler(self.namespace().config().weight(bytes));
        let stopwatch = durations::handler(|| self.namespace().0.counted.label());
        task::run("event", make, (guard, stopwatch));
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

fn own(state: &State, name: &str) -> Own {
    match &state.own {
        None => (None, None),
        Some(own) => match own.events.iter().find(|(event, _)| *event == name) {
            Some((_, handler)) => (Some(handler.clone()), None),
            None => (None, own.any.clone()),
        },
    }
}

//! Events that another server of the cluster sent: [`ServerAck`], and how their handlers are run.
#![expect(clippy::needless_pass_by_value, reason = "what is emitted may be given by value or by reference")]

use crate::context::{Failure, HandlerContext};
use crate::error::ExtractError;
use crate::extract::kinds::Part;
use crate::extract::{EventParts, FromEvent};
use crate::failures;
use crate::handler::BoxedEvent;
use crate::parts::Namespace;
use crate::task;
use parking_lot::Mutex;
use roomcast_adapter::ServerEvent;
use roomcast_protocol::{Args, ArgsRef, ToArgs, ToArgsError};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The answer to another server's event.
///
/// If the event has several handlers, each gets one, and the first answer counts.
#[derive(Debug)]
pub struct ServerAck(Reply);

#[derive(Debug)]
enum Reply {
    One(Option<oneshot::Sender<Args>>),
    /// Whichever answers first takes it.
    OfSeveral(Arc<Mutex<Option<oneshot::Sender<Args>>>>),
}

impl ServerAck {
    /// Whether the other server asked for an answer, and no other handler has answered it.
    pub fn is_wanted(&self) -> bool {
        match &self.0 {
            Reply::One(reply) => reply.is_some(),
            Reply::OfSeveral(reply) => reply.lock().is_some(),
        }
    }

    /// Sends the answer, if the other server asked for one. It is a single argument.
    ///
    /// # Errors
    /// `value` cannot be written as JSON.
    pub fn send(self, value: impl ToArgs) -> Result<(), ToArgsError> {
        let args = Args::of(&value)?;
        let reply = match self.0 {
            Reply::One(reply) => reply,
            Reply::OfSeveral(reply) => reply.lock().take(),
        };
        if let Some(reply) = reply {
            // This fails if the asking server has given up, which does no harm.
            let _ = reply.send(args);
        }
        Ok(())
    }
}

impl HandlerContext for Namespace {
    type Ack = ServerAck;

    fn state<S: Clone + Send + Sync + 'static>(&self) -> Option<S> {
        self.config().states.get()
    }

    /// Only sockets have values of their own.
    fn extension<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        None
    }

    fn answer(&self, event: &str, ack: ServerAck, args: &Args) {
        if let Err(error) = ack.send(args) {
            tracing::warn!(namespace = self.name(), event, %error, "an answer to another server cannot be sent");
        }
    }

    /// An error is not answered: the asking server takes an answer for a value.
    fn failed(&self, event: &str, failure: &Failure<'_>) -> Option<Args> {
        failures::tell(self, None, event, failure);
        None
    }
}

impl FromEvent<Self, Part> for Namespace {
    fn from_event(event: &mut EventParts<'_, Self>) -> Result<Self, ExtractError> {
        Ok(event.context.clone())
    }
}

impl FromEvent<Namespace, Part> for ServerAck {
    fn from_event(event: &mut EventParts<'_, Namespace>) -> Result<Self, ExtractError> {
        event.ack.take().ok_or(ExtractError::NoAck)
    }
}

impl Namespace {
    /// Starts the task that runs the handlers of other servers' events, if there is a runtime and the task does not run yet.
    pub(crate) fn receive_server_events(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Some(mut events) = self.0.server_events.lock().take() else { return };
        // A weak reference: the task ends with the namespace, whose adapter holds the sender.
        let namespace = Arc::downgrade(&self.0);
        runtime.spawn(async move {
            while let Some(event) = events.recv().await {
                let Some(namespace) = namespace.upgrade() else { return };
                dispatch(&Self(namespace), event);
            }
        });
    }
}

/// Runs the handler of an event that came from another server.
fn dispatch(namespace: &Namespace, event: ServerEvent) {
    let data = event.data.as_ref();
    let mut items = data.iter();
    let Some(Ok(name)) = items.next().map(serde_json::from_str::<String>) else {
        metrics::counter!("roomcast_server_events_malformed_total").increment(1);
        tracing::warn!(
            namespace = namespace.name(),
            "an event of another server was ignored: it does not begin with a name"
        );
        return;
    };
    let found = namespace.find_server_event(&name);
    let run = |handler: &BoxedEvent<Namespace>, items: &str, ack: Option<ServerAck>| {
        let args = ArgsRef { items, attachments: data.attachments };
        let parts = EventParts::new(namespace, &name, args, ack);
        let make = || handler(parts).inspect_err(|error| drop(namespace.failed(&name, &Failure::Extract(error)))).ok();
        task::run("server event", make, ());
    };
    for observer in &found.observers {
        run(observer, data.items, None);
    }
    let (handlers, named) = found.into_handlers();
    let items = if named { data.items } else { items.as_str() };
    match &handlers[..] {
        [] => tracing::debug!(event = ?name, "no handler for this event of another server"),
        [handler] => run(handler, items, Some(ServerAck(Reply::One(event.reply)))),
        several => {
            let first = Arc::new(Mutex::new(event.reply));
            for handler in several {
                run(handler, items, Some(ServerAck(Reply::OfSeveral(first.clone()))));
            }
        }
    }
}

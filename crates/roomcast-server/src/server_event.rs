//! Events that another server of the cluster sent: [`ServerAck`], and how their handlers are run.

use crate::context::{Failure, HandlerContext};
use crate::error::ExtractError;
use crate::extract::kinds::Part;
use crate::extract::{EventParts, FromEvent};
use crate::failures;
use crate::parts::Namespace;
use crate::task;
use roomcast_adapter::ServerEvent;
use roomcast_protocol::{Args, ArgsRef, ToArgs, ToArgsError};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The answer to another server's event.
#[derive(Debug)]
pub struct ServerAck(Option<oneshot::Sender<Args>>);

impl ServerAck {
    /// Whether the other server asked for an answer.
    pub fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Sends the answer, if the other server asked for one. It is a single argument.
    ///
    /// # Errors
    /// `value` cannot be written as JSON.
    pub fn send<T: ToArgs + ?Sized>(self, value: &T) -> Result<(), ToArgsError> {
        let args = Args::of(value)?;
        if let Some(reply) = self.0 {
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

    fn answer(&self, event: &str, ack: ServerAck, args: &Args) {
        if let Err(error) = ack.send(args) {
            tracing::warn!(namespace = self.name(), event, %error, "an answer to another server cannot be sent");
        }
    }

    /// An error is not answered: the asking server takes an answer for a value.
    fn failed(&self, event: &str, failure: &Failure<'_>) -> Option<Args> {
        failures::tell(self.handlers(), failure, &"another server", self.name(), event);
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
        event.ack.take().ok_or(ExtractError::AckTwice)
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
    let Some((handler, without_name)) = namespace.server_event_handler(&name) else {
        tracing::debug!(event = ?name, "no handler for this event of another server");
        return;
    };
    let items = if without_name { items.as_str() } else { data.items };
    let args = ArgsRef { items, attachments: data.attachments };
    let parts =
        EventParts { context: namespace, name: &name, args, ack: Some(ServerAck(event.reply)), registered: None };
    let make = || handler(parts).inspect_err(|error| drop(namespace.failed(&name, &Failure::Extract(error)))).ok();
    task::run("server event", make, ());
}

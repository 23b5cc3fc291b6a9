//! Events between servers: their handlers, and the answer that the sender may want.

use crate::handler::Outcome;
use crate::namespace::Namespace;
use crate::task::{self, Job};
use roomcast_adapter::ServerEvent;
use roomcast_protocol::{Args, ArgsRef, FromArgs, FromArgsError, ToArgs, ToArgsError};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The answer to another server's event.
#[derive(Debug)]
pub struct ServerAck(Option<oneshot::Sender<Args>>);

impl ServerAck {
    /// Whether the other server wants an answer.
    pub fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Sends the answer, if one is wanted; one argument travels.
    ///
    /// # Errors
    /// `value` cannot be written as JSON.
    pub fn send<T: ToArgs + ?Sized>(self, value: &T) -> Result<(), ToArgsError> {
        let args = Args::of(value)?;
        if let Some(reply) = self.0 {
            // The asking server may have given up; then nobody misses the answer.
            let _ = reply.send(args);
        }
        Ok(())
    }
}

/// A handler of another server's event: an async function of the namespace and the arguments, and optionally a
/// [`ServerAck`].
pub trait ServerEventHandler<M>: Send + Sync + 'static {
    /// Reads the arguments and starts the handler.
    ///
    /// # Errors
    /// The arguments do not fit its type.
    fn call(&self, namespace: &Namespace, args: ArgsRef<'_>, ack: ServerAck) -> Result<Job, FromArgsError>;
}

impl<F, T, Fut, O> ServerEventHandler<(T, O)> for F
where
    F: Fn(Namespace, T) -> Fut + Send + Sync + 'static,
    T: FromArgs,
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    fn call(&self, namespace: &Namespace, args: ArgsRef<'_>, _: ServerAck) -> Result<Job, FromArgsError> {
        let future = self(namespace.clone(), T::from_args(args)?);
        Ok(Box::pin(async move { future.await.settle() }))
    }
}

impl<F, T, Fut, O> ServerEventHandler<(T, ServerAck, O)> for F
where
    F: Fn(Namespace, T, ServerAck) -> Fut + Send + Sync + 'static,
    T: FromArgs,
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    fn call(&self, namespace: &Namespace, args: ArgsRef<'_>, ack: ServerAck) -> Result<Job, FromArgsError> {
        let future = self(namespace.clone(), T::from_args(args)?, ack);
        Ok(Box::pin(async move { future.await.settle() }))
    }
}

pub(crate) type BoxedServerEvent =
    Arc<dyn Fn(&Namespace, ArgsRef<'_>, ServerAck) -> Result<Job, FromArgsError> + Send + Sync>;

pub(crate) fn boxed_server_event<M>(handler: impl ServerEventHandler<M>) -> BoxedServerEvent {
    Arc::new(move |namespace, args, ack| handler.call(namespace, args, ack))
}

/// Runs the handler of an event that came from another server.
pub(crate) fn dispatch(namespace: &Namespace, event: ServerEvent) {
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
    let make = || match handler(namespace, args, ServerAck(event.reply)) {
        Ok(job) => Some(job),
        Err(error) => {
            tracing::warn!(event = ?name, %error, "an event of another server was ignored");
            None
        }
    };
    task::run("server event", make, ());
}

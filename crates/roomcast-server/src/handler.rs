//! [`EventHandler`]: what an application may give to handle events, connections, disconnects and middlewares.

use crate::error::ConnectError;
use crate::reason::DisconnectReason;
use crate::task::Job;
use roomcast_protocol::{ArgsRef, FromArgs, FromArgsError};
use std::borrow::Cow;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Whom a handler is called for: a [`Socket`](crate::Socket) for events of clients, or a [`Namespace`](crate::Namespace) for events of
/// other servers.
pub trait HandlerContext: Clone + Send + 'static {
    /// What answers the event.
    type Ack: Send + 'static;
}

/// A handler of an event: a closure or function that returns a future. It takes the socket, optionally the arguments as any [`FromArgs`]
/// type, and optionally an [`Ack`](crate::Ack).
///
/// ```
/// # use roomcast_server::{Ack, Socket, SocketIo};
/// # let io = SocketIo::builder().build();
/// io.of("/").on("plain", |socket: Socket| async move { /* ... */ });
/// io.of("/").on("one argument", |socket: Socket, text: String| async move { /* ... */ });
/// io.of("/").on("two and an answer", |socket: Socket, (text, n): (String, u32), ack: Ack| async move {
///     ack.send(&(text, n + 1))
/// });
/// ```
///
/// Handlers of events that other servers send take a [`Namespace`](crate::Namespace) in place of the socket, and a
/// [`ServerAck`](crate::ServerAck) in place of the `Ack`:
///
/// ```
/// # use roomcast_server::{Namespace, ServerAck, SocketIo};
/// # let io = SocketIo::builder().build();
/// io.of("/").on_server_event("load", |namespace: Namespace, (): (), ack: ServerAck| async move { ack.send(&0.5) });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of events for `{C}`",
    label = "write a closure of `({C})`, `({C}, T)` or `({C}, T, Ack)` that returns a future; T must be deserializable"
)]
pub trait EventHandler<C: HandlerContext, M>: Send + Sync + 'static {
    /// Reads the arguments and starts the handler.
    ///
    /// # Errors
    /// The arguments do not fit the handler's type.
    fn call(&self, context: &C, args: ArgsRef<'_>, ack: C::Ack) -> Result<Job, FromArgsError>;
}

/// What a handler may return: nothing, or a `Result` whose error is logged.
pub trait Outcome: Send + 'static {
    /// Logs the error, if there is one.
    fn report(self);
}

impl Outcome for () {
    fn report(self) {}
}

impl<E: Display + Send + 'static> Outcome for Result<(), E> {
    fn report(self) {
        if let Err(error) = self {
            metrics::counter!("roomcast_handler_errors_total").increment(1);
            tracing::warn!(%error, "a handler returned an error");
        }
    }
}

fn job<O: Outcome>(future: impl Future<Output = O> + Send + 'static) -> Job {
    Box::pin(async move { future.await.report() })
}

impl<C, F, Fut, O> EventHandler<C, (O,)> for F
where
    C: HandlerContext,
    F: Fn(C) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    fn call(&self, context: &C, _: ArgsRef<'_>, _: C::Ack) -> Result<Job, FromArgsError> {
        Ok(job(self(context.clone())))
    }
}

impl<C, F, T, Fut, O> EventHandler<C, (T, O)> for F
where
    C: HandlerContext,
    F: Fn(C, T) -> Fut + Send + Sync + 'static,
    T: FromArgs,
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    fn call(&self, context: &C, args: ArgsRef<'_>, _: C::Ack) -> Result<Job, FromArgsError> {
        Ok(job(self(context.clone(), T::from_args(args)?)))
    }
}

impl<C, F, T, Fut, O> EventHandler<C, (T, C::Ack, O)> for F
where
    C: HandlerContext,
    F: Fn(C, T, C::Ack) -> Fut + Send + Sync + 'static,
    T: FromArgs,
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    fn call(&self, context: &C, args: ArgsRef<'_>, ack: C::Ack) -> Result<Job, FromArgsError> {
        Ok(job(self(context.clone(), T::from_args(args)?, ack)))
    }
}

/// An event handler without its types.
pub(crate) type BoxedEvent<C> =
    Arc<dyn Fn(&C, ArgsRef<'_>, <C as HandlerContext>::Ack) -> Result<Job, FromArgsError> + Send + Sync>;

pub(crate) fn boxed_event<C: HandlerContext, M>(handler: impl EventHandler<C, M>) -> BoxedEvent<C> {
    Arc::new(move |context, args, ack| handler.call(context, args, ack))
}

/// The name of an event. A name that is part of the program's text is not copied for each socket.
pub(crate) type EventName = Cow<'static, str>;

pub(crate) type BoxedConnect<S> = Arc<dyn Fn(S) -> Job + Send + Sync>;

pub(crate) fn boxed_connect<S, Fut, O>(handler: impl Fn(S) -> Fut + Send + Sync + 'static) -> BoxedConnect<S>
where
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    Arc::new(move |socket| job(handler(socket)))
}

pub(crate) type BoxedDisconnect<S> = Box<dyn FnOnce(S, DisconnectReason) -> Job + Send>;

pub(crate) fn boxed_disconnect<S, Fut, O>(
    handler: impl FnOnce(S, DisconnectReason) -> Fut + Send + 'static,
) -> BoxedDisconnect<S>
where
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    Box::new(move |socket, reason| job(handler(socket, reason)))
}

type Verdict = Pin<Box<dyn Future<Output = Result<(), ConnectError>> + Send>>;

pub(crate) type BoxedMiddleware<S> = Arc<dyn Fn(S) -> Verdict + Send + Sync>;

pub(crate) fn boxed_middleware<S, Fut>(middleware: impl Fn(S) -> Fut + Send + Sync + 'static) -> BoxedMiddleware<S>
where
    Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
{
    Arc::new(move |socket| Box::pin(middleware(socket)))
}

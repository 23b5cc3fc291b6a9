//! What user code may be: handlers of events, connections and disconnects, and middlewares.

use crate::ack::Ack;
use crate::error::ConnectError;
use crate::reason::DisconnectReason;
use crate::socket::Socket;
use crate::task::Job;
use roomcast_protocol::{ArgsRef, FromArgs, FromArgsError};
use std::borrow::Cow;
use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A handler of an event: an async function of the socket, optionally the arguments as any
/// [`FromArgs`] type, and optionally an [`Ack`].
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
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no event handler",
    label = "an async closure of `(Socket)`, `(Socket, T)` or `(Socket, T, Ack)` is needed, T deserialisable"
)]
pub trait EventHandler<M>: Send + Sync + 'static {
    /// Reads the arguments and starts the handler.
    ///
    /// # Errors
    /// The arguments do not fit its type.
    fn call(&self, socket: &Socket, args: ArgsRef<'_>, ack: Ack) -> Result<Job, FromArgsError>;
}

/// What a handler may return: nothing, or a `Result` whose error is logged.
pub trait Outcome: Send + 'static {
    /// Logs an error.
    fn settle(self);
}

impl Outcome for () {
    fn settle(self) {}
}

impl<E: Display + Send + 'static> Outcome for Result<(), E> {
    fn settle(self) {
        if let Err(error) = self {
            metrics::counter!("roomcast_handler_errors_total").increment(1);
            tracing::warn!(%error, "a handler returned an error");
        }
    }
}

fn job<O: Outcome>(future: impl Future<Output = O> + Send + 'static) -> Job {
    Box::pin(async move { future.await.settle() })
}

impl<F, Fut, O> EventHandler<(Socket, O)> for F
where
    F: Fn(Socket) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    fn call(&self, socket: &Socket, _: ArgsRef<'_>, _: Ack) -> Result<Job, FromArgsError> {
        Ok(job(self(socket.clone())))
    }
}

impl<F, T, Fut, O> EventHandler<(Socket, T, O)> for F
where
    F: Fn(Socket, T) -> Fut + Send + Sync + 'static,
    T: FromArgs,
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    fn call(&self, socket: &Socket, args: ArgsRef<'_>, _: Ack) -> Result<Job, FromArgsError> {
        Ok(job(self(socket.clone(), T::from_args(args)?)))
    }
}

impl<F, T, Fut, O> EventHandler<(Socket, T, Ack, O)> for F
where
    F: Fn(Socket, T, Ack) -> Fut + Send + Sync + 'static,
    T: FromArgs,
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    fn call(&self, socket: &Socket, args: ArgsRef<'_>, ack: Ack) -> Result<Job, FromArgsError> {
        Ok(job(self(socket.clone(), T::from_args(args)?, ack)))
    }
}

/// An event handler without its types.
pub(crate) type BoxedEvent = Arc<dyn Fn(&Socket, ArgsRef<'_>, Ack) -> Result<Job, FromArgsError> + Send + Sync>;

pub(crate) fn boxed_event<M>(handler: impl EventHandler<M>) -> BoxedEvent {
    Arc::new(move |socket, args, ack| handler.call(socket, args, ack))
}

/// The name of an event: text of the program costs no copy per socket.
pub(crate) type EventName = Cow<'static, str>;

pub(crate) type BoxedConnect = Arc<dyn Fn(Socket) -> Job + Send + Sync>;

pub(crate) fn boxed_connect<Fut, O>(handler: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> BoxedConnect
where
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    Arc::new(move |socket| job(handler(socket)))
}

pub(crate) type BoxedDisconnect = Box<dyn FnOnce(Socket, DisconnectReason) -> Job + Send>;

pub(crate) fn boxed_disconnect<Fut, O>(
    handler: impl FnOnce(Socket, DisconnectReason) -> Fut + Send + 'static,
) -> BoxedDisconnect
where
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    Box::new(move |socket, reason| job(handler(socket, reason)))
}

type Verdict = Pin<Box<dyn Future<Output = Result<(), ConnectError>> + Send>>;

pub(crate) type BoxedMiddleware = Arc<dyn Fn(Socket) -> Verdict + Send + Sync>;

pub(crate) fn boxed_middleware<Fut>(middleware: impl Fn(Socket) -> Fut + Send + Sync + 'static) -> BoxedMiddleware
where
    Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
{
    Arc::new(move |socket| Box::pin(middleware(socket)))
}

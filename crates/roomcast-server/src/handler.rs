//! [`EventHandler`]: what an application may give to handle events, connections, disconnects and middlewares.

use crate::context::{Failure, HandlerContext, HandlerName};
use crate::error::{ConnectError, ExtractError};
use crate::extract::{EventParts, FromEvent};
use crate::outcome::{Outcome, Settled};
use crate::reason::DisconnectReason;
use crate::task::Job;
use roomcast_adapter::RoomEvent;
use roomcast_protocol::Args;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A handler of an event: a closure or function with up to eight arguments, which returns a future, or its [`Outcome`] at once where
/// nothing is awaited. Each argument is something that can be taken out of the event ([`FromEvent`]), in any order.
///
/// ```
/// # use roomcast_server::{Ack, Socket, SocketIo, State};
/// # let io = SocketIo::builder().state(7_u32).build();
/// io.of("/").on("plain", |socket: Socket| async move { /* ... */ });
/// io.of("/").on("one argument", |socket: Socket, text: String| async move { /* ... */ });
/// io.of("/").on("two, and an answer", |(text, n): (String, u32), ack: Ack| async move { ack.send(&(text, n + 1)) });
/// io.of("/").on("with a state", |State(limit): State<u32>, n: u32| async move { n < limit });
/// io.of("/").on("nothing is awaited", |socket: Socket, room: String| socket.join(room));
/// ```
///
/// Handlers of events that other servers send take a [`Namespace`](crate::Namespace) and a [`ServerAck`](crate::ServerAck):
///
/// ```
/// # use roomcast_server::{Namespace, ServerAck, SocketIo};
/// # let io = SocketIo::builder().build();
/// io.of("/").on_server_event("load", |namespace: Namespace, ack: ServerAck| async move { ack.send(&0.5) });
/// io.of("/").on_server_event("load of", |room: String| async move { 0.5 });
/// ```
#[diagnostic::on_unimplemented(
    message = "this is no handler of events for `{C}`",
    label = "write a closure with up to eight arguments that returns a future or a value",
    note = "each argument needs a type: `{C}`, an `Ack` (of a client) or `ServerAck` (of another server), `State<S>` for a state of the application, `Extension<T>` for a value of the socket, or what the client sent; several arguments of a client are one tuple",
    note = "a type of your own that the client sends needs `#[derive(serde::Deserialize)]`, and must not borrow: `String`, not `&str`",
    note = "it may return `()`, a number, a string, `Reply(value)` for other serializable values, or a `Result` of these"
)]
pub trait EventHandler<C: HandlerContext, M>: Send + Sync + 'static {
    /// Takes the arguments out of the event and starts the handler.
    ///
    /// # Errors
    /// [`ExtractError`]: the handler was not called.
    fn call(&self, event: EventParts<'_, C>) -> Result<Job, ExtractError>;
}

/// A handler that was called, until its outcome is settled. If it panics before, that is told.
struct Running<C: HandlerContext> {
    context: C,
    event: HandlerName,
    ack: Option<C::Ack>,
    /// Of a middleware: whether the event may pass. What it returns is no answer then.
    passes: Option<Arc<AtomicBool>>,
    settled: bool,
}

impl<C: HandlerContext> Running<C> {
    fn new(mut event: EventParts<'_, C>) -> Self {
        event.taken = true;
        let name = event.registered.cloned().unwrap_or_else(|| event.name.to_owned().into());
        let (ack, passes) = (event.ack.take(), event.passes.take());
        Self { context: event.context.clone(), event: name, ack, passes, settled: false }
    }

    fn settle(mut self, outcome: Settled) {
        self.settled = true;
        match outcome {
            Settled::Nothing | Settled::Answer(Ok(_)) if self.passes.is_some() => {
                self.passes.iter().for_each(|passes| passes.store(true, Ordering::Release));
            }
            Settled::Nothing => {}
            Settled::Answer(Ok(args)) => self.answer(&args),
            Settled::Answer(Err(error)) => self.fail(&Failure::Error(&error)),
            Settled::Failed(error) => self.fail(&Failure::Error(&*error)),
        }
    }

    fn answer(&mut self, args: &Args) {
        if let Some(ack) = self.ack.take() {
            self.context.answer(&self.event, ack, args);
        }
    }

    fn fail(&mut self, failure: &Failure<'_>) {
        if let Some(args) = self.context.failed(&self.event, failure) {
            self.answer(&args);
        }
    }
}

impl<C: HandlerContext> Drop for Running<C> {
    fn drop(&mut self) {
        if !self.settled && std::thread::panicking() {
            self.fail(&Failure::Panic);
        }
    }
}

/// The kinds of handlers: of those that return a future, and of those that return their outcome.
#[allow(unreachable_pub, reason = "the compiler names these types in the code of applications")]
pub(crate) mod forms {
    #[derive(Debug)]
    pub enum Awaited {}
    #[derive(Debug)]
    pub enum Immediate {}
}

macro_rules! handlers {
    ($(($($T:ident $M:ident),*))*) => {$(
        impl<C, F, Fut, O, $($T, $M),*> EventHandler<C, (forms::Awaited, Fut, O, $($T, $M),*)> for F
        where
            C: HandlerContext,
            F: Fn($($T),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = O> + Send + 'static,
            O: Outcome,
            $($T: FromEvent<C, $M>,)*
        {
            #[allow(unused_mut, non_snake_case, reason = "without arguments nothing is taken")]
            fn call(&self, mut event: EventParts<'_, C>) -> Result<Job, ExtractError> {
                $(let $T = $T::from_event(&mut event)?;)*
                let running = Running::new(event);
                let future = self($($T),*);
                Ok(Box::pin(async move { running.settle(future.await.settle()) }))
            }
        }

        impl<C, F, O, $($T, $M),*> EventHandler<C, (forms::Immediate, O, $($T, $M),*)> for F
        where
            C: HandlerContext,
            F: Fn($($T),*) -> O + Send + Sync + 'static,
            O: Outcome,
            $($T: FromEvent<C, $M>,)*
        {
            #[allow(unused_mut, non_snake_case, reason = "without arguments nothing is taken")]
            fn call(&self, mut event: EventParts<'_, C>) -> Result<Job, ExtractError> {
                $(let $T = $T::from_event(&mut event)?;)*
                let running = Running::new(event);
                let outcome = self($($T),*);
                running.settle(outcome.settle());
                Ok(Box::pin(std::future::ready(())))
            }
        }
    )*};
}

handlers! {
    ()
    (T1 M1)
    (T1 M1, T2 M2)
    (T1 M1, T2 M2, T3 M3)
    (T1 M1, T2 M2, T3 M3, T4 M4)
    (T1 M1, T2 M2, T3 M3, T4 M4, T5 M5)
    (T1 M1, T2 M2, T3 M3, T4 M4, T5 M5, T6 M6)
    (T1 M1, T2 M2, T3 M3, T4 M4, T5 M5, T6 M6, T7 M7)
    (T1 M1, T2 M2, T3 M3, T4 M4, T5 M5, T6 M6, T7 M7, T8 M8)
}

/// An event handler without its types.
pub(crate) type BoxedEvent<C> = Arc<dyn Fn(EventParts<'_, C>) -> Result<Job, ExtractError> + Send + Sync>;

/// `name`: of the event that it is registered for; a handler of any event has none.
pub(crate) fn boxed_event<C: HandlerContext, M>(
    name: Option<HandlerName>,
    handler: impl EventHandler<C, M>,
) -> BoxedEvent<C> {
    Arc::new(move |event| {
        let mut event = event;
        event.registered = name.as_ref();
        handler.call(event)
    })
}

/// The rest of a handler of a connection or a disconnect.
fn job<C: HandlerContext, O: Outcome>(
    what: &'static str,
    context: C,
    future: impl Future<Output = O> + Send + 'static,
) -> Job {
    Box::pin(async move {
        if let Settled::Failed(error) = future.await.settle() {
            context.failed(what, &Failure::Error(&*error));
        }
    })
}

pub(crate) type BoxedConnect<S> = Arc<dyn Fn(S) -> Job + Send + Sync>;

/// `what` names it in the log.
pub(crate) fn boxed_connect<S: HandlerContext, Fut, O>(
    what: &'static str,
    handler: impl Fn(S) -> Fut + Send + Sync + 'static,
) -> BoxedConnect<S>
where
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    Arc::new(move |socket| job(what, socket.clone(), handler(socket)))
}

/// A handler that is told something more, each time.
type BoxedTold<C, T> = Arc<dyn Fn(C, T) -> Job + Send + Sync>;

/// A handler of each disconnect in a namespace.
pub(crate) type BoxedLeave<S> = BoxedTold<S, DisconnectReason>;

/// A handler of changes of rooms.
pub(crate) type BoxedRoom<N> = BoxedTold<N, RoomEvent>;

/// `what` names it in the log.
pub(crate) fn boxed_told<C: HandlerContext, T: 'static, Fut, O>(
    what: &'static str,
    handler: impl Fn(C, T) -> Fut + Send + Sync + 'static,
) -> BoxedTold<C, T>
where
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    Arc::new(move |context, told| job(what, context.clone(), handler(context, told)))
}

pub(crate) type BoxedDisconnect<S> = Box<dyn FnOnce(S, DisconnectReason) -> Job + Send>;

pub(crate) fn boxed_disconnect<S: HandlerContext, Fut, O>(
    handler: impl FnOnce(S, DisconnectReason) -> Fut + Send + 'static,
) -> BoxedDisconnect<S>
where
    Fut: Future<Output = O> + Send + 'static,
    O: Outcome,
{
    Box::new(move |socket, reason| job("disconnect", socket.clone(), handler(socket, reason)))
}

type Verdict = Pin<Box<dyn Future<Output = Result<(), ConnectError>> + Send>>;

pub(crate) type BoxedMiddleware<S> = Arc<dyn Fn(S) -> Verdict + Send + Sync>;

pub(crate) fn boxed_middleware<S, Fut>(middleware: impl Fn(S) -> Fut + Send + Sync + 'static) -> BoxedMiddleware<S>
where
    Fut: Future<Output = Result<(), ConnectError>> + Send + 'static,
{
    Arc::new(move |socket| Box::pin(middleware(socket)))
}

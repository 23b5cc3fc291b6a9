//! [`FromEvent`]: what a handler of an event can take as its arguments.

use crate::context::{Failure, HandlerContext, HandlerName};
use crate::error::ExtractError;
use roomcast_protocol::{ArgsRef, FromArgs};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// An event on its way to a handler.
pub struct EventParts<'a, C: HandlerContext> {
    pub(crate) context: &'a C,
    pub(crate) name: &'a str,
    pub(crate) args: ArgsRef<'a>,
    pub(crate) ack: Option<C::Ack>,
    /// For a middleware of events: set if the event may pass.
    pub(crate) passes: Option<Arc<AtomicBool>>,
    /// The name under which the handler is registered.
    pub(crate) registered: Option<&'a HandlerName>,
    /// All arguments were taken: the handler has the event.
    pub(crate) taken: bool,
}

impl<'a, C: HandlerContext> EventParts<'a, C> {
    /// An event that asks for an acknowledgement, or not.
    pub(crate) fn new(context: &'a C, name: &'a str, args: ArgsRef<'a>, ack: Option<C::Ack>) -> Self {
        Self { context, name, args, ack, passes: None, registered: None, taken: false }
    }

    /// The socket, or the namespace for an event of another server.
    pub fn context(&self) -> &'a C {
        self.context
    }

    /// The event's name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The event's arguments.
    pub fn args(&self) -> ArgsRef<'a> {
        self.args
    }
}

/// If taking an argument panics (its `Deserialize`, or a [`FromEvent`] of one's own), that is told as a panic of the handler is.
impl<C: HandlerContext> Drop for EventParts<'_, C> {
    fn drop(&mut self) {
        if !self.taken
            && std::thread::panicking()
            && let Some(args) = self.context.failed(self.name, &Failure::Panic)
            && let Some(ack) = self.ack.take()
        {
            self.context.answer(self.name, ack, &args);
        }
    }
}

impl<C: HandlerContext> fmt::Debug for EventParts<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventParts").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a handler can take as an argument, in any order:
///
/// | type | what it is |
/// |---|---|
/// | [`Socket`](crate::Socket) | whose event it is |
/// | [`Namespace`](crate::Namespace) | the socket's namespace, or the one that another server's event is for |
/// | any [`FromArgs`] type | the event's arguments: a tuple takes several, [`Args`](crate::Args) takes them as they came, and [`Checked`](crate::Checked) also those that do not fit |
/// | [`Ack`](crate::Ack), [`ServerAck`](crate::ServerAck) | the answer, for a handler that sends it itself |
/// | [`State`] | what the application gave to [`Builder::state`](crate::Builder::state) |
/// | [`Extension`] | what the application keeps with the socket ([`Socket::insert`](crate::Socket::insert)), or a layer with its client's first request |
/// | [`EventName`] | the event's name |
///
/// `M` tells these kinds apart, and is found by the compiler. Implement the trait with an `M` of your own to extract other
/// things, such as the user that a middleware has put into the socket's data.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}` as an argument",
    label = "implement `serde::Deserialize` for it (without borrowing) to read it from the event's arguments, or write `State<{Self}>` for a state of the application"
)]
pub trait FromEvent<C: HandlerContext, M>: Sized {
    /// Takes it out of the event.
    ///
    /// # Errors
    /// [`ExtractError`]: the handler is not called.
    fn from_event(event: &mut EventParts<'_, C>) -> Result<Self, ExtractError>;
}

/// The kinds of arguments: a part of the event, or read from what the client sent.
#[allow(unreachable_pub, reason = "the compiler names these types in the code of applications")]
pub(crate) mod kinds {
    #[derive(Debug)]
    pub enum Part {}
    #[derive(Debug)]
    pub enum Arguments {}
}
use kinds::{Arguments, Part};

impl<C: HandlerContext, T: FromArgs> FromEvent<C, Arguments> for T {
    fn from_event(event: &mut EventParts<'_, C>) -> Result<Self, ExtractError> {
        Ok(T::from_args(event.args)?)
    }
}

/// A state of the application, as an argument of a handler. [`Builder::state`](crate::Builder::state) sets it, one for each
/// type; each handler gets a clone, so put what is not cheap to clone into an `Arc`.
///
/// ```
/// use roomcast_server::{Socket, SocketIo, State};
/// use std::sync::Arc;
///
/// struct Database;
///
/// let io = SocketIo::builder().state(Arc::new(Database)).build();
/// io.of("/").on("save", |State(database): State<Arc<Database>>, socket: Socket, text: String| async move {
///     /* ... */
/// });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State<S>(pub S);

impl<C: HandlerContext, S: Clone + Send + Sync + 'static> FromEvent<C, Part> for State<S> {
    fn from_event(event: &mut EventParts<'_, C>) -> Result<Self, ExtractError> {
        let state = event.context.state().map(Self);
        state.ok_or(ExtractError::NoState(std::any::type_name::<S>()))
    }
}

/// A value that the socket has, as an argument of a handler: the application gave it by [`Socket::insert`](crate::Socket::insert), or
/// a layer in front of the server put it into the extensions of the request with which the client came, and the server keeps it
/// ([`Builder::keep_extension`](crate::Builder::keep_extension)). Each handler gets a clone.
///
/// ```
/// use roomcast_server::{Extension, Socket, SocketIo};
///
/// #[derive(Clone)]
/// struct User {
///     name: String,
/// }
///
/// let io = SocketIo::builder().build();
/// io.of("/").middleware(|socket: Socket| async move {
///     socket.insert(User { name: "Ann".to_owned() });
///     Ok(())
/// });
/// io.of("/").on("name", |Extension(user): Extension<User>| async move { user.name });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<T>(pub T);

impl<C: HandlerContext, T: Clone + Send + Sync + 'static> FromEvent<C, Part> for Extension<T> {
    fn from_event(event: &mut EventParts<'_, C>) -> Result<Self, ExtractError> {
        let value = event.context.extension().map(Self);
        value.ok_or(ExtractError::NoExtension(std::any::type_name::<T>()))
    }
}

/// The name of the event, as an argument of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventName(pub String);

impl<C: HandlerContext> FromEvent<C, Part> for EventName {
    fn from_event(event: &mut EventParts<'_, C>) -> Result<Self, ExtractError> {
        Ok(Self(event.name.to_owned()))
    }
}

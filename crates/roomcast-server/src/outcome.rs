//! [`Outcome`]: what a handler may return.

use crate::listeners::ListenerId;
use roomcast_adapter::Joined;
use roomcast_engine::Delivery;
use roomcast_protocol::{Args, ToArgs, ToArgsError};
use std::error::Error;

/// What a handler may return: nothing, a value, or a `Result` of these.
///
/// If the client asked for an acknowledgement and the handler did not take the [`Ack`](crate::Ack), a value is the answer, and
/// so is an error ([`Builder::answer_failures`](crate::Builder::answer_failures)). Of `()` nothing is sent.
///
/// Values are numbers, booleans, strings, [`serde_json::Value`], [`Args`], lists, options, tuples (several arguments), and
/// anything else that is serializable in a [`Reply`]. Errors are whatever converts to `Box<dyn Error + Send + Sync>`: error
/// types, strings, `anyhow::Error`. They are counted and logged.
///
/// ```
/// use roomcast_server::{Reply, Socket, SocketIo};
/// # #[derive(serde::Serialize)] struct User { name: String }
///
/// let io = SocketIo::builder().build();
/// io.of("/").on("add", |(a, b): (i64, i64)| async move { a.checked_add(b).ok_or("too large") });
/// io.of("/").on("me", |socket: Socket| async move { Reply(User { name: socket.id().to_string() }) });
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "return `()`, a number, a string, or a `Result` of these; wrap other serializable values: `Reply(value)`"
)]
pub trait Outcome: Send + 'static {
    /// What is to be answered or logged.
    fn settle(self) -> Settled;
}

/// What came of a handler.
#[derive(Debug)]
pub enum Settled {
    /// Nothing is answered.
    Nothing,
    /// The answer's arguments, unless they cannot be written.
    Answer(Result<Args, ToArgsError>),
    /// The handler failed.
    Failed(Box<dyn Error + Send + Sync>),
}

/// A serializable value as the answer to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<T>(pub T);

impl<T: ToArgs + Send + 'static> Outcome for Reply<T> {
    fn settle(self) -> Settled {
        Settled::Answer(Args::of(&self.0))
    }
}

impl<O: Outcome, E: Into<Box<dyn Error + Send + Sync>> + Send + 'static> Outcome for Result<O, E> {
    fn settle(self) -> Settled {
        match self {
            Ok(outcome) => outcome.settle(),
            Err(error) => Settled::Failed(error.into()),
        }
    }
}

macro_rules! nothing {
    ($($kind:ty),*) => {$(
        impl Outcome for $kind {
            fn settle(self) -> Settled {
                Settled::Nothing
            }
        }
    )*};
}

// What the last statement of a handler often returns.
nothing!((), Joined, Delivery, ListenerId);

macro_rules! answers {
    ($($kind:ty),*) => {$(
        impl Outcome for $kind {
            fn settle(self) -> Settled {
                Settled::Answer(Args::of(&self))
            }
        }
    )*};
}

answers!(
    bool,
    i8,
    i16,
    i32,
    i64,
    isize,
    u8,
    u16,
    u32,
    u64,
    usize,
    f32,
    f64,
    String,
    &'static str,
    serde_json::Value,
    Args
);

impl<T: serde::Serialize + Send + 'static> Outcome for Vec<T> {
    fn settle(self) -> Settled {
        Settled::Answer(Args::of(&self))
    }
}

impl<T: serde::Serialize + Send + 'static> Outcome for Option<T> {
    fn settle(self) -> Settled {
        Settled::Answer(Args::of(&self))
    }
}

macro_rules! tuples {
    ($(($($T:ident)+))*) => {$(
        impl<$($T: serde::Serialize + Send + 'static),+> Outcome for ($($T,)+) {
            fn settle(self) -> Settled {
                Settled::Answer(Args::of(&self))
            }
        }
    )*};
}

tuples! { (A) (A B) (A B D) (A B D E) }

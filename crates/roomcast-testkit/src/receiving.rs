//! What a [`Client`] receives: answers, events and the server's questions, and that nothing comes.
#![expect(clippy::needless_pass_by_value, reason = "what is emitted may be given by value or by reference")]

use crate::client::Client;
use crate::settle::settle;
use crate::socket::ClientSocket;
use crate::unmet::{Unmet, Waiting, Why, fail};
use crate::unread::{Unread, list, shown};
use roomcast_protocol::{Args, ArgsRef, FromArgs, ToArgs};
use std::any::type_name;
use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;
use tokio::time::timeout;

impl Client {
    /// Emits an event, which it sends at once, and waits for the server's answer. [`Args`] takes the answer as it is.
    ///
    /// # Panics
    /// As [`Client::emit`]; if no answer comes, or it does not fit.
    #[track_caller]
    #[must_use = "await the answer"]
    pub fn ask<T: FromArgs + 'static>(&self, event: &str, args: impl ToArgs) -> Waiting<T> {
        let (caller, asked) = (Location::caller(), self.try_ask(event, args));
        Box::pin(async move { asked.await.unwrap_or_else(|unmet| fail(caller, &unmet)) })
    }

    /// As [`Client::ask`], for answers that may not come.
    ///
    /// # Errors
    /// [`Unmet`]: no answer came, or it does not fit.
    ///
    /// # Panics
    /// As [`Client::emit`].
    #[track_caller]
    #[must_use = "await the answer"]
    pub fn try_ask<T: FromArgs + 'static>(&self, event: &str, args: impl ToArgs) -> Waiting<Result<T, Unmet>> {
        let id = self.send(event, Args::event(event, &args), true);
        let (socket, what) = (self.socket.clone(), format!("the answer to {event}"));
        Box::pin(async move {
            let answer = socket.expect(&what, |state| state.answered.remove(&id)).await?;
            fit(&socket, &what, &answer)
        })
    }

    /// Takes the oldest unread event of that name, and waits for one if there is none. Events of other names stay.
    ///
    /// # Panics
    /// If none comes, or the event does not fit the type.
    #[track_caller]
    #[must_use = "await the event"]
    pub fn next<T: FromArgs + 'static>(&self, event: &str) -> Waiting<T> {
        let (caller, next) = (Location::caller(), self.try_next(event));
        Box::pin(async move { next.await.unwrap_or_else(|unmet| fail(caller, &unmet)) })
    }

    /// As [`Client::next`], for events that may not come.
    ///
    /// # Errors
    /// [`Unmet`]: none came, or it does not fit the type.
    #[must_use = "await the event"]
    pub fn try_next<T: FromArgs + 'static>(&self, event: &str) -> Waiting<Result<T, Unmet>> {
        let (socket, event) = (self.socket.clone(), event.to_owned());
        Box::pin(async move {
            let unread = socket.expect(&event, |state| take(&mut state.unread, &event)).await?;
            fit(&socket, &event, &unread.args)
        })
    }

    /// As [`Client::next`], for an event to which the server wants an answer, which the test then gives, or not.
    ///
    /// # Panics
    /// As [`Client::next`], or if the server wants no answer.
    #[track_caller]
    #[must_use = "await the question"]
    pub fn next_question<T: FromArgs + 'static>(&self, event: &str) -> Waiting<Question<T>> {
        let (caller, socket, event) = (Location::caller(), self.socket.clone(), event.to_owned());
        Box::pin(async move {
            let asked = socket.expect(&event, |state| take(&mut state.unread, &event)).await;
            let unread = asked.unwrap_or_else(|unmet| fail(caller, &unmet));
            let args = fit(&socket, &event, &unread.args).unwrap_or_else(|unmet| fail(caller, &unmet));
            let Some(id) = unread.id else {
                fail(caller, &format!("{}: the server wants no answer to {unread}", socket.name));
            };
            Question { args, socket, id }
        })
    }

    /// All unread events of that name, after a [fence](Client::fence).
    ///
    /// # Panics
    /// If one of them does not fit the type.
    #[track_caller]
    #[must_use = "await the events"]
    pub fn all<T: FromArgs + 'static>(&self, event: &str) -> Waiting<Vec<T>> {
        let (caller, socket, event) = (Location::caller(), self.socket.clone(), event.to_owned());
        let fence = self.fence();
        Box::pin(async move {
            fence.await;
            let all: Vec<Unread> = {
                let mut state = socket.state.lock();
                std::iter::from_fn(|| take(&mut state.unread, &event)).collect()
            };
            let fit = |unread: Unread| fit(&socket, &event, &unread.args).unwrap_or_else(|unmet| fail(caller, &unmet));
            all.into_iter().map(fit).collect()
        })
    }

    /// Answers each further event of that name, in place of leaving it unread. If the server wants no answer, only the
    /// function is called. Arguments that do not fit it, and a panic in it, leave the event unread, and stderr says so.
    ///
    /// ```
    /// # use roomcast_server::{Socket, SocketIo};
    /// # use roomcast_testkit::Client;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let io = SocketIo::builder().build();
    /// let client = Client::connect(&io).await?;
    /// client.answer("add", |(a, b): (u32, u32)| a + b);
    /// let answers = io.to(client.id()).emit_with_ack("add", (1, 2)).await?;
    /// assert_eq!(answers.answers[0].parse::<u32>()?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn answer<T: FromArgs, R: ToArgs>(&self, event: &str, answer: impl Fn(T) -> R + Send + Sync + 'static) {
        let answer = move |args: ArgsRef<'_>| {
            let args = T::from_args(args).map_err(|error| error.to_string())?;
            Args::of(&answer(args)).map_err(|error| error.to_string())
        };
        self.socket.change(|state| state.answers.insert(event.to_owned(), Arc::new(answer)));
    }

    /// No event of that name is unread, after a [fence](Client::fence).
    ///
    /// # Panics
    /// If one is, with its arguments.
    #[track_caller]
    #[must_use = "await the check"]
    pub fn expect_nothing(&self, event: &str) -> Waiting<()> {
        let (caller, socket, event) = (Location::caller(), self.socket.clone(), event.to_owned());
        let fence = self.fence();
        Box::pin(async move {
            fence.await;
            let state = socket.state.lock();
            if let Some(unread) = state.unread.iter().find(|unread| unread.event == event) {
                fail(caller, &format!("{}: expected no {event}, but got {unread}", socket.name));
            }
        })
    }

    /// Nothing at all is unread, after a [fence](Client::fence).
    ///
    /// # Panics
    /// If something is, with all of it.
    #[track_caller]
    #[must_use = "await the check"]
    pub fn expect_silence(&self) -> Waiting<()> {
        let (caller, socket, fence) = (Location::caller(), self.socket.clone(), self.fence());
        Box::pin(async move {
            fence.await;
            let state = socket.state.lock();
            if !state.unread.is_empty() {
                fail(caller, &format!("{}: expected silence, but {}", socket.name, list(&state.unread)));
            }
        })
    }

    /// Forgets what is unread.
    pub fn clear(&self) {
        self.socket.change(|state| state.unread.clear());
    }

    /// Waits until the server has handled what this client has sent, and until everything has happened that can happen
    /// without time passing ([`settle`]). Under a clock that runs, only the first holds, and events that other tasks of
    /// the server send may still come.
    #[must_use = "await the fence"]
    pub fn fence(&self) -> Waiting<()> {
        let (connection, patience) = (self.socket.connection(), self.socket.patience);
        Box::pin(async move {
            // A server that takes nothing from this client must not hold up the test.
            drop(timeout(patience, connection.fence()).await);
            settle().await;
        })
    }
}

/// An event to which the server wants an answer. Dropping it leaves the server without one.
#[derive(Debug)]
pub struct Question<T> {
    /// The event's arguments.
    pub args: T,
    socket: Arc<ClientSocket>,
    id: u64,
}

impl<T> Question<T> {
    /// Answers it.
    ///
    /// # Panics
    /// If the value cannot be sent.
    #[track_caller]
    pub fn answer(self, value: impl ToArgs) {
        let Self { socket, id, .. } = self;
        let args =
            Args::of(&value).unwrap_or_else(|error| panic!("{}: the answer cannot be sent: {error}", socket.name));
        let connection = socket.connection();
        connection.link.send(connection.link.parser.ack(&socket.namespace, id, &args));
    }
}

fn take(unread: &mut VecDeque<Unread>, event: &str) -> Option<Unread> {
    let at = unread.iter().position(|unread| unread.event == event)?;
    unread.remove(at)
}

fn fit<T: FromArgs>(socket: &ClientSocket, what: &str, args: &Args) -> Result<T, Unmet> {
    args.parse().map_err(|error| {
        let text = format!("{}: {what} was ({}), which is no {}: {error}", socket.name, shown(args), type_name::<T>());
        Unmet::new(Why::Unfit, text)
    })
}

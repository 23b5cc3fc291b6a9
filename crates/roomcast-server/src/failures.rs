//! What happens when a handler fails: what is counted, logged and answered.

use crate::config::Config;
use crate::context::{Failed, Failure};
use crate::error::ExtractError;
use crate::parts::Namespace;
use crate::task;
use roomcast_protocol::{Args, SocketId};
use std::error::Error;
use std::fmt;

/// A log line shows at most so many characters of an event's name, which a client may have chosen.
const SHOWN_NAME: usize = 64;

/// What a client is told of a fault that is not its own.
const FAILED: &str = "Server error";

/// Counts and logs the failure of a handler, and tells the application.
pub(crate) fn tell(namespace: &Namespace, socket: Option<SocketId>, event: &str, failure: &Failure<'_>) {
    log(namespace, socket, event, failure);
    if let Some(told) = &namespace.config().on_failure {
        let failed = Failed { failure, event, namespace: namespace.name(), socket };
        task::contain("failure hook", || (told.0)(&failed));
    }
}

fn log(namespace: &Namespace, socket: Option<SocketId>, event: &str, failure: &Failure<'_>) {
    let (handlers, namespace) = (namespace.handlers(), namespace.name());
    let of = socket.map_or_else(|| "another server".to_owned(), |socket| socket.to_string());
    let name = shown(event);
    match failure {
        Failure::Error(error) => {
            metrics::counter!("roomcast_handler_errors_total").increment(1);
            let error = Causes(*error);
            if handlers.may_log_failure() {
                tracing::warn!(socket = %of, namespace, event = name, %error, "a handler returned an error");
            } else {
                tracing::debug!(socket = %of, namespace, event = name, %error, "a handler returned an error");
            }
        }
        Failure::Extract(error @ ExtractError::Arguments(_)) => {
            metrics::counter!("roomcast_events_malformed_total").increment(1);
            if handlers.is_first("mismatch", event) {
                tracing::warn!(socket = %of, namespace, event = name, %error, "an event was ignored: its arguments do not fit the handler's type. Logged once per event");
            } else {
                tracing::debug!(socket = %of, namespace, event = name, %error, "an event was ignored");
            }
        }
        Failure::Extract(error) => {
            metrics::counter!("roomcast_handler_errors_total").increment(1);
            tracing::error!(socket = %of, namespace, event = name, %error, "an event was ignored: its handler cannot be called");
        }
        // It is counted where it is caught.
        Failure::Panic => {
            tracing::error!(socket = %of, namespace, event = name, "the handler of this event panicked");
        }
    }
}

/// What a client that asked for an acknowledgement is answered.
pub(crate) fn answer(config: &Config, failure: &Failure<'_>) -> Args {
    let refusal = |error: String| serde_json::json!({ "ok": false, "error": error });
    let value = match &config.answer_failures {
        // After a handler's panic this runs while the stack is unwound, and a second panic would end the process. The text of the failure
        // is not for the client where the application has an answer of its own.
        Some(answer) => {
            task::contain("failure answer", || (answer.0)(failure)).unwrap_or_else(|| refusal(FAILED.to_owned()))
        }
        None => refusal(text(failure)),
    };
    Args::of(&value).unwrap_or_default()
}

/// What the client may know of it.
fn text(failure: &Failure<'_>) -> String {
    match failure {
        Failure::Error(error) => error.to_string(),
        Failure::Extract(ExtractError::Arguments(error)) => error.to_string(),
        Failure::Extract(_) | Failure::Panic => FAILED.to_owned(),
    }
}

/// The start of an event's name.
pub(crate) fn shown(name: &str) -> &str {
    let end = name.char_indices().nth(SHOWN_NAME).map_or(name.len(), |(end, _)| end);
    name.get(..end).unwrap_or(name)
}

/// An error with its causes.
struct Causes<'a>(&'a (dyn Error + Send + Sync + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A chain of causes could be circular.
        const MOST: usize = 16;
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        for _ in 0..MOST {
            let Some(error) = cause else { break };
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

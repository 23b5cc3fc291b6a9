//! [`Config`]: the options that namespaces and clients look at while the server runs. The [`Builder`](crate::Builder) sets them.

use crate::context::{Failed, Failure};
use crate::limits::HANDLER_PAYLOADS;
use crate::rate_limits::RateLimits;
use crate::states::States;
use roomcast_protocol::DecoderLimits;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Makes the answer to a client whose event was not handled.
#[derive(Clone)]
pub(crate) struct AnswerFailures(pub(crate) Arc<dyn Fn(&Failure<'_>) -> serde_json::Value + Send + Sync>);

impl fmt::Debug for AnswerFailures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerFailures")
    }
}

/// Is told of failures of handlers.
#[derive(Clone)]
pub(crate) struct OnFailure(pub(crate) Arc<dyn Fn(&Failed<'_>) + Send + Sync>);

impl fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnFailure")
    }
}

/// The options of a running server, as the builder's methods of the same names document them.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) connect_timeout: Duration,
    pub(crate) ack_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) max_handlers: usize,
    pub(crate) max_namespaces: usize,
    pub(crate) namespace_linger: Duration,
    pub(crate) require_cluster: bool,
    pub(crate) drain_grace: Duration,
    pub(crate) drain_window: Duration,
    pub(crate) decoder: DecoderLimits,
    pub(crate) rate_limits: RateLimits,
    pub(crate) states: States,
    pub(crate) answer_failures: Option<AnswerFailures>,
    pub(crate) on_failure: Option<OnFailure>,
    /// One event of a socket at a time.
    pub(crate) ordered: bool,
}

impl Config {
    /// How many of the handlers that may run at the same time the handler of an event with so many bytes counts for.
    pub(crate) fn weight(&self, bytes: usize) -> u32 {
        let most = self.decoder.max_bytes.saturating_mul(HANDLER_PAYLOADS).max(1);
        let share = bytes as u128 * self.max_handlers as u128 / most as u128;
        u32::try_from(share).unwrap_or(u32::MAX).saturating_add(1)
    }
}

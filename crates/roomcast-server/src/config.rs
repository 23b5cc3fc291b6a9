//! [`Config`]: the options that namespaces and clients look at while the server runs. The [`Builder`](crate::Builder) sets them.

use crate::rate_limits::RateLimits;
use roomcast_protocol::DecoderLimits;
use std::time::Duration;

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
}

//! Structured logging to standard error.

use crate::settings::typed::{Log, LogFormat};
use std::io::{self, IsTerminal as _};
use tracing_subscriber::EnvFilter;

/// Starts logging. The formatter escapes control characters in fields, so that a client cannot send control sequences to the operator's
/// terminal.
pub(crate) fn start(log: &Log) {
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match log.format {
        LogFormat::Text => subscriber.with_target(false).with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}

/// Why a filter cannot be used, if so.
pub(crate) fn mistake(filter: &str) -> Option<String> {
    EnvFilter::try_new(filter).err().map(|error| format!("{error}; write such as info, or info,roomcast_engine=debug"))
}

//! [`Check`]: one of the checks of a server's health.

use serde::Serialize;
use std::sync::Arc;

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Whether it passes.
    pub ok: bool,
    /// Whether the server is ready only if it passes.
    pub required: bool,
    /// Why it passes or fails, for an operator.
    pub reason: String,
}

/// The checks that the application has added, with their names.
pub(crate) type Checks = Vec<(&'static str, Arc<dyn Fn() -> Check + Send + Sync>)>;

impl Check {
    /// A check without which the server is not ready.
    pub fn required(ok: bool, reason: impl Into<String>) -> Self {
        Self { ok, required: true, reason: reason.into() }
    }

    /// A check that is shown, and does not decide whether the server is ready. It is right for a fault that all servers share: clients
    /// would not be better off elsewhere.
    pub fn optional(ok: bool, reason: impl Into<String>) -> Self {
        Self { ok, required: false, reason: reason.into() }
    }
}

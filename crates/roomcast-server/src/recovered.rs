//! What recovery means for a [`Socket`]: what came of its client's wish, emitting what may be missed, and keeping its session.

use crate::error::EmitError;
use crate::parts::{Phase, Socket, Stage};
use crate::reason::DisconnectReason;
use crate::recovery::RecoveryOutcome;
use roomcast_adapter::Emit;
use roomcast_engine::CloseReason;
use roomcast_protocol::Args;
use std::borrow::Cow;

impl Socket {
    /// Whether the socket continues the session that its client had before it lost its connection: with the same id, rooms and data,
    /// and with every event that it missed ([`Builder::recovery`](crate::Builder::recovery)).
    pub fn recovered(&self) -> bool {
        self.recovery_outcome() == RecoveryOutcome::Recovered
    }

    /// As [`Socket::recovered`], with the reason why it does not.
    pub fn recovery_outcome(&self) -> RecoveryOutcome {
        self.0.state.lock().recovery
    }

    /// Emits an event that the client gets later if it misses it now.
    pub(crate) fn emit_recoverable(&self, emit: Emit<'_>) -> Result<(), EmitError> {
        let data = emit.data;
        // Before its CONNECT a client has no session that could miss anything.
        let is_in = !matches!(&self.0.state.lock().phase, Phase::Connecting(connecting) if connecting.stage == Stage::Middlewares);
        if is_in && let Some(recovery) = self.namespace().adapter().recovery() {
            if recovery.emit_to(self.id(), emit)? {
                return Ok(());
            }
            if self.is_connected() {
                return Err(EmitError::Disconnected);
            }
        }
        self.send_packet(self.parser().event(self.namespace().name(), None, &without_offset(data))?).map(drop)
    }

    /// Keeps the session of a socket that ends, in place of removing it from the adapter. `false` if it is not one that may come back.
    pub(crate) fn keep(&self, reason: DisconnectReason) -> bool {
        if !self.namespace().0.recovers || !is_recoverable(reason) {
            return false;
        }
        let Some(recovery) = self.namespace().adapter().recovery() else { return false };
        let values = self.0.state.lock().kept.as_ref().map(|kept| kept.extensions.clone());
        let values = values.filter(|values| !values.is_empty());
        // Before the session can be found.
        let keeps_values = values.is_some();
        if let Some(values) = values {
            let replaced = self.namespace().0.kept_values.lock().insert(self.id(), values);
            drop(replaced);
        }
        let saved = recovery.save(self.id(), &self.0.data_json());
        if keeps_values && !saved {
            let not_kept = self.namespace().0.kept_values.lock().remove(&self.id());
            // Outside the lock: values are the application's.
            drop(not_kept);
        }
        saved
    }
}

/// Whether a client that was lost for that reason may continue its session: not one that left, that the server disconnected, or that broke
/// the rules. As in Node, and for slow consumers, which Node does not have.
fn is_recoverable(reason: DisconnectReason) -> bool {
    matches!(
        reason,
        DisconnectReason::Connection(
            CloseReason::PingTimeout
                | CloseReason::TransportError
                | CloseReason::TransportClose
                | CloseReason::ForcedClose
                | CloseReason::ForcedServerClose
                | CloseReason::ServerShutdown
                | CloseReason::SlowConsumer
        )
    )
}

/// An event that has no offset must not end in a string: clients take the last string of any event for an offset.
pub(crate) fn without_offset(data: &Args) -> Cow<'_, Args> {
    if data.ends_in_text() { Cow::Owned(data.with_item("null")) } else { Cow::Borrowed(data) }
}

//! [`Inbox`]: where a broker puts what it hears, as [`Arrival`]s.

use crate::cluster::seam::message::Message;
use crate::cluster::seam::trailer::Trailer;

/// Where a broker puts what it hears.
pub trait Inbox: Send + Sync + 'static {
    /// Whether anybody here would get a broadcast to this room alone, once all that was handed over has been applied. It may be
    /// asked before decoding, as most broadcasts of a large cluster are for others; what is not decoded for it is handed over as
    /// [`Arrival::PassedOver`].
    fn wants(&self, room: &str) -> bool;

    /// Whether an answer to this question is awaited here. It may be asked before decoding: in dialects in which all hear all answers,
    /// most are for others.
    fn awaits(&self, request: &str) -> bool {
        let _ = request;
        true
    }

    /// These have come, in this order. What comes together is handed over together: what it makes for one client leaves in one
    /// write.
    fn receive(&self, arrivals: Vec<Arrival>);

    /// From now on messages come: those for all, those for this server, and those to rooms that are wanted. It is told before the
    /// first of them, once after `open`, and once after each `lost`.
    fn connected(&self);

    /// Messages do not come for now. It is told once, and only after `connected`.
    fn lost(&self);
}

/// What a broker hands to an inbox, in the order in which it came.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Arrival {
    /// A message.
    Message(Message),
    /// A broadcast to one room that nobody here is in, so it was not decoded. It was heard all the same, and is no loss.
    PassedOver(Trailer),
    /// What is no message, and why. Never fatal: it is counted.
    Malformed(String),
}

/// Counts an arrival that is not a message.
pub(crate) fn malformed(error: &str) {
    metrics::counter!("roomcast_cluster_malformed_total").increment(1);
    tracing::debug!(error, "what another server published is no message");
}

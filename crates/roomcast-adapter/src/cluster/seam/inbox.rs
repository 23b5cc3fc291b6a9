//! [`Inbox`]: what a broker hands its [`Arrival`]s to.

use crate::cluster::seam::message::Message;
use crate::cluster::seam::trailer::Trailer;

/// Takes what a broker receives. The cluster implements it; a broker calls it.
pub trait Inbox: Send + Sync + 'static {
    /// Whether a broadcast to this room only would reach anybody here, after everything handed over so far has been
    /// applied. It may be asked before decoding, as in a large cluster most broadcasts are for other servers; a message
    /// that is not decoded for this reason is handed over as [`Arrival::PassedOver`].
    fn wants(&self, room: &str) -> bool;

    /// Whether this server awaits an answer to this question. It may be asked before decoding: in dialects in which
    /// every server receives every answer, most answers are for other servers.
    fn awaits(&self, request: &str) -> bool {
        let _ = request;
        true
    }

    /// Takes messages, in order of arrival. What is handed over together leaves for each client in one write.
    fn receive(&self, arrivals: Vec<Arrival>);

    /// Messages arrive from now on: those for all servers, those for this server, and those for rooms that are wanted.
    /// Call it before the first message is handed over, once after `open`, and once after each `lost`.
    fn connected(&self);

    /// Messages do not arrive for now. Call it once for each interruption, and only after `connected`.
    fn lost(&self);
}

/// What a broker hands to an inbox, in order of arrival.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Arrival {
    /// A message.
    Message(Message),
    /// The trailer of a broadcast to one room that nobody here is in, which was not decoded. It does not count as lost.
    PassedOver(Trailer),
    /// Input that is not a message, with the reason. This is never fatal: it is counted.
    Malformed(String),
}

/// Counts an arrival that is not a message.
pub(crate) fn malformed(error: &str) {
    metrics::counter!("roomcast_cluster_malformed_total").increment(1);
    tracing::debug!(error, "another server published something that is not a message");
}

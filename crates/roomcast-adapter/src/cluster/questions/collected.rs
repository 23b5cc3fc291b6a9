//! [`CollectedAcks`]: the acknowledgements of a broadcast, while they come.

use crate::cluster::questions::requests::ReceivedAnswer;
use crate::cluster::seam::message::Body;
use roomcast_protocol::Args;

/// The acknowledgements of a broadcast, from here and from the other servers.
#[derive(Default)]
pub(crate) struct CollectedAcks {
    pub(crate) answers: Vec<Args>,
    /// Clients that the other servers asked, as far as they have said.
    pub(crate) asked: u64,
    /// Clients of theirs that have answered.
    answered: u64,
}

impl CollectedAcks {
    /// A local client has answered.
    pub(crate) fn local(&mut self, args: Args) {
        self.answers.push(args);
    }

    /// Another server has said how many it asked.
    pub(crate) fn asked(&mut self, count: u64) {
        self.asked = self.asked.saturating_add(count);
    }

    /// A client of another server has answered.
    pub(crate) fn remote(&mut self, answer: ReceivedAnswer) {
        if let Body::ClientAck { args, .. } = answer.body {
            self.answered += 1;
            self.answers.push(args);
        }
    }

    /// Whether clients of other servers are awaited still, as far as these have said.
    pub(crate) fn awaits_remote(&self) -> bool {
        self.answered < self.asked
    }
}

//! [`CollectedAcks`]: the acknowledgements of a broadcast, as they arrive.

use crate::cluster::questions::requests::ReceivedAnswer;
use crate::cluster::seam::message::Body;
use roomcast_protocol::Args;

/// The acknowledgements of a broadcast, from this server's clients and from those of other servers.
#[derive(Default)]
pub(crate) struct CollectedAcks {
    pub(crate) answers: Vec<Args>,
    /// The number of clients that other servers asked, as far as these have said.
    pub(crate) asked: u64,
    /// The number of these clients that have answered.
    answered: u64,
}

impl CollectedAcks {
    /// Takes the answer of a client of this server.
    pub(crate) fn local(&mut self, args: Args) {
        self.answers.push(args);
    }

    /// Takes the number of clients that another server asked.
    pub(crate) fn asked(&mut self, count: u64) {
        self.asked = self.asked.saturating_add(count);
    }

    /// Takes the answer of a client of another server.
    pub(crate) fn remote(&mut self, answer: ReceivedAnswer) {
        if let Body::ClientAck { args, .. } = answer.body {
            self.answered += 1;
            self.answers.push(args);
        }
    }

    /// Whether clients of other servers have still to answer, as far as their servers have said.
    pub(crate) fn awaits_remote(&self) -> bool {
        self.answered < self.asked
    }
}

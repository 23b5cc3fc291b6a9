//! [`Collected`]: the acknowledgements of a broadcast, while they come; and [`Others`], the servers that are awaited.

use super::message::Body;
use super::requests::{Answered, Answerers, Request};
use crate::acks::Acks;
use roomcast_protocol::Args;
use tokio::time::{Instant, sleep_until};

/// How many other servers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    All(usize),
    /// Some could not be counted.
    AtLeast(usize),
    /// Nobody can tell.
    Unknown,
}

impl Others {
    /// Whether more answers may come than these.
    pub(super) fn awaits(self, answered: &Answerers) -> bool {
        match self {
            Self::All(expected) | Self::AtLeast(expected) => answered.count < expected,
            Self::Unknown => true,
        }
    }
}

/// The acknowledgements of a broadcast, from here and from the other servers.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) answers: Vec<Args>,
    pub(super) remote: Remote,
    /// Other servers that have said how many they asked.
    pub(super) servers: Answerers,
}

/// The clients of other servers.
#[derive(Default)]
pub(super) struct Remote {
    /// As far as the servers have said.
    pub(super) asked: u64,
    answered: u64,
}

impl Collected {
    /// Collects until all are in, or `until`. Of the other servers answers come by `request`, if they were asked.
    pub(super) async fn run(&mut self, mut acks: Acks, mut request: Option<Request>, others: Others, until: Instant) {
        // Local clients that left are not waited for; of remote ones that is not told.
        let mut here = true;
        loop {
            let there = request.is_some() && (others.awaits(&self.servers) || self.remote.answered < self.remote.asked);
            if !here && !there {
                return;
            }
            let remote = async {
                match &mut request {
                    Some(request) => request.next().await,
                    None => std::future::pending().await,
                }
            };
            // What has come in time counts, however long the others were counted.
            tokio::select! {
                biased;
                answer = acks.next(), if here => match answer {
                    Some((_, args)) => self.answers.push(args),
                    None => here = false,
                },
                answer = remote, if there => {
                    let Some(answer) = answer else { return };
                    self.take(answer);
                }
                () = sleep_until(until) => return,
            }
        }
    }

    fn take(&mut self, answer: Answered) {
        match answer.body {
            Body::AskedClients { count, .. } if self.servers.is_first(answer.sender.as_ref()) => {
                self.remote.asked = self.remote.asked.saturating_add(count);
            }
            Body::ClientAck { args, .. } => {
                self.remote.answered += 1;
                self.answers.push(args);
            }
            _ => {}
        }
    }
}

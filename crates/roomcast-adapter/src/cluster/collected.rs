//! [`Collected`]: the acknowledgements of a broadcast, while they come.

use super::message::Body;
use super::requests::{Answered, Answerers, Request};
use crate::acks::Acks;
use roomcast_protocol::Args;
use tokio::time::{Instant, sleep_until};

/// The acknowledgements of a broadcast, from here and from the other servers.
pub(super) struct Collected {
    pub(super) answers: Vec<Args>,
    /// Clients that were asked, as far as the servers have said.
    pub(super) asked: u64,
    /// Other servers that have said how many they asked.
    pub(super) servers: Answerers,
}

impl Collected {
    /// Collects until all are in, or `until`. Of `expected` other servers answers come by `request`.
    pub(super) async fn run(&mut self, mut acks: Acks, mut request: Option<Request>, expected: usize, until: Instant) {
        let mut here = true;
        while here || self.servers.count < expected || (self.answers.len() as u64) < self.asked {
            // Local clients that left are not waited for; of remote ones that is not told.
            if !here && expected == 0 {
                return;
            }
            let remote = async {
                match &mut request {
                    Some(request) if expected > 0 => request.next().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep_until(until) => return,
                answer = acks.next(), if here => match answer {
                    Some((_, args)) => self.answers.push(args),
                    None => here = false,
                },
                answer = remote => {
                    let Some(answer) = answer else { return };
                    if !self.servers.is_double(&answer) {
                        self.take(answer);
                    }
                }
            }
        }
    }

    fn take(&mut self, answer: Answered) {
        match answer.body {
            Body::AskedClients { count, .. } if self.servers.is_first(answer.sender.as_ref()) => {
                self.asked = self.asked.saturating_add(count);
            }
            Body::ClientAck { args, .. } => self.answers.push(args),
            _ => {}
        }
    }
}

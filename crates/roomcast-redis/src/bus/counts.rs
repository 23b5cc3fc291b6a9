//! [`Counts`]: how many are subscribed to channels. Those that are asked for while Redis is asked for others are asked together:
//! a server that ends asks for all its namespaces at once.

use super::topology::Topology;
use crate::error::RedisError;
use parking_lot::Mutex;
use roomcast_adapter::cluster::Count;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Most channels in one question.
const TOGETHER: usize = 512;

/// Questions that are under way at once: with one, all others would wait for an answer that does not come.
const AT_ONCE: usize = 2;

type Answer = oneshot::Sender<Result<Count, RedisError>>;

#[derive(Default)]
pub(super) struct Counts(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    channels: HashMap<Arc<str>, Vec<Answer>>,
    under_way: usize,
}

impl Waiting {
    /// What is asked next.
    fn take(&mut self) -> Vec<(Arc<str>, Vec<Answer>)> {
        let names: Vec<_> = self.channels.keys().take(TOGETHER).cloned().collect();
        names.iter().filter_map(|name| self.channels.remove_entry(name)).collect()
    }
}

impl Counts {
    /// Subscribers of a channel, as they are after this was called.
    pub(super) async fn of(self: &Arc<Self>, topology: &Arc<Topology>, channel: &str) -> Result<Count, RedisError> {
        let (answer, counted) = oneshot::channel();
        {
            let mut waiting = self.0.lock();
            let answers = waiting.channels.entry(channel.into()).or_default();
            answers.retain(|answer| !answer.is_closed());
            answers.push(answer);
            if waiting.under_way < AT_ONCE {
                waiting.under_way += 1;
                tokio::spawn(self.clone().ask(topology.clone()));
            }
        }
        counted.await.unwrap_or(Err(RedisError::Timeout))
    }

    async fn ask(self: Arc<Self>, topology: Arc<Topology>) {
        loop {
            let asked = {
                let mut waiting = self.0.lock();
                let asked = waiting.take();
                if asked.is_empty() {
                    waiting.under_way -= 1;
                    return;
                }
                asked
            };
            let (channels, answers): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
            let counts = topology.subscribers("NUMSUB", &channels).await;
            for (at, answers) in answers.into_iter().enumerate() {
                let count = counts.as_ref().map_err(Clone::clone).and_then(|counts| {
                    counts.get(at).copied().ok_or_else(|| RedisError::Other("a channel is not counted".to_owned()))
                });
                // Who asked may wait no more.
                answers.into_iter().for_each(|answer| drop(answer.send(count.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_are_asked_together_and_one_more() {
        let mut waiting = Waiting::default();
        for number in 0..=TOGETHER {
            waiting.channels.insert(number.to_string().into(), Vec::new());
        }
        assert_eq!([(); 3].map(|()| waiting.take().len()), [TOGETHER, 1, 0]);
    }
}

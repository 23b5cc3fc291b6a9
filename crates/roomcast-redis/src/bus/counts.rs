//! [`Counts`]: how many subscribers channels have. Channels that are asked for while Redis answers about others go into
//! one question: a server that shuts down asks for all its namespaces at once.

use crate::error::RedisError;
use crate::topology::Topology;
use parking_lot::Mutex;
use roomcast_adapter::cluster::Count;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::oneshot;

const CHANNELS_PER_QUESTION: usize = 512;

/// Questions in flight. With only one, all others would wait for an answer that does not come.
const QUESTIONS_IN_FLIGHT: usize = 2;

type Waiter = oneshot::Sender<Result<Count, RedisError>>;

#[derive(Default)]
pub(super) struct Counts(Mutex<State>);

#[derive(Default)]
struct State {
    /// Channels to ask for, and who waits for the answer.
    waiting: HashMap<Arc<str>, Vec<Waiter>>,
    in_flight: usize,
}

impl State {
    fn take(&mut self) -> Vec<(Arc<str>, Vec<Waiter>)> {
        let names: Vec<_> = self.waiting.keys().take(CHANNELS_PER_QUESTION).cloned().collect();
        names.iter().filter_map(|name| self.waiting.remove_entry(name)).collect()
    }
}

impl Counts {
    /// Subscribers of a channel, counted after this call.
    pub(super) async fn of(self: &Arc<Self>, topology: &Arc<Topology>, channel: &str) -> Result<Count, RedisError> {
        let (waiter, counted) = oneshot::channel();
        {
            let mut state = self.0.lock();
            let waiters = state.waiting.entry(channel.into()).or_default();
            waiters.retain(|waiter| !waiter.is_closed());
            waiters.push(waiter);
            if state.in_flight < QUESTIONS_IN_FLIGHT {
                state.in_flight += 1;
                tokio::spawn(self.clone().ask(topology.clone()));
            }
        }
        counted.await.unwrap_or(Err(RedisError::Timeout))
    }

    async fn ask(self: Arc<Self>, topology: Arc<Topology>) {
        loop {
            let asked = {
                let mut state = self.0.lock();
                let asked = state.take();
                if asked.is_empty() {
                    state.in_flight -= 1;
                    return;
                }
                asked
            };
            let (channels, waiters): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
            let counts = topology.subscribers("NUMSUB", &channels).await;
            for (at, waiters) in waiters.into_iter().enumerate() {
                let count = counts.as_ref().map_err(Clone::clone).and_then(|counts| {
                    let missing = || RedisError::Other("a channel is missing in the answer to PUBSUB".to_owned());
                    counts.get(at).copied().ok_or_else(missing)
                });
                // A caller may have stopped waiting.
                waiters.into_iter().for_each(|waiter| drop(waiter.send(count.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_at_the_limit_and_one_channel_past_it() {
        let mut state = State::default();
        for number in 0..=CHANNELS_PER_QUESTION {
            state.waiting.insert(number.to_string().into(), Vec::new());
        }
        assert_eq!([(); 3].map(|()| state.take().len()), [CHANNELS_PER_QUESTION, 1, 0]);
    }
}

//! Acknowledgements that are awaited from this server's sockets.

use crate::local::Local;
use hashbrown::HashSet;
use roomcast_protocol::{Args, SocketId};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// What one emit waits for. It lives in the namespace's table until all have answered or [`Acks`] is dropped.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Sockets that have not answered.
    pub(crate) silent: HashSet<SocketId, foldhash::fast::RandomState>,
    /// Sockets that will not answer any more: they left, or were at their limit.
    pub(crate) lost: usize,
    pub(crate) answers: VecDeque<(SocketId, Args)>,
    pub(crate) waker: Option<Waker>,
}

/// The acknowledgements of one emit, as they come. Dropping it gives the rest up.
#[derive(Debug)]
pub struct Acks {
    pub(crate) local: Arc<Local>,
    pub(crate) id: u64,
    pub(crate) asked: usize,
}

impl Acks {
    /// Number of sockets that were asked.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// The next answer; `None` once no more can come. Cancel safe: no answer is lost.
    pub async fn next(&mut self) -> Option<(SocketId, Args)> {
        poll_fn(|cx| {
            // The waker of an earlier poll is dropped outside the lock, as its end may be somebody's code.
            let (answer, _earlier) = self.local.with_waiting(self.id, |waiting| {
                let Some(waiting) = waiting else {
                    return (Poll::Ready(None), None);
                };
                if let Some(answer) = waiting.answers.pop_front() {
                    return (Poll::Ready(Some(answer)), None);
                }
                if waiting.silent.is_empty() {
                    return (Poll::Ready(None), None);
                }
                (Poll::Pending, waiting.waker.replace(cx.waker().clone()))
            });
            answer
        })
        .await
    }
}

impl Drop for Acks {
    fn drop(&mut self) {
        self.local.give_up(self.id);
    }
}

//! [`Acks`]: the acknowledgements of one emit, and the emit that collects them.

use crate::rooms::local::Local;
use crate::seam::adapter::Emit;
use crate::seam::error::AdapterError;
use crate::seam::target::Target;
use roomcast_protocol::{Args, SocketId};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

/// The acknowledgements of one emit, as they arrive. Dropping it gives up those that are still pending.
#[derive(Debug)]
pub struct Acks {
    pub(crate) local: Arc<Local>,
    pub(crate) id: u64,
    pub(crate) asked: usize,
}

impl Acks {
    /// The number of sockets that were asked.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// The next answer; `None` once no more can arrive. Cancel safe: no answer is lost.
    pub async fn next(&mut self) -> Option<(SocketId, Args)> {
        poll_fn(|cx| {
            // The waker of an earlier poll is dropped outside the lock: dropping it may run foreign code.
            let (answer, _earlier) = self.local.with_pending(self.id, |pending| {
                let Some(pending) = pending else {
                    return (Poll::Ready(None), None);
                };
                if let Some(answer) = pending.answers.pop_front() {
                    return (Poll::Ready(Some(answer)), None);
                }
                if pending.unanswered.is_empty() {
                    return (Poll::Ready(None), None);
                }
                (Poll::Pending, pending.waker.replace(cx.waker().clone()))
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

impl Local {
    /// Emits to sockets of this server and collects their acknowledgements. `under_lock` is as in [`Local::emit`].
    ///
    /// # Errors
    /// [`AdapterError::TooLarge`]: nothing was sent.
    pub fn emit_for_acks(
        &self,
        target: &Target,
        emit: Emit<'_>,
        under_lock: impl FnOnce(),
    ) -> Result<Acks, AdapterError> {
        let (local, id, asked) = self.emit_awaiting(target, emit, under_lock)?;
        Ok(Acks { local, id, asked })
    }
}

//! [`Acks`]: the acknowledgements of one emit, and the emit that collects them.

use crate::rooms::local::{Local, State};
use crate::rooms::pending_acks::PendingEmit;
use crate::seam::adapter::Emit;
use crate::seam::error::AdapterError;
use crate::seam::recipient::Wakes;
use crate::seam::target::Target;
use roomcast_protocol::{Args, Packet, SocketId};
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
        let id = {
            let mut state = self.state.lock();
            let id = state.next_ack;
            // 2^53 ids last for centuries at a million a second.
            state.next_ack += 1;
            id
        };
        let packet = Packet::event(self.namespace(), Some(id), emit.data)?.with_volatile(emit.volatile);
        let packet = Arc::new(packet);
        let (mut wakes, mut refused) = (Wakes::new(), 0_usize);
        let asked = {
            let mut state = self.state.lock();
            let State { index, pending, .. } = &mut *state;
            under_lock();
            let mut slots = Vec::new();
            index.walk(target, |slot, recipient| slots.push((slot, recipient.clone())));
            let mut new = PendingEmit::default();
            for (slot, recipient) in &slots {
                let socket = index.id_of(*slot);
                if !pending.expect(socket, id) {
                    refused += 1;
                    continue;
                }
                new.unanswered.insert(socket);
                recipient.deliver(&packet, &mut wakes);
            }
            // Answers need this lock, so none can arrive before the entry exists.
            pending.begin(id, new);
            slots.len()
        };
        wakes.wake();
        if refused > 0 {
            metrics::counter!("roomcast_acks_refused_total").increment(refused as u64);
            tracing::debug!(
                sockets = refused,
                "too many acknowledgements pending from a socket; it was not asked again"
            );
        }
        #[expect(clippy::unreachable, reason = "`self` is borrowed from the very Arc that `this` points to")]
        let Some(local) = self.this.upgrade() else { unreachable!("borrowed from its own Arc") };
        Ok(Acks { local, id, asked })
    }

    pub(crate) fn with_pending<T>(&self, id: u64, read: impl FnOnce(Option<&mut PendingEmit>) -> T) -> T {
        read(self.state.lock().pending.get(id))
    }

    pub(crate) fn give_up(&self, id: u64) {
        let ended = self.state.lock().pending.end(id);
        // Outside the lock: dropping a waker may run foreign code.
        drop(ended);
    }
}

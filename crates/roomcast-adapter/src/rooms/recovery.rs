//! [`Local`] as [`Recovery`]: sessions and a log in memory, under the same lock as the rooms.

use crate::limits::RECOVERY_TAKEOVER;
use crate::rooms::history::offset::Place;
use crate::rooms::history::recoverer::Recoverer;
use crate::rooms::history::sessions::Claim;
use crate::rooms::local::{Local, State};
use crate::seam::adapter::Emit;
use crate::seam::error::AdapterError;
use crate::seam::recipient::{Recipient, Wakes};
use crate::seam::recovery::{Found, NotRecovered, Recovery, Swept};
use crate::seam::room::Room;
use crate::seam::target::Target;
use async_trait::async_trait;
use roomcast_protocol::{Packet, Pid, SocketId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long somebody who waits for a session waits before he looks again, unless he is told.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Local {
    fn recoverer(&self) -> Result<&Recoverer, NotRecovered> {
        self.recoverer.as_deref().ok_or(NotRecovered::Unknown)
    }

    fn give_back(&self, id: SocketId) {
        if let Some(history) = &mut self.state.lock().history {
            history.sessions.give_back(id);
        }
        self.tell_waiting();
    }

    /// Tells those who wait for a session.
    pub(super) fn tell_waiting(&self) {
        if let Some(recoverer) = &self.recoverer {
            recoverer.changed.notify_waiters();
        }
    }
}

#[async_trait]
impl Recovery for Local {
    fn begin(
        &self,
        pid: Pid,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError> {
        let mut wakes = Wakes::new();
        {
            let mut state = self.state.lock();
            let State { index, history, .. } = &mut *state;
            index.insert(id, recipient.clone(), rooms)?;
            if let Some(history) = history {
                history.sessions.begin(pid, id, history.log.next());
            }
            if let Some(welcome) = welcome {
                recipient.deliver(welcome, &mut wakes);
            }
        }
        wakes.wake();
        self.feed.tell();
        Ok(())
    }

    fn emit_to(&self, id: SocketId, emit: Emit<'_>) -> Result<bool, AdapterError> {
        let Some(recoverer) = &self.recoverer else { return Ok(false) };
        let mut wakes = Wakes::new();
        let emitted = self.emit_logged(recoverer, &Target::socket(id), emit, &mut wakes, || {});
        wakes.wake();
        emitted
    }

    fn save(&self, id: SocketId, data: &str) -> bool {
        let (recipient, wakers, saved) = {
            let mut state = self.state.lock();
            let State { index, pending, history, .. } = &mut *state;
            let rooms = index.rooms_of(id);
            let recipient = index.remove(id);
            let mut saved = false;
            if let Some(history) = history.as_mut().filter(|_| recipient.is_some()) {
                let now = Instant::now();
                history.log.cut(now);
                saved = history.sessions.save(id, rooms, data, now);
            }
            (recipient, pending.left(id), saved)
        };
        // Outside the lock: dropping either may run foreign code.
        drop(recipient);
        wakers.into_iter().for_each(std::task::Waker::wake);
        self.tell_waiting();
        self.feed.tell();
        saved
    }

    async fn find(&self, pid: Pid, offset: Option<&str>) -> Result<Found, NotRecovered> {
        let recoverer = self.recoverer()?;
        let after = match offset.map(|offset| recoverer.offsets.read(offset)) {
            Some(None) => return Err(NotRecovered::Offset),
            Some(Some(Place::At(position))) => Some(position),
            // Its client has received nothing of this log: it keeps the last offset of any server.
            Some(Some(Place::Elsewhere)) | None => None,
        };
        let until = Instant::now() + RECOVERY_TAKEOVER;
        loop {
            let mut changed = std::pin::pin!(recoverer.changed.notified());
            // Before the look, so that nothing is missed in between.
            changed.as_mut().enable();
            let (claim, holder) = {
                let mut state = self.state.lock();
                let State { index, history: Some(history), .. } = &mut *state else {
                    return Err(NotRecovered::Unknown);
                };
                let now = Instant::now();
                history.log.cut(now);
                let claim = history.sessions.claim(pid, after, &history.log, now);
                let holder = if let Claim::Live(id) = claim { index.recipient(id) } else { None };
                (claim, holder)
            };
            match claim {
                Claim::Claimed { id, data } => {
                    let local = self.this.clone();
                    let give_back = move || {
                        if let Some(local) = local.upgrade() {
                            local.give_back(id);
                        }
                    };
                    return Ok(Found::new(pid, id, data, give_back));
                }
                Claim::Refused(why) => return Err(why),
                Claim::Live(_) | Claim::Claimable => {}
            }
            if Instant::now() >= until {
                return Err(NotRecovered::Held);
            }
            if let Some(holder) = holder {
                // The client has come back before the server noticed that it had lost the connection.
                holder.supersede();
            }
            let _ = timeout_at(until.min(Instant::now() + LOOK_AGAIN), changed).await;
        }
    }

    async fn enter(
        &self,
        found: Found,
        recipient: Arc<dyn Recipient>,
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), NotRecovered> {
        let id = found.id();
        let mut wakes = Wakes::new();
        {
            let mut state = self.state.lock();
            let State { index, history: Some(history), .. } = &mut *state else { return Err(NotRecovered::Unknown) };
            let (rooms, missed) = history.sessions.continue_claimed(id, &history.log)?;
            // Nobody else can have the id while its session is kept.
            index.insert(id, recipient.clone(), &rooms).map_err(|_| NotRecovered::Held)?;
            history.sessions.continued(id);
            for packet in missed.iter().chain(welcome) {
                recipient.deliver(packet, &mut wakes);
            }
        }
        found.settle();
        wakes.wake();
        self.feed.tell();
        Ok(())
    }

    fn sweep(&self, now: Instant) -> Swept {
        let mut state = self.state.lock();
        let Some(history) = &mut state.history else { return Swept::default() };
        history.sweep(now)
    }
}

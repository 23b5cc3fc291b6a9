//! What a [`Queue`] announces to other servers about this one, and reports to the application about losses.

use crate::cluster::membership::losses::LossLog;
use crate::cluster::seam::broker::{Outcome, Outgoing, SERVERS};
use crate::cluster::seam::ids::ServerId;
use crate::cluster::seam::message::{Body, Message};
use crate::cluster::seam::trailer::Trailer;
use crate::cluster::sending::backlog::NOT_TRIED;
use crate::cluster::sending::notices::NoticeKind;
use crate::cluster::sending::pace::{ANNOUNCEMENT_BYTES, alive_interval};
use crate::cluster::sending::queue::Queue;
use crate::cluster::state::ClusterState;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Most time that one batch may take.
pub(crate) const PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);

/// The reason if it took longer.
pub(crate) const NO_ANSWER: &str = "the broker does not answer";

impl Queue {
    /// Counts messages that did not arrive, and reports them to the log and to the hooks.
    pub(crate) fn report_losses(&self, log: &mut LossLog) {
        let now = Instant::now();
        let lost = {
            let mut directory = self.directory.lock();
            directory.age(now);
            directory.take_lost()
        };
        if let Some(messages) = log.lost(&lost, now) {
            tracing::warn!(
                messages,
                "messages of other servers did not arrive here, and clients of this server have missed them"
            );
        }
        if !lost.is_empty() {
            let hooks = self.on_lost.lock().clone();
            for (hook, lost) in hooks.iter().flat_map(|hook| lost.iter().map(move |lost| (hook, lost))) {
                // A panic must not end this task, which publishes.
                if catch_unwind(AssertUnwindSafe(|| hook(lost))).is_err() {
                    tracing::error!("a hook that was passed to Cluster::on_lost panicked");
                }
            }
        }
    }

    /// Updates the state that the application watches.
    pub(crate) fn update_state(&self) {
        let (now, peers) = (Instant::now(), self.directory.lock().servers(Instant::now()).count());
        let next = {
            let state = self.state.lock();
            let queued = state.len();
            let queued_bytes = state.bytes.iter().sum();
            ClusterState {
                hears: state.receives_since.is_some(),
                publishes: state.publishes(),
                since: now,
                peers,
                queued,
                queued_bytes,
            }
        };
        let mut joins = false;
        self.watched.send_if_modified(|state| {
            joins = next.hears && !state.hears;
            state.becomes(next)
        });
        if joins {
            tracing::info!(peers, "joined the cluster: what other servers send arrives");
        }
    }

    /// The time between two announcements of this server.
    pub(crate) fn announcement_interval(&self) -> Duration {
        alive_interval(1 + self.directory.lock().approximate_size(Instant::now()))
    }

    /// Most bytes of an announcement.
    pub(crate) fn announcement_limit(&self) -> usize {
        self.broker.largest().min(ANNOUNCEMENT_BYTES)
    }

    /// Announces what has changed on this server since the last announcement. The error says why that did not go out.
    pub(crate) async fn announce_alive(&self) -> Result<(), String> {
        let _one_at_a_time = self.announcing.lock().await;
        let interval = u64::try_from(self.announcement_interval().as_millis()).unwrap_or(u64::MAX);
        let news = std::mem::take(&mut self.state.lock().has_news);
        loop {
            let ((alive, more), trailer) = {
                let mut state = self.state.lock();
                // In this order: a number that is announced was given before the announcement's serial.
                (
                    state.numbers.announcement(interval, self.announcement_limit()),
                    state.numbers.next(self.process, SERVERS, None),
                )
            };
            let published = self.publish_unqueued(None, Body::Alive(alive.clone()), trailer).await;
            let mut state = self.state.lock();
            if let Err(reason) = published {
                state.numbers.not_announced(&alive);
                state.has_news |= news;
                return Err(reason);
            }
            state.numbers.announced(&alive, !more);
            if !more {
                return Ok(());
            }
        }
    }

    pub(crate) async fn announce_goodbye(&self) -> Result<(), String> {
        let trailer = self.state.lock().numbers.next(self.process, SERVERS, None);
        self.publish_unqueued(None, Body::Goodbye, trailer).await
    }

    /// Sends the notices that are due. Whoever misses one asks again.
    pub(crate) async fn send_notices(&self) {
        let due = self.state.lock().notices.due(Instant::now());
        for notice in due {
            let bodies = match notice.kind {
                NoticeKind::Hello => vec![Body::Hello],
                NoticeKind::Whole => {
                    let interval = u64::try_from(self.announcement_interval().as_millis()).unwrap_or(u64::MAX);
                    let parts = self.state.lock().numbers.whole(interval, self.announcement_limit());
                    parts.into_iter().map(Body::Alive).collect()
                }
            };
            for body in bodies {
                let trailer = self.state.lock().numbers.next(self.process, SERVERS, None);
                if self.publish_unqueued(notice.to.clone(), body, trailer).await.is_err() {
                    break;
                }
            }
        }
    }

    /// Publishes a message that is not worth queueing: if it does not go out, the next one will do.
    pub(crate) async fn publish_unqueued(
        &self,
        to: Option<ServerId>,
        body: Body,
        trailer: Trailer,
    ) -> Result<(), String> {
        let message = Message { sender: Some(self.id.clone()), to, trailer: Some(trailer), body };
        let outgoing = Outgoing { namespace: SERVERS.into(), message };
        let road = self.broker.route(&outgoing).road;
        let published = match timeout(PUBLISH_TIMEOUT, self.broker.publish(&[outgoing])).await.as_deref() {
            // After `Never`, other servers do not know this one's name and count no lost tails; its emits go out all
            // the same.
            Ok([Outcome::Sent | Outcome::Never(_), ..]) => Ok(()),
            Ok([Outcome::Again(reason), ..]) => Err(reason.clone()),
            Ok(_) => Err(NOT_TRIED.to_owned()),
            Err(_) => Err(NO_ANSWER.to_owned()),
        };
        self.state.lock().announcement_published(road, published.is_ok());
        published
    }
}

//! [`Subscription`]: the channels of one namespace or room, and who is told of their state.

use crate::delivery::{Listener, Waiter};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::oneshot;

pub(super) struct Subscription {
    pub(super) channels: Vec<Arc<str>>,
    /// How many of them are not subscribed.
    missing: usize,
    pub(super) listener: Arc<dyn Listener>,
    /// Whether the listener is told `connected` and `lost`. A namespace's is; for a room only waiters are told.
    notifies: bool,
    /// The listener was told `connected`.
    is_connected: bool,
    /// One of the channels is forbidden, or was when it was tried last.
    pub(super) denied: bool,
    waiters: Vec<Waiter>,
    pub(super) removal: Option<Removal>,
}

/// A subscription is no longer wanted. Until Redis has unsubscribed its channels, their messages still arrive.
pub(super) struct Removal {
    /// Channels that are not unsubscribed yet.
    pub(super) subscribed: usize,
    /// Dropped when all are.
    _done: oneshot::Sender<()>,
}

pub(super) enum Notice {
    Connected(Arc<dyn Listener>),
    Lost(Arc<dyn Listener>),
}

impl Subscription {
    pub(super) fn new(channels: Vec<Arc<str>>, listener: Arc<dyn Listener>, notifies: bool) -> Self {
        let missing = channels.len();
        let (waiters, removal) = (Vec::new(), None);
        Self { channels, missing, listener, notifies, is_connected: false, denied: false, waiters, removal }
    }

    pub(super) fn wait(&mut self, waiter: Waiter) {
        if self.missing == 0 {
            let _ = waiter.send(Ok(()));
        } else if self.denied {
            let _ = waiter.send(Err("Redis forbids its channel; retrying every 10 s".to_owned()));
        } else {
            self.waiters.retain(|waiter| !waiter.is_closed());
            self.waiters.push(waiter);
        }
    }

    /// One of its channels is subscribed. Returns whether the subscription is complete now and was forbidden before.
    pub(super) fn channel_subscribed(&mut self, notices: &mut VecDeque<Notice>) -> bool {
        self.missing = self.missing.saturating_sub(1);
        if self.missing > 0 {
            return false;
        }
        for waiter in self.waiters.drain(..) {
            let _ = waiter.send(Ok(()));
        }
        if self.notifies && !std::mem::replace(&mut self.is_connected, true) {
            notices.push_back(Notice::Connected(self.listener.clone()));
        }
        std::mem::take(&mut self.denied)
    }

    /// One of its channels is not subscribed any more.
    pub(super) fn channel_lost(&mut self, notices: &mut VecDeque<Notice>) {
        self.missing += 1;
        if std::mem::take(&mut self.is_connected) {
            notices.push_back(Notice::Lost(self.listener.clone()));
        }
    }

    /// One of its channels is forbidden. Returns whether that is new.
    pub(super) fn deny(&mut self, why: &str) -> bool {
        for waiter in self.waiters.drain(..) {
            let _ = waiter.send(Err(why.to_owned()));
        }
        !std::mem::replace(&mut self.denied, true)
    }

    /// It is no longer wanted. `done` is dropped when all its channels are unsubscribed.
    pub(super) fn begin_removal(&mut self, done: oneshot::Sender<()>) {
        self.waiters.clear();
        self.is_connected = false;
        self.removal = Some(Removal { subscribed: 0, _done: done });
    }
}

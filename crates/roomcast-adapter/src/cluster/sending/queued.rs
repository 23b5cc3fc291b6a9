//! [`QueuedMessage`]: a message in the queue.

use crate::cluster::seam::broker::{Outgoing, Route};
use crate::cluster::seam::message::{Body, Message};
use crate::cluster::seam::series::Series;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::time::Instant;

/// A message in the queue.
#[derive(Debug)]
pub(crate) struct QueuedMessage {
    pub(crate) outgoing: Outgoing,
    pub(crate) route: Route,
    pub(crate) series: Option<Series>,
    pub(crate) since: Instant,
    pub(crate) size: usize,
    /// Set if it may have gone out twice.
    pub(crate) again: Option<Arc<AtomicBool>>,
    /// It is an answer to a roomcast server.
    pub(crate) to_roomcast: bool,
}

impl QueuedMessage {
    /// Its number among all messages of this process: later messages have higher serials.
    pub(crate) fn serial(&self) -> u64 {
        self.outgoing.message.trailer.map_or(0, |trailer| trailer.serial)
    }

    pub(crate) fn may_have_gone_out(&self) -> bool {
        self.outgoing.message.trailer.is_some_and(|trailer| trailer.again)
    }

    /// What its asker is told if this answer is dropped.
    pub(crate) fn refusal(&self) -> Option<Outgoing> {
        let Outgoing { namespace, message: Message { sender, to, body, .. } } = &self.outgoing;
        if !self.to_roomcast || matches!(body, Body::ClientAck { .. } | Body::Refused { .. }) {
            return None;
        }
        let body = Body::Refused { request: body.answers()?.clone() };
        let message = Message { sender: sender.clone(), to: to.clone(), trailer: None, body };
        Some(Outgoing { namespace: namespace.clone(), message })
    }

    /// Its index in [`Backlog::bytes`](super::backlog::Backlog): 0 for answers, 1 for everything else.
    pub(crate) fn class(&self) -> usize {
        usize::from(self.outgoing.message.body.answers().is_none())
    }
}

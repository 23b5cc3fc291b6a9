//! [`Places`]: where each channel is now, as the Redis last told, and when to ask it again.

use super::slots::{Node, Slots};
use crate::bus::topology::{Topology, pause};
use crate::error::RedisError;
use crate::layout::Layout;
use parking_lot::Mutex;
use redis::cmd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// How often a Cluster is asked for its slots though nothing seems to be wrong.
pub(super) const REFRESH: Duration = Duration::from_secs(10);

/// Shared by what publishes and what hears.
pub(super) struct Places {
    pub(super) topology: Arc<Topology>,
    state: Mutex<State>,
    /// One asks at a time.
    asking: tokio::sync::Mutex<()>,
    /// They may have changed.
    pub(super) suspected: Notify,
}

#[derive(Default)]
struct State {
    slots: Slots,
    /// Counts answers and hints.
    version: u64,
    /// Nothing speaks against what was told last.
    trusted: bool,
    failures: u32,
    /// Not before then is asked again.
    until: Option<Instant>,
}

impl Places {
    pub(super) fn new(topology: Arc<Topology>) -> Self {
        Self { topology, state: Mutex::default(), asking: tokio::sync::Mutex::default(), suspected: Notify::new() }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.topology.config().layout, Layout::Cluster { .. })
    }

    /// Whether replicas may come to be the server in use, so that a connection must look whom it is to.
    pub(super) fn is_sentinel(&self) -> bool {
        matches!(self.topology.config().layout, Layout::Sentinel { .. })
    }

    /// Whether they are to be asked for.
    pub(super) fn is_suspected(&self) -> bool {
        !self.state.lock().trusted
    }

    /// When they may be asked for.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.state.lock().until
    }

    /// What was told last, and which telling it was.
    pub(super) fn told(&self) -> (u64, Slots) {
        let state = self.state.lock();
        (state.version, state.slots.clone())
    }

    /// A number for the node that has a slot, as far as is known; see [`Slots::road`].
    pub(super) fn road(&self, slot: u16) -> u16 {
        self.state.lock().slots.road(slot)
    }

    /// They may have changed: a server has failed, or says so.
    pub(super) fn suspect(&self) {
        self.state.lock().trusted = false;
        self.suspected.notify_one();
    }

    /// A node says that a slot has moved to another; an empty host is that of who says it.
    pub(super) fn moved(&self, by: &Node, slot: u16, host: &str, port: u16) {
        {
            let mut state = self.state.lock();
            let host = match (host, by.info.addr()) {
                ("", redis::ConnectionAddr::Tcp(host, _) | redis::ConnectionAddr::TcpTls { host, .. }) => host.clone(),
                _ => host.to_owned(),
            };
            state.slots.moved(slot, &host, port);
            state.version += 1;
        }
        self.suspect();
    }

    /// What is known, asked for anew if something speaks against it and it is time to.
    ///
    /// # Errors
    /// Nothing is known, and nobody tells.
    pub(super) async fn current(&self) -> Result<(u64, Slots), RedisError> {
        let is_due = |state: &State| !state.trusted && state.until.is_none_or(|until| Instant::now() >= until);
        let mut failed = None;
        if is_due(&self.state.lock()) {
            let _asking = self.asking.lock().await;
            // Another may have asked meanwhile.
            if is_due(&self.state.lock()) {
                failed = self.ask().await.err();
            }
        }
        let (version, slots) = self.told();
        match failed {
            Some(error) if slots.is_empty() => Err(error),
            _ if slots.is_empty() => Err(RedisError::Unreachable("nobody has told where channels are".to_owned())),
            _ => Ok((version, slots)),
        }
    }

    async fn ask(&self) -> Result<(), RedisError> {
        let timeouts = &self.topology.config().timeouts;
        let asked =
            timeout(timeouts.connect + timeouts.command, self.slots()).await.unwrap_or(Err(RedisError::Timeout));
        let mut state = self.state.lock();
        match &asked {
            Ok(slots) => {
                if state.slots != *slots {
                    state.slots = slots.clone();
                    state.version += 1;
                }
                // A failed node may still be told of for a while, and is then suspected again: not at once.
                state.until = Some(Instant::now() + pause(&RedisError::Timeout, 1));
                (state.trusted, state.failures) = (true, 0);
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                state.until = Some(Instant::now() + pause(error, state.failures));
                tracing::debug!(redis = %self.topology.config(), %error, "nobody tells where channels are");
            }
        }
        asked.map(drop)
    }

    async fn slots(&self) -> Result<Slots, RedisError> {
        if !self.is_cluster() {
            return Ok(Slots::all_of(Node::new(self.topology.current().await?)));
        }
        let (asked, mut connection) = self.topology.connection().await?;
        let text = cmd("CLUSTER").arg("NODES").query_async::<String>(&mut *connection).await;
        let text = text.map_err(RedisError::from).inspect_err(|error| self.topology.refused(error))?;
        self.topology.accepted();
        let slots = Slots::read(&text, &asked);
        if slots.is_empty() {
            return Err(RedisError::ClusterDown("no node has slots".to_owned()));
        }
        Ok(slots)
    }
}

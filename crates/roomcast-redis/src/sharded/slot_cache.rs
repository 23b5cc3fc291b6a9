//! [`SlotCache`]: the node of each slot as Redis last told it, and when to ask again.

use super::node::Node;
use super::slots::Slots;
use crate::config::layout::Layout;
use crate::error::RedisError;
use crate::topology::Topology;
use crate::topology::backoff::pause;
use parking_lot::Mutex;
use redis::cmd;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// How often a Cluster is asked for its slots when nothing seems to be wrong.
pub(super) const REFRESH: Duration = Duration::from_secs(10);

/// Shared by publishers and subscribers.
pub(super) struct SlotCache {
    pub(super) topology: Arc<Topology>,
    state: Mutex<State>,
    /// Held while Redis is asked.
    asking: tokio::sync::Mutex<()>,
    /// Wakes when the slots may have changed.
    pub(super) suspected: Notify,
    /// The [roads](Slots::road) of the nodes whose subscriber connection has ended since something was published there,
    /// with the time at which that no longer matters, if there is a new connection.
    interrupted: Mutex<BTreeMap<u16, Option<Instant>>>,
}

/// How long after this server has made a new subscriber connection others may need for theirs.
const OTHERS_TIME: Duration = Duration::from_secs(2);

#[derive(Default)]
struct State {
    slots: Slots,
    /// Counts the changes of `slots`.
    version: u64,
    /// Nothing suggests that the slots have changed since the last answer.
    trusted: bool,
    failures: u32,
    not_before: Option<Instant>,
}

impl SlotCache {
    pub(super) fn new(topology: Arc<Topology>) -> Self {
        Self {
            topology,
            state: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            suspected: Notify::new(),
            interrupted: Mutex::default(),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.topology.config().layout, Layout::Cluster { .. })
    }

    /// Whether the server in use is found through Sentinels. It may then become a replica, so each connection must
    /// check its role.
    pub(super) fn is_sentinel(&self) -> bool {
        matches!(self.topology.config().layout, Layout::Sentinel { .. })
    }

    /// Whether the slots may have changed, so that Redis is to be asked.
    pub(super) fn is_suspected(&self) -> bool {
        !self.state.lock().trusted
    }

    pub(super) fn not_before(&self) -> Option<Instant> {
        self.state.lock().not_before
    }

    /// The slots as they are known, and their version.
    pub(super) fn known(&self) -> (u64, Slots) {
        let state = self.state.lock();
        (state.version, state.slots.clone())
    }

    /// A number for the node that has a slot, as far as known; see [`Slots::road`].
    pub(super) fn road(&self, slot: u16) -> u16 {
        self.state.lock().slots.road(slot)
    }

    /// The subscriber connection to a node has ended.
    pub(super) fn interrupted(&self, node: &Node) {
        let road = self.state.lock().slots.road_of(node);
        self.interrupted.lock().extend(road.map(|road| (road, None)));
    }

    /// There is a subscriber connection to a node.
    pub(super) fn connected(&self, node: &Node) {
        let road = self.state.lock().slots.road_of(node);
        let mut interrupted = self.interrupted.lock();
        if let Some(until) = road.and_then(|road| interrupted.get_mut(&road)) {
            *until = Some(Instant::now() + OTHERS_TIME);
        }
    }

    pub(super) fn has_interruptions(&self) -> bool {
        !self.interrupted.lock().is_empty()
    }

    /// Whether a subscriber connection has ended on this road a moment ago, since this was asked last.
    pub(super) fn take_interrupted(&self, road: u16) -> bool {
        let interrupted = self.interrupted.lock().remove(&road);
        interrupted.is_some_and(|until| until.is_none_or(|until| Instant::now() < until))
    }

    /// The slots may have changed: a server has failed, or says that they have.
    pub(super) fn suspect(&self) {
        self.state.lock().trusted = false;
        self.suspected.notify_one();
    }

    /// Node `by` says that a slot has moved to another node. An empty host stands for the host of `by`.
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

    /// The slots and their version. Redis is asked first if they may have changed and it may be asked again.
    ///
    /// # Errors
    /// No slots are known, and Redis cannot be asked.
    pub(super) async fn current(&self) -> Result<(u64, Slots), RedisError> {
        let is_due = |state: &State| !state.trusted && state.not_before.is_none_or(|until| Instant::now() >= until);
        let mut failed = None;
        if is_due(&self.state.lock()) {
            let _asking = self.asking.lock().await;
            // Another may have asked meanwhile.
            if is_due(&self.state.lock()) {
                failed = self.ask().await.err();
            }
        }
        let (version, slots) = self.known();
        match failed {
            Some(error) if slots.is_empty() => Err(error),
            _ if slots.is_empty() => {
                Err(RedisError::Unreachable("it is not known yet which node has which channel".to_owned()))
            }
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
                // A failed node may still be listed for a while, and is then suspected again: Redis is not asked again
                // at once.
                state.not_before = Some(Instant::now() + pause(&RedisError::Timeout, 1));
                (state.trusted, state.failures) = (true, 0);
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                state.not_before = Some(Instant::now() + pause(error, state.failures));
                tracing::debug!(redis = %self.topology.config(), %error, "cannot learn which node has which channel");
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
        let text = text.map_err(RedisError::from).inspect_err(|error| self.topology.back_off(error))?;
        self.topology.clear_backoff();
        let slots = Slots::read(&text, &asked);
        if slots.is_empty() {
            return Err(RedisError::ClusterDown("none of its nodes has slots".to_owned()));
        }
        Ok(slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn an_interruption_counts_once_and_until_the_others_have_had_their_time() {
        let cache = SlotCache::new(Arc::new(Topology::new("redis+cluster://10.0.0.1:1".parse().unwrap())));
        let node = Node::new(redis::IntoConnectionInfo::into_connection_info("redis://10.0.0.1:1").unwrap());
        cache.interrupted(&node);
        assert!(!cache.take_interrupted(0) && !cache.has_interruptions(), "it has no slots");
        cache.state.lock().slots = Slots::all_of(node.clone());
        cache.connected(&node);
        assert!(!cache.take_interrupted(0), "nothing was interrupted");
        // Without a new connection there is no limit.
        cache.interrupted(&node);
        advance(OTHERS_TIME * 100).await;
        assert!(!cache.take_interrupted(1) && cache.has_interruptions(), "another road");
        assert!(cache.take_interrupted(0));
        assert!(!cache.take_interrupted(0), "once");
        for (after, expected) in [(OTHERS_TIME - Duration::from_millis(1), true), (OTHERS_TIME, false)] {
            cache.interrupted(&node);
            cache.connected(&node);
            advance(after).await;
            assert_eq!(cache.take_interrupted(0), expected, "{after:?}");
        }
    }
}

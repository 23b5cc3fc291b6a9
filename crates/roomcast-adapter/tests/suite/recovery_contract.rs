//! The contract of `Recovery`: the adapters in memory and of a cluster keep it, and each of its rules can fail.

use roomcast_adapter::async_trait;
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork};
use roomcast_adapter::testkit::{NAMESPACE, recovery_contract, recovery_rules};
use roomcast_adapter::{
    Acked, Action, Adapter, AdapterContext, AdapterError, Answer, Emit, Found, Joined, Local, LocalSizes, NotRecovered,
    Recipient, Recovery, RecoveryBounds, RecoverySpace, Room, SocketDetails, Swept, Target,
};
use roomcast_protocol::{Args, Packet, Pid, SocketId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

fn context() -> AdapterContext {
    let space = RecoverySpace::new(RecoveryBounds::default());
    AdapterContext::new(NAMESPACE, mpsc::channel(1).0).with_recovery(Some(space))
}

#[tokio::test(start_paused = true)]
async fn the_adapter_in_memory_keeps_the_contract_of_recovery() {
    recovery_contract(async || Local::of(&context()) as Arc<dyn Adapter>).await;
}

#[tokio::test(start_paused = true)]
async fn the_adapter_of_a_cluster_keeps_the_contract_of_recovery() {
    let make = async || {
        let cluster = Cluster::new(MemoryNetwork::new().broker(), ClusterOptions::default());
        cluster.adapter(context()) as Arc<dyn Adapter>
    };
    recovery_contract(make).await;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The session begins without a log.
    NoOffset,
    WelcomeFirst,
    EverythingIsMissed,
    OwnIsForgotten,
    LosesData,
    NeverGivesBack,
    KeepsWhoLeft,
    AnyOffset,
}

/// Each fault, and the rule that must catch it.
const FAULTS: &[(Fault, &str)] = &[
    (Fault::NoOffset, "offset"),
    (Fault::WelcomeFirst, "missed"),
    (Fault::EverythingIsMissed, "whole"),
    (Fault::OwnIsForgotten, "own"),
    (Fault::LosesData, "state"),
    (Fault::NeverGivesBack, "given_back"),
    (Fault::KeepsWhoLeft, "left"),
    (Fault::AnyOffset, "foreign"),
];

/// `Local` with one fault.
#[derive(Debug)]
struct Broken {
    inner: Arc<Local>,
    /// Without recovery.
    plain: Arc<Local>,
    fault: Fault,
}

#[tokio::test(start_paused = true)]
async fn each_fault_is_caught_by_its_rule() {
    for (fault, name) in FAULTS {
        let rule = recovery_rules().iter().find(|rule| rule.name == *name).unwrap();
        let broken = |fault| Broken { inner: Local::of(&context()), plain: Local::new(NAMESPACE), fault };
        let seen = rule.check(&broken(*fault)).await.expect_err(name);
        println!("{fault:?}: {seen}");
        rule.check(&broken(Fault::None)).await.unwrap();
    }
    let rules: BTreeSet<&str> = recovery_rules().iter().map(|rule| rule.name).collect();
    assert_eq!(rules, FAULTS.iter().map(|(_, name)| *name).collect());
}

#[async_trait]
impl Recovery for Broken {
    fn begin(
        &self,
        pid: Pid,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError> {
        if self.fault == Fault::NoOffset {
            return self.plain.insert(id, recipient, rooms, welcome);
        }
        self.inner.begin(pid, id, recipient, rooms, welcome)
    }

    fn emit_to(&self, id: SocketId, emit: Emit<'_>) -> Result<bool, AdapterError> {
        if self.fault == Fault::OwnIsForgotten && self.inner.rooms_of(id).is_empty() {
            return Ok(true);
        }
        self.inner.emit_to(id, emit)
    }

    fn save(&self, id: SocketId, data: &str) -> bool {
        self.inner.save(id, if self.fault == Fault::LosesData { "{}" } else { data })
    }

    async fn find(&self, pid: Pid, offset: Option<&str>) -> Result<Found, NotRecovered> {
        let offset = offset.filter(|_| self.fault != Fault::AnyOffset);
        let found = self.inner.find(pid, offset).await?;
        if self.fault == Fault::NeverGivesBack {
            let (pid, id, data) = (found.pid(), found.id(), found.data().into());
            found.settle();
            return Ok(Found::new(pid, id, data, || {}));
        }
        Ok(found)
    }

    async fn enter(
        &self,
        found: Found,
        recipient: Arc<dyn Recipient>,
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), NotRecovered> {
        if self.fault == Fault::WelcomeFirst {
            recipient.deliver(welcome.unwrap(), &mut roomcast_adapter::Wakes::new());
            return self.inner.enter(found, recipient, None).await;
        }
        self.inner.enter(found, recipient, welcome).await
    }

    fn sweep(&self, now: Instant) -> Swept {
        self.inner.sweep(now)
    }
}

#[async_trait]
impl Adapter for Broken {
    fn insert(
        &self,
        id: SocketId,
        recipient: Arc<dyn Recipient>,
        rooms: &[Room],
        welcome: Option<&Arc<Packet>>,
    ) -> Result<(), AdapterError> {
        self.inner.insert(id, recipient, rooms, welcome)
    }

    fn remove(&self, id: SocketId) {
        if self.fault == Fault::KeepsWhoLeft {
            self.inner.save(id, "{}");
        }
        self.inner.remove(id);
    }

    fn replace(&self, id: SocketId, recipient: Arc<dyn Recipient>) {
        self.inner.replace(id, recipient);
    }

    fn join(&self, id: SocketId, rooms: &[Room]) -> Result<Joined, AdapterError> {
        self.inner.join(id, rooms)
    }

    fn leave(&self, id: SocketId, room: &str) {
        self.inner.leave(id, room);
    }

    fn rooms_of(&self, id: SocketId) -> Vec<Room> {
        self.inner.rooms_of(id)
    }

    fn apply(&self, target: &Target, action: Action<'_>) -> Result<(), AdapterError> {
        match self.fault {
            Fault::NoOffset => self.plain.apply(target, action),
            Fault::EverythingIsMissed => self.inner.apply(&Target::everyone(), action),
            _ => self.inner.apply(target, action),
        }
    }

    fn ack(&self, from: SocketId, id: u64, args: Args) {
        self.inner.ack(from, id, args);
    }

    async fn emit_with_ack(&self, target: &Target, emit: Emit<'_>, timeout: Duration) -> Result<Acked, AdapterError> {
        let local = if self.fault == Fault::NoOffset { &self.plain } else { &self.inner };
        local.emit_with_ack(target, emit, timeout).await
    }

    async fn fetch_sockets(&self, target: &Target, timeout: Duration) -> Answer<Vec<SocketDetails>> {
        self.inner.fetch_sockets(target, timeout).await
    }

    async fn count(&self, target: &Target, timeout: Duration) -> Answer<usize> {
        self.inner.count(target, timeout).await
    }

    async fn all_rooms(&self, timeout: Duration) -> Answer<Vec<Room>> {
        self.inner.all_rooms(timeout).await
    }

    async fn server_count(&self) -> Answer<usize> {
        self.inner.server_count().await
    }

    fn server_side_emit(&self, data: &Args) -> Result<(), AdapterError> {
        self.inner.server_side_emit(data)
    }

    async fn server_side_emit_with_ack(
        &self,
        data: &Args,
        timeout: Duration,
    ) -> Result<Answer<Vec<Args>>, AdapterError> {
        self.inner.server_side_emit_with_ack(data, timeout).await
    }

    fn local_recipients(&self, target: &Target) -> Vec<Arc<dyn Recipient>> {
        self.inner.local_recipients(target)
    }

    fn local_sizes(&self) -> LocalSizes {
        self.inner.local_sizes()
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    fn recovery(&self) -> Option<&dyn Recovery> {
        Some(self)
    }
}

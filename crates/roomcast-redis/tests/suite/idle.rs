//! An emitter that was idle, and whose connection was dropped silently by a device in between, as NATs do.

use crate::common::fault_proxy::{FaultProxy, Which};
use crate::common::redis_process::{RedisProcess, wait_until};
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Arrival, Body, Broker, Emitter, Inbox};
use roomcast_protocol::Args;
use roomcast_redis::{ClassicBroker, ClassicOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longer than a connection is trusted without a check.
const IDLE: Duration = Duration::from_millis(3_200);

#[derive(Default)]
struct RecordingInbox {
    events: Mutex<Vec<Args>>,
    connected: AtomicBool,
}

impl Inbox for RecordingInbox {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            let Arrival::Message(message) = arrival else { panic!("{arrival:?}") };
            let Body::Broadcast { data, .. } = message.body else { panic!("{:?}", message.body) };
            self.events.lock().push(data);
        }
    }

    fn connected(&self) {
        self.connected.store(true, Ordering::Release);
    }

    fn lost(&self) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_emit_after_a_silent_drop_arrives_once() {
    let redis = RedisProcess::start().await;
    let proxy = FaultProxy::start(redis.port).await;
    let broker = |url: &str| ClassicBroker::new(url.parse().unwrap(), ClassicOptions::default());
    let (listening, inbox) = (broker(&redis.url()), Arc::<RecordingInbox>::default());
    listening.open(&"/".into(), &"listener".into(), inbox.clone());
    wait_until("the namespace is connected", async || inbox.connected.load(Ordering::Acquire)).await;
    let emitter = Emitter::new(broker(&proxy.url()));
    emitter.clone().emit("number", &1).await.unwrap();
    // A working connection is used again.
    tokio::time::sleep(IDLE).await;
    emitter.clone().emit("number", &2).await.unwrap();
    assert_eq!(proxy.accepted(), 1);
    tokio::time::sleep(IDLE).await;
    assert_eq!(proxy.half_open(Which::Publisher), 1);
    emitter.emit("number", &3).await.unwrap();
    wait_until("all messages have arrived", async || inbox.events.lock().len() >= 3).await;
    assert_eq!(*inbox.events.lock(), [1, 2, 3].map(|number| Args::event("number", &number).unwrap()));
    assert_eq!(proxy.accepted(), 2);
}

//! What the brokers measure: round trips, the way of announcements to Redis and back, and subscriptions.

use crate::common::redis_process::{RedisProcess, wait_until};
use metrics::{Counter, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use roomcast_adapter::AdapterContext;
use roomcast_adapter::cluster::{Broker, Cluster, ClusterOptions};
use roomcast_redis::{ClassicBroker, ClassicOptions, ShardedBroker, ShardedOptions};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How often each histogram was recorded, and the last value of each gauge and histogram, by name.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<HashMap<String, (usize, f64)>>>);

struct Series(Recorded, String);

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        let mut recorded = self.0.0.lock();
        let entry = recorded.entry(self.1.clone()).or_default();
        *entry = (entry.0 + 1, value);
    }
}

impl GaugeFn for Series {
    fn increment(&self, _: f64) {}
    fn decrement(&self, _: f64) {}
    fn set(&self, value: f64) {
        self.record(value);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Series(self.clone(), key.name().to_owned())))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Series(self.clone(), key.name().to_owned())))
    }
}

impl Recorded {
    fn of(&self, name: &str) -> (usize, f64) {
        self.0.lock().get(name).copied().unwrap_or_default()
    }
}

/// `subscribed`: how many channels and patterns a server with one namespace subscribes.
async fn check(broker: Arc<dyn Broker>, subscribed: f64) {
    let recorded = Recorded::default();
    // Everything runs on this thread.
    let _recording = metrics::set_default_local_recorder(&recorded);
    let cluster = Cluster::new(broker, ClusterOptions::default());
    let (server_events, _events) = mpsc::channel(1);
    let _adapter = cluster.adapter(AdapterContext::new("/", server_events));
    wait_until("announcements have come back", async || recorded.of("roomcast_cluster_delivery_lag_seconds").0 >= 2)
        .await;
    wait_until("everything is subscribed", async || recorded.of("roomcast_redis_subscriptions").1 == subscribed).await;
    for name in ["roomcast_cluster_delivery_lag_seconds", "roomcast_redis_rtt_seconds"] {
        let (count, seconds) = recorded.of(name);
        assert!(count >= 2 && (0.0..60.0).contains(&seconds), "{name}: {count}, {seconds}");
    }
    cluster.close().await;
}

#[tokio::test]
async fn the_classic_broker_measures() {
    let redis = RedisProcess::start().await;
    check(ClassicBroker::new(redis.url().parse().unwrap(), ClassicOptions::default()), CLASSIC).await;
}

#[tokio::test]
async fn the_sharded_broker_measures() {
    let redis = RedisProcess::start().await;
    check(ShardedBroker::new(redis.url().parse().unwrap(), ShardedOptions::default()), SHARDED).await;
}

/// The broadcasts of the namespace, its questions and two kinds of answers; the announcements, and those to this server.
const CLASSIC: f64 = 6.0;
/// The namespace's channel and its answers; the announcements, and those to this server.
const SHARDED: f64 = 4.0;

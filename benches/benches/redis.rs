//! Measures publishing to Redis and receiving from it: `cargo bench -p roomcast-benches --bench redis`. It starts a private `redis-server`.
//!
//! `hear` measures a broadcast of another server from Redis's push on: it is decoded and delivered, or skipped because its room has no
//! members here. `lane` measures one broker with its connection and batches of several sizes, as in a server. `lanes` measures several
//! brokers that publish at the same time, like several servers.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use roomcast_adapter::cluster::{
    Body, Broker as _, Cluster, ClusterOptions, Message, Outcome, Outgoing, ServerId, Trailer,
};
use roomcast_adapter::limits::MAX_SERVER_EVENTS;
use roomcast_adapter::testkit::CountingRecipient;
use roomcast_adapter::{Adapter as _, AdapterContext, Room, Target};
use roomcast_benches::redis::Redis;
use roomcast_protocol::{Args, SocketId};
use roomcast_redis::{ClassicBroker, ClassicOptions};
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Size of the event's argument in bytes.
const PAYLOAD: usize = 128;

/// Messages in a batch. A queue gives its broker what waits, at most 4,096; under a steady load that is a few.
const BATCHES: [usize; 3] = [1, 8, 64];

/// Numbers of brokers that publish at the same time, and the size of their batches.
const LANES: [usize; 2] = [2, 4];
const EACH: usize = 64;

fn redis(criterion: &mut Criterion) {
    let redis = match Redis::start(&[]) {
        Ok(redis) => redis,
        Err(error) => {
            eprintln!("the bench `redis` is skipped: {error}");
            return;
        }
    };
    let runtime = Runtime::new().expect("a runtime can be made");
    let lane = || -> Arc<ClassicBroker> {
        ClassicBroker::new(redis.url.parse().expect("it is a URL"), ClassicOptions::default())
    };
    let entered = runtime.enter();
    hear(criterion, &lane());
    drop(entered);
    let mut group = criterion.benchmark_group("redis/lane");
    let broker = lane();
    for size in BATCHES {
        let batch = batch(size);
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("batch_of", size), |bencher| {
            bencher.iter(|| all_sent(&runtime.block_on(broker.publish(&batch))));
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("redis/lanes");
    for count in LANES {
        let (brokers, batch): (Vec<_>, Arc<[Outgoing]>) = ((0..count).map(|_| lane()).collect(), batch(EACH).into());
        group.throughput(Throughput::Elements((count * EACH) as u64));
        group.bench_function(BenchmarkId::new("brokers", count), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let mut publishing = JoinSet::new();
                    for broker in &brokers {
                        let (broker, batch) = (broker.clone(), batch.clone());
                        publishing.spawn(async move { broker.publish(&batch).await });
                    }
                    while let Some(published) = publishing.join_next().await {
                        all_sent(&published.expect("it does not panic"));
                    }
                });
            });
        });
    }
}

/// Messages from Redis to a server with one socket, which is in the room `one`.
fn hear(criterion: &mut Criterion, broker: &Arc<ClassicBroker>) {
    let (server_events, _events) = mpsc::channel(MAX_SERVER_EVENTS);
    let cluster = Cluster::with_id("here".into(), broker.clone(), ClusterOptions::default());
    let adapter = cluster.adapter(AdapterContext::new("/", server_events));
    let (id, recipient) = (SocketId::random().expect("the system has random bytes"), CountingRecipient::new());
    adapter.insert(id, recipient.clone(), &[], None).expect("a new id is not taken");
    adapter.join(id, &[Room::from("one")]).expect("a room is allowed");
    let mut group = criterion.benchmark_group("redis/hear");
    for (name, target) in [("a room of nobody here", Target::room("none")), ("a room of one", Target::room("one"))] {
        let mut outgoing = batch(1).remove(0);
        // Without the trailer, like a message of a Node server, so that the same message can arrive repeatedly.
        outgoing.message.trailer = None;
        let Body::Broadcast { target: room, .. } = &mut outgoing.message.body else {
            unreachable!("it is a broadcast")
        };
        let reaches = target.rooms == [Room::from("one")];
        *room = target;
        let (channel, payload) = broker.encoded(&outgoing).expect("it is small");
        let before = recipient.count();
        broker.receive("/", &channel, payload.clone());
        assert_eq!(recipient.count() - before, u64::from(reaches), "{name}");
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| bencher.iter(|| broker.receive("/", &channel, payload.clone())));
    }
}

fn all_sent(outcomes: &[Outcome]) {
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Sent), "Redis takes it");
}

fn batch(size: usize) -> Vec<Outgoing> {
    let data = Args::event("message", &"x".repeat(PAYLOAD)).expect("text can be emitted");
    let message = |number| {
        let body = Body::Broadcast { data: data.clone(), target: Target::room("one"), volatile: false, compress: true };
        Message {
            sender: Some(ServerId::from("bench")),
            to: None,
            trailer: Some(Trailer::new("/", 7, number, number)),
            body,
        }
    };
    (1..=size as u64).map(|number| Outgoing { namespace: "/".into(), message: message(number) }).collect()
}

criterion_group!(benches, redis);
criterion_main!(benches);

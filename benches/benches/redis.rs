//! What publishing to Redis costs: `cargo bench -p roomcast-benches --bench redis`. It starts a `redis-server` of its own.
//!
//! `lane` is a broker's one connection, with so many messages in a batch, as a server has it; `lanes` is several brokers that publish at
//! the same time, as several servers do.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use roomcast_adapter::Target;
use roomcast_adapter::cluster::{Body, Broker as _, Message, Outgoing, ServerId};
use roomcast_benches::redis::Redis;
use roomcast_protocol::Args;
use roomcast_redis::{ClassicBroker, ClassicOptions};
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Bytes of an event's one argument.
const PAYLOAD: usize = 128;

/// Messages in a batch; a server's queue gives its broker 64 at most.
const BATCHES: [usize; 3] = [1, 8, 64];

/// Brokers that publish at the same time, each batches of this size.
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
    let mut group = criterion.benchmark_group("redis/lane");
    let broker = lane();
    for size in BATCHES {
        let batch = batch(size);
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::new("batch_of", size), |bencher| {
            bencher.iter(|| runtime.block_on(broker.publish(&batch)).expect("Redis takes it"));
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
                        published.expect("it does not panic").expect("Redis takes it");
                    }
                });
            });
        });
    }
}

fn batch(size: usize) -> Vec<Outgoing> {
    let data = Args::event("message", &"x".repeat(PAYLOAD)).expect("text can be emitted");
    let message = |number| {
        let body = Body::Broadcast { data: data.clone(), target: Target::room("one"), volatile: false, compress: true };
        Message { sender: Some(ServerId::from("bench")), to: None, number: Some(number), body }
    };
    (1..=size as u64).map(|number| Outgoing { namespace: "/".into(), message: message(number) }).collect()
}

criterion_group!(benches, redis);
criterion_main!(benches);

//! What a server reads from Redis, and the processor time that it takes, when most messages are for rooms that none of its sockets
//! is in: eight server processes with members in 5 % of the rooms, in each way to hear.
//! `cargo run --release -p roomcast-redis --example exact_rooms -- [messages a second, 2000] [seconds, 5]`.
//! It needs `redis-server`; `cargo xtask long` runs it. It fails if a server with exact rooms, or with sharded ones, reads more than
//! [`SPARE`] times what concerns it.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test that takes long.

#[path = "../../tests/common/redis_process.rs"]
#[allow(dead_code)]
mod redis_process;
mod server;
mod tap;

use redis_process::{RedisProcess, wait_until};
use roomcast_adapter::cluster::{Cluster, ClusterAdapter, ClusterOptions};
use roomcast_adapter::testkit::Random;
use roomcast_adapter::{Action, Adapter, AdapterContext, Target};
use roomcast_protocol::Args;
use server::{END, ROOMS, ROOMS_HERE, Server, Way, room, rooms_of};
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep};

const SERVERS: u64 = 8;

/// What a server may read of other servers' broadcasts, as a multiple of those that are for its rooms.
const SPARE: f64 = 1.2;

/// Bytes of text in each message.
const TEXT: usize = 128;

/// Between two looks at what is to be published by now.
const TICK: Duration = Duration::from_millis(1);

/// What one way to hear cost a server, on average over all, while so many messages were published.
struct Row {
    way: Way,
    published: u64,
    /// Messages for rooms that the server has members in, the last one with them.
    concern: f64,
    read: f64,
    /// Announcements and answers among what was read.
    others: f64,
    bytes: f64,
    cpu: Duration,
    /// In a time of the same length in which nothing was published.
    idle: Duration,
    redis: Duration,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|word| word == "server").is_some() {
        let words: Vec<String> = arguments.collect();
        let [way, url, number] = &words[..] else { panic!("server WAY URL NUMBER") };
        return server::run(way.parse().unwrap(), url, number.parse().unwrap()).await;
    }
    let rate: u64 = arguments.next().map_or(2_000, |rate| rate.parse().unwrap());
    let seconds: u64 = arguments.next().map_or(5, |seconds| seconds.parse().unwrap());
    let mut rows = Vec::new();
    for way in Way::ALL {
        rows.push(measure(way, rate, seconds).await);
    }
    // So much processor time as few messages take anyway.
    rows.push(measure(Way::Pattern, rate * ROOMS_HERE as u64 / ROOMS, seconds).await);
    println!(
        "{SERVERS} servers with members in {ROOMS_HERE} of {ROOMS} rooms; messages of {TEXT} bytes, each to a room, for {seconds} s; a server, on average:\n"
    );
    println!(
        "| heard | published | that concern it | read | of those in the first row | kB read | of those | CPU, ms | of that | CPU in an idle time as long, ms | Redis' CPU, ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let base = &rows[0];
    for row in &rows {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "| {} | {} | {:.0} | {:.0}, and {:.0} announcements | {:.1} % | {:.0} | {:.1} % | {:.0} | {:.1} % | {:.0} | {:.0} |",
            row.way,
            row.published,
            row.concern,
            row.read,
            row.others,
            100.0 * row.read / base.read,
            row.bytes / 1e3,
            100.0 * row.bytes / base.bytes,
            ms(row.cpu),
            100.0 * ms(row.cpu) / ms(base.cpu),
            ms(row.idle),
            ms(row.redis)
        );
    }
    for row in &rows {
        let most = if row.way == Way::Pattern { row.published as f64 } else { SPARE * row.concern };
        assert!(row.read <= most, "{}: {} messages were read, and {most} at most were expected", row.way, row.read);
    }
}

async fn measure(way: Way, rate: u64, seconds: u64) -> Row {
    let redis = RedisProcess::start().await;
    let (server_events, _events) = mpsc::channel(64);
    let cluster = Cluster::with_id("from".into(), way.broker(&redis.url()), ClusterOptions::default());
    let adapter = cluster.adapter(AdapterContext { namespace: "/".into(), server_events });
    let mut servers = Vec::new();
    for number in 0..SERVERS {
        servers.push(Server::start(way, redis.port, number).await);
    }
    wait_until("the servers are known", async || {
        cluster.servers().len() as u64 == SERVERS && adapter.server_count().await.value as u64 == SERVERS + 1
    })
    .await;
    // The newcomers have told one another all.
    sleep(Duration::from_secs(2)).await;

    let before: Vec<Duration> = servers.iter().map(Server::cpu).collect();
    sleep(Duration::from_secs(seconds)).await;
    let idle = mean(servers.iter().zip(&before).map(|(server, before)| (server.cpu() - *before).as_secs_f64()));

    let before: Vec<(Duration, tap::Read)> = servers.iter().map(|server| (server.cpu(), server.read())).collect();
    let redis_before = cpu_of(&redis).await;
    let published = publish(&adapter, rate, seconds).await;
    let mut concern = Vec::new();
    for (number, server) in (0..).zip(&mut servers) {
        let here: HashSet<u64> = rooms_of(number).into_iter().collect();
        let expected = published.iter().filter(|room| here.contains(room)).count() as u64 + 1;
        // The end was published last, so what is read by then is all.
        server.must_deliver(expected).await;
        concern.push(expected as f64);
    }
    let redis_cpu = cpu_of(&redis).await - redis_before;
    let after: Vec<(Duration, tap::Read)> = servers.iter().map(|server| (server.cpu(), server.read())).collect();
    let of = |figure: fn(&tap::Read) -> u64| {
        mean(before.iter().zip(&after).map(|(before, after)| (figure(&after.1) - figure(&before.1)) as f64))
    };
    let cpu = mean(before.iter().zip(&after).map(|(before, after)| (after.0 - before.0).as_secs_f64()));
    assert_eq!(cluster.losses().dropped, 0, "all was published");
    Row {
        way,
        published: published.len() as u64 + 1,
        concern: mean(concern),
        read: of(|read| read.broadcasts),
        others: of(|read| read.others),
        bytes: of(|read| read.bytes),
        cpu: Duration::from_secs_f64(cpu),
        idle: Duration::from_secs_f64(idle),
        redis: redis_cpu,
    }
}

/// Emits to rooms drawn from a seed, and last to one in which every server has a socket. Returns the rooms.
async fn publish(adapter: &ClusterAdapter, rate: u64, seconds: u64) -> Vec<u64> {
    let (mut random, mut rooms, mut ticks) = (Random::new(1), Vec::new(), interval(TICK));
    let event = Args::event("e", &"x".repeat(TEXT)).unwrap();
    let emit = |room: &str| adapter.apply(&Target::room(room), Action::emit(&event)).unwrap();
    let each_second = Duration::from_secs(1).div_duration_f64(TICK) as u64;
    for tick in 1..=seconds * each_second {
        ticks.tick().await;
        while (rooms.len() as u64) < tick * rate / each_second {
            let number = random.below(ROOMS);
            rooms.push(number);
            emit(&room(number));
        }
    }
    emit(END);
    rooms
}

fn mean(figures: impl IntoIterator<Item = f64>) -> f64 {
    figures.into_iter().sum::<f64>() / SERVERS as f64
}

/// Processor time of Redis so far.
async fn cpu_of(redis: &RedisProcess) -> Duration {
    let text: String = redis.ask("INFO cpu").await;
    let seconds = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    Duration::from_secs_f64(seconds("used_cpu_user:") + seconds("used_cpu_sys:"))
}

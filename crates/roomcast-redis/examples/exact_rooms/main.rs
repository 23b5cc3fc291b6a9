//! Measures what a server reads from Redis, and its processor time, when most messages are for rooms without members
//! there: eight server processes with members in 5 % of the rooms, for each way to subscribe broadcasts. `cargo run
//! --release -p roomcast-redis --example exact_rooms -- [messages a second, 2000] [seconds, 5]`. It needs
//! `redis-server`; `cargo xtask long` runs it. It fails if a server with exact rooms, or with the sharded dialect,
//! reads more than [`MAX_READ_RATIO`] times the messages for its rooms.

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
use server::{END, Mode, ROOMS, ROOMS_HERE, Server, room, rooms_of};
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep};

const SERVERS: u64 = 8;

/// Most broadcasts that a server may read, as a multiple of those for its rooms.
const MAX_READ_RATIO: f64 = 1.2;

const TEXT: usize = 128;

/// How often the messages that are due are published.
const TICK: Duration = Duration::from_millis(1);

/// The cost to a server, on average over all, while this many messages were published.
struct Row {
    mode: Mode,
    published: u64,
    /// Messages for rooms in which the server has members, including the last message.
    for_it: f64,
    read: f64,
    /// Announcements and answers that were read as well.
    others: f64,
    bytes: f64,
    cpu: Duration,
    /// Processor time in a time of the same length without messages.
    idle: Duration,
    redis: Duration,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|word| word == "server").is_some() {
        let words: Vec<String> = arguments.collect();
        let [mode, url, number] = &words[..] else { panic!("server MODE URL NUMBER") };
        return server::run(mode.parse().unwrap(), url, number.parse().unwrap()).await;
    }
    let rate: u64 = arguments.next().map_or(2_000, |rate| rate.parse().unwrap());
    let seconds: u64 = arguments.next().map_or(5, |seconds| seconds.parse().unwrap());
    let mut rows = Vec::new();
    for mode in Mode::ALL {
        rows.push(measure(mode, rate, seconds).await);
    }
    // For comparison, the processor time when only as many messages are published as for_it one server.
    rows.push(measure(Mode::Pattern, rate * ROOMS_HERE as u64 / ROOMS, seconds).await);
    println!(
        "{SERVERS} servers with members in {ROOMS_HERE} of {ROOMS} rooms; messages of {TEXT} bytes, each to one room, for {seconds} s; average of a server:\n"
    );
    println!(
        "| subscribed | published | for its rooms | read | share of the first row | kB read | share | CPU, ms | share | CPU while idle as long, ms | Redis' CPU, ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let base = &rows[0];
    for row in &rows {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!(
            "| {} | {} | {:.0} | {:.0}, and {:.0} announcements | {:.1} % | {:.0} | {:.1} % | {:.0} | {:.1} % | {:.0} | {:.0} |",
            row.mode,
            row.published,
            row.for_it,
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
        let most = if row.mode == Mode::Pattern { row.published as f64 } else { MAX_READ_RATIO * row.for_it };
        assert!(row.read <= most, "{}: {} messages were read, more than {most}", row.mode, row.read);
    }
}

async fn measure(mode: Mode, rate: u64, seconds: u64) -> Row {
    let redis = RedisProcess::start().await;
    let (server_events, _events) = mpsc::channel(64);
    let cluster = Cluster::with_id("from".into(), mode.broker(&redis.url()), ClusterOptions::default());
    let adapter = cluster.adapter(AdapterContext::new("/", server_events));
    let mut servers = Vec::new();
    for number in 0..SERVERS {
        servers.push(Server::start(mode, redis.port, number).await);
    }
    wait_until("the servers are known", async || {
        cluster.servers().len() as u64 == SERVERS && adapter.server_count().await.value as u64 == SERVERS + 1
    })
    .await;
    // By then the new servers have announced everything to each other.
    sleep(Duration::from_secs(2)).await;

    let before: Vec<Duration> = servers.iter().map(Server::cpu).collect();
    sleep(Duration::from_secs(seconds)).await;
    let idle = mean(servers.iter().zip(&before).map(|(server, before)| (server.cpu() - *before).as_secs_f64()));

    let before: Vec<(Duration, tap::Read)> = servers.iter().map(|server| (server.cpu(), server.read())).collect();
    let redis_before = cpu_of(&redis).await;
    let published = publish(&adapter, rate, seconds).await;
    let mut for_it = Vec::new();
    for (number, server) in (0..).zip(&mut servers) {
        let here: HashSet<u64> = rooms_of(number).into_iter().collect();
        let expected = published.iter().filter(|room| here.contains(room)).count() as u64 + 1;
        // The message to `END` is published last, so everything has been read by then.
        server.must_deliver(expected).await;
        for_it.push(expected as f64);
    }
    let redis_cpu = cpu_of(&redis).await - redis_before;
    let after: Vec<(Duration, tap::Read)> = servers.iter().map(|server| (server.cpu(), server.read())).collect();
    let of = |figure: fn(&tap::Read) -> u64| {
        mean(before.iter().zip(&after).map(|(before, after)| (figure(&after.1) - figure(&before.1)) as f64))
    };
    let cpu = mean(before.iter().zip(&after).map(|(before, after)| (after.0 - before.0).as_secs_f64()));
    assert_eq!(cluster.losses().dropped, 0, "messages were not published");
    Row {
        mode,
        published: published.len() as u64 + 1,
        for_it: mean(for_it),
        read: of(|read| read.broadcasts),
        others: of(|read| read.others),
        bytes: of(|read| read.bytes),
        cpu: Duration::from_secs_f64(cpu),
        idle: Duration::from_secs_f64(idle),
        redis: redis_cpu,
    }
}

/// Emits to rooms drawn from a seed, and at last to [`END`]. Returns the rooms.
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

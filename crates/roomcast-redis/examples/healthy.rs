//! Mixed traffic of three servers over a Redis that is well: no loss may be counted, as there is none.
//! `cargo run --release -p roomcast-redis --example healthy -- [seconds, 600]`. It needs `redis-server`; `cargo xtask long` runs it.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test that takes long.

#[path = "../tests/common/redis_process.rs"]
#[allow(dead_code)]
mod redis_process;

use redis_process::RedisProcess;
use roomcast_adapter::cluster::{Cluster, ClusterAdapter, ClusterOptions, Losses};
use roomcast_adapter::testkit::CountingRecipient;
use roomcast_adapter::{Action, Adapter, AdapterContext, Room, ServerEvent, Target};
use roomcast_protocol::{Args, SocketId};
use roomcast_redis::{ClassicBroker, ClassicOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep};

const ROOMS: u64 = 60;
const SOCKETS: usize = 20;

/// Between two actions of a server.
const TICK: Duration = Duration::from_millis(2);

/// A small random number generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }

    fn room(&mut self) -> Room {
        Room::from(format!("room {}", self.below(ROOMS)))
    }
}

struct Server {
    cluster: Cluster,
    adapter: Arc<ClusterAdapter>,
    sockets: Vec<(SocketId, Arc<CountingRecipient>)>,
    _events: mpsc::Receiver<ServerEvent>,
}

impl Server {
    fn new(name: &str, url: &str) -> Self {
        let broker = ClassicBroker::new(url.parse().unwrap(), ClassicOptions::default());
        let cluster = Cluster::with_id(name.into(), broker, ClusterOptions::default());
        let (server_events, events) = mpsc::channel(64);
        let adapter = cluster.adapter(AdapterContext { namespace: "/".into(), server_events });
        let sockets: Vec<_> = (0..SOCKETS).map(|_| (SocketId::random().unwrap(), CountingRecipient::new())).collect();
        for (id, socket) in &sockets {
            adapter.insert(*id, socket.clone(), &[], None).unwrap();
        }
        Self { cluster, adapter, sockets, _events: events }
    }

    /// What an application does, now and then.
    async fn act(&self, random: &mut Random, event: &Args) {
        let socket = self.sockets[random.below(SOCKETS as u64) as usize].0;
        let emit = |target: Target| self.adapter.apply(&target, Action::emit(event)).unwrap();
        match random.below(100) {
            0..=7 => drop(self.adapter.join(socket, &[random.room()]).unwrap()),
            8..=14 => self.adapter.leave(socket, &random.room()),
            15..=17 => {
                let rooms = [random.room()];
                self.adapter.apply(&Target::room(random.room()), Action::Join(&rooms)).unwrap();
            }
            18..=20 => {
                let rooms = [random.room()];
                self.adapter.apply(&Target::everyone(), Action::Leave(&rooms)).unwrap();
            }
            21 => {
                let answer = self.adapter.count(&Target::room(random.room()), Duration::from_secs(5)).await;
                assert!(answer.is_complete(), "{answer:?}");
            }
            22..=29 => emit(Target::everyone()),
            30..=36 => emit(Target { rooms: vec![random.room(), random.room()], ..Target::default() }),
            37..=42 => emit(Target::everyone().except(&*random.room())),
            _ => emit(Target::room(random.room())),
        }
    }
}

#[tokio::main]
async fn main() {
    let seconds: u64 = std::env::args().nth(1).map_or(600, |seconds| seconds.parse().unwrap());
    let redis = RedisProcess::start().await;
    let servers = ["a", "b", "c"].map(|name| Arc::new(Server::new(name, &redis.url())));
    sleep(Duration::from_secs(2)).await;
    let until = Instant::now() + Duration::from_secs(seconds);
    let acting = (1..).zip(&servers).map(|(seed, server)| {
        let (server, event) = (server.clone(), Args::event("e", &"x".repeat(100)).unwrap());
        tokio::spawn(async move {
            let (mut random, mut ticks, mut actions) = (Random(seed * 0x9e37_79b9), interval(TICK), 0_u64);
            while Instant::now() < until {
                ticks.tick().await;
                server.act(&mut random, &event).await;
                actions += 1;
            }
            actions
        })
    });
    let mut actions = 0;
    for acting in acting.collect::<Vec<_>>() {
        actions += acting.await.unwrap();
    }
    sleep(Duration::from_secs(3)).await;
    let delivered: u64 = servers.iter().flat_map(|server| &server.sockets).map(|(_, socket)| socket.count()).sum();
    println!("{actions} actions of three servers in {seconds} s, {delivered} deliveries");
    for server in &servers {
        let losses = server.cluster.losses();
        println!("{}: {losses:?}", server.cluster.id());
        assert_eq!(losses, Losses::default(), "nothing was lost");
    }
}

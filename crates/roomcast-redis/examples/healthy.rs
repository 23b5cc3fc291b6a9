//! Mixed traffic of three servers over a healthy Redis: no loss may be counted, as there is none. `cargo run --release
//! -p roomcast-redis --example healthy -- [seconds, 600]`. It needs `redis-server`; `cargo xtask long` runs it.

#![allow(clippy::unwrap_used, clippy::panic)] // It is a test that takes long.

#[path = "../tests/common/redis_process.rs"]
#[allow(dead_code)]
mod redis_process;

use redis_process::RedisProcess;
use roomcast_adapter::cluster::{Cluster, ClusterAdapter, ClusterOptions, Losses};
use roomcast_adapter::testkit::{CountingRecipient, Random};
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

fn room(random: &mut Random) -> Room {
    Room::from(format!("room {}", random.below(ROOMS)))
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
        let adapter = cluster.adapter(AdapterContext::new("/", server_events));
        let sockets: Vec<_> = (0..SOCKETS).map(|_| (SocketId::random().unwrap(), CountingRecipient::new())).collect();
        for (id, socket) in &sockets {
            adapter.insert(*id, socket.clone(), &[], None).unwrap();
        }
        Self { cluster, adapter, sockets, _events: events }
    }

    async fn act(&self, random: &mut Random, event: &Args) {
        let socket = self.sockets[random.index(SOCKETS)].0;
        let emit = |target: Target| self.adapter.apply(&target, Action::emit(event)).unwrap();
        match random.below(100) {
            0..=7 => drop(self.adapter.join(socket, &[room(random)]).unwrap()),
            8..=14 => self.adapter.leave(socket, &room(random)),
            15..=17 => {
                let rooms = [room(random)];
                self.adapter.apply(&Target::room(room(random)), Action::Join(&rooms)).unwrap();
            }
            18..=20 => {
                let rooms = [room(random)];
                self.adapter.apply(&Target::everyone(), Action::Leave(&rooms)).unwrap();
            }
            21 => {
                let answer = self.adapter.count(&Target::room(room(random)), Duration::from_secs(5)).await;
                assert!(answer.is_complete(), "{answer:?}");
            }
            22..=29 => emit(Target::everyone()),
            30..=36 => emit(Target { rooms: vec![room(random), room(random)], ..Target::default() }),
            37..=42 => emit(Target::everyone().except(&*room(random))),
            _ => emit(Target::room(room(random))),
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
            let (mut random, mut ticks, mut actions) = (Random::new(seed), interval(TICK), 0_u64);
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

//! A thousand clients connect, receive every message once and in order, and disconnect. Then the server must hold nothing of them. The test
//! counts the descriptors of its process, so it is a program of its own, and nothing else runs in it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
#![cfg(target_os = "linux")]

mod client;

use client::Client;
use roomcast_adapter::Local;
use roomcast_server::{Ack, Args, Socket, SocketIo};
use serde_json::json;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Clients at the same time. Each connection takes two descriptors, as the server is in the same process: 2,000 in all.
const CLIENTS: usize = 1_000;

/// Broadcasts that each client receives.
const BROADCASTS: usize = 100;

/// Descriptors that the test needs. The soft limit of many systems is 1,024.
const DESCRIPTORS: u64 = 4_096;

/// How long the server may take to free everything after the last client has gone.
const LEFT_BEHIND: Duration = Duration::from_secs(5);

/// Limit for every other step, so that the test ends if something is wrong. A busy machine needs a few seconds at most.
const STEP: Duration = Duration::from_secs(60);

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A server with handlers like the program's. It has its own runtime, so that its tasks can be counted.
struct Server {
    runtime: Runtime,
    io: SocketIo,
    local: Arc<Local>,
    address: SocketAddr,
    disconnected: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let _context = runtime.enter();
        let local = Local::new("/");
        let adapter = local.clone();
        let io = SocketIo::builder().adapter(move |_| adapter.clone()).build();
        let disconnected = Arc::new(AtomicUsize::new(0));
        let counter = disconnected.clone();
        io.of("/")
            .on_connection(move |socket: Socket| {
                let counter = counter.clone();
                async move {
                    socket.on_disconnect(move |_, _| async move {
                        counter.fetch_add(1, Ordering::Relaxed);
                    });
                }
            })
            .on("join", |socket: Socket, room: String, ack: Ack| async move {
                let joined = socket.join(&room).map_err(|error| error.to_string())?;
                joined.await;
                let members = socket.namespace().to(&room).count().await;
                ack.send(json!({"ok": true, "members": members.value})).map_err(|error| error.to_string())
            })
            .on("leave", |socket: Socket, room: String, ack: Ack| async move {
                socket.leave(&room);
                ack.send(json!({"ok": true}))
            })
            .on("publish", |socket: Socket, args: Args, ack: Ack| async move {
                let (room, event): (String, String) = args.parse().map_err(|error| format!("{error}"))?;
                socket.namespace().to(room).emit(&event, args.skip(2)).map_err(|error| error.to_string())?;
                ack.send(json!({"ok": true})).map_err(|error| error.to_string())
            });
        let listener = runtime.block_on(roomcast_server::engine::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let server = io.clone();
        runtime.spawn(async move { server.serve(listener, std::future::pending()).await });
        Self { runtime, io, local, address, disconnected }
    }

    fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }
}

/// Awaits all futures at the same time, and returns their results.
async fn all<F, T>(futures: impl IntoIterator<Item = F>) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let mut set = JoinSet::new();
    for future in futures {
        set.spawn(future);
    }
    timeout(STEP, set.join_all()).await.unwrap()
}

type Receiving = Pin<Box<dyn Future<Output = Client> + Send>>;

async fn join(address: SocketAddr) -> Client {
    let mut client = Client::connect(address).await;
    client.send(r#"421["join","crowd"]"#).await;
    let answer = client.next().await.unwrap();
    assert!(answer.starts_with(r#"431[{"ok":true"#) || answer.starts_with(r#"431[{"members":"#), "{answer}");
    client
}

/// Receives each broadcast once, in order, and nothing else before the last.
async fn receive(mut client: Client) -> Client {
    for number in 0..BROADCASTS {
        assert_eq!(client.next().await.unwrap(), format!(r#"42["tick",{number}]"#));
    }
    assert_eq!(client.next().await.unwrap(), r#"42["end"]"#);
    client
}

/// Disconnects in one of the four possible ways.
async fn leave(mut client: Client, way: usize) {
    match way {
        // Leaves the room, then the namespace, then closes the connection.
        0 => {
            client.send(r#"422["leave","crowd"]"#).await;
            assert_eq!(client.next().await.unwrap(), r#"432[{"ok":true}]"#);
            client.send("41").await;
            client.close().await;
        }
        1 => {
            client.send("41").await;
            client.close().await;
        }
        2 => client.close().await,
        // The TCP connection ends without a close frame.
        _ => drop(client),
    }
}

async fn until(what: &str, condition: impl Fn() -> bool, state: impl Fn() -> String) {
    let polling = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(LEFT_BEHIND, polling).await.is_ok(), "not within {LEFT_BEHIND:?}: {what}: {}", state());
}

#[test]
fn a_crowd_receives_every_message_once_and_leaves_nothing_behind() {
    let most = rlimit::increase_nofile_limit(DESCRIPTORS).unwrap();
    assert!(most >= DESCRIPTORS, "{DESCRIPTORS} descriptors are needed, but only {most} allowed: raise the hard limit");
    let server = Server::start();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // A first client, so that what the server creates once and keeps exists before the baseline is taken.
        join(server.address).await.close().await;
        until(
            "the first client is gone",
            || server.io.connections() == 0 && server.tasks() <= 1,
            || format!("{} connections, {} tasks", server.io.connections(), server.tasks()),
        )
        .await;
        let (tasks, open) = (server.tasks(), descriptors());

        let clients = all((0..CLIENTS).map(|_| join(server.address))).await;
        assert_eq!(server.io.connections(), CLIENTS);
        assert_eq!(server.local.sizes(), (CLIENTS, 1, 0));
        assert!(descriptors() >= open + 2 * CLIENTS, "the count of descriptors is too low to be right");
        assert!(server.tasks() >= tasks + CLIENTS, "the count of tasks is too low to be right");

        let mut clients = clients.into_iter();
        let mut publisher = clients.next().unwrap();
        let publish = async move {
            for number in 0..BROADCASTS {
                publisher.send(format!(r#"42["publish","crowd","tick",{number}]"#)).await;
            }
            publisher.send(r#"42["publish","crowd","end"]"#).await;
            receive(publisher).await
        };
        let receiving = clients.map(|client| Box::pin(receive(client)) as Receiving);
        let clients = all(receiving.chain([Box::pin(publish) as Receiving])).await;
        assert_eq!(clients.len(), CLIENTS);

        all(clients.into_iter().enumerate().map(|(number, client)| leave(client, number % 4))).await;
        let state = || {
            let (sizes, disconnected) = (server.local.sizes(), server.disconnected.load(Ordering::Relaxed));
            let (connections, alive) = (server.io.connections(), server.tasks());
            format!(
                "{connections} connections, {sizes:?} sockets, rooms and acks, {alive} tasks (baseline {tasks}), {} \
                 descriptors (baseline {open}), {disconnected} disconnects",
                descriptors()
            )
        };
        let empty = || {
            server.io.connections() == 0
                && server.local.sizes() == (0, 0, 0)
                && server.tasks() <= tasks
                && descriptors() <= open
                && server.disconnected.load(Ordering::Relaxed) == CLIENTS + 1
        };
        until("nothing is left behind", empty, state).await;
    });
}

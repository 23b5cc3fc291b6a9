//! A broadcast to real WebSockets allocates memory for the packet, but not for each recipient: from the emit, through rooms, outboxes,
//! wakes and tasks, to the last write. `allocation_counter` counts per thread, so the server has one thread and the clients another.

use crate::client::Client;
use roomcast_server::engine::limits::TURN_TIME;
use roomcast_server::{Socket, SocketIo};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Limit for a step, so that the test ends if something is wrong.
const STEP: Duration = Duration::from_secs(60);

/// Broadcasts in a row before one is counted. During them lists of the thread, such as that of the writers to wake, grow to their final
/// size.
const WARM_UP: usize = 2;

/// Broadcasts that are counted.
const COUNTED: usize = 10;

/// The most broadcasts that are tried. The system may suspend the thread in the middle of an emit. If the turn is over then (`TURN_TIME`),
/// the remaining writes go to a task, which is allocated and takes the lists with it. Such a broadcast is not counted, and another is tried.
const MOST: usize = 500;

/// The number of the first message. All numbers have the same number of digits.
const FIRST: usize = 100;

/// After this message the clients close their connections.
const LAST: &str = r#"42["last"]"#;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Connects clients, and notifies `all_have` each time all of them have connected or received the next message. Runs on its own thread.
async fn audience(address: SocketAddr, clients: usize, all_have: Arc<Notify>) {
    let (got, mut counter) = mpsc::unbounded_channel();
    let mut set = JoinSet::new();
    for _ in 0..clients {
        let got = got.clone();
        set.spawn(async move {
            let mut client = Client::connect(address).await;
            got.send(()).unwrap();
            for number in FIRST.. {
                let text = client.next().await.unwrap();
                got.send(()).unwrap();
                if text == LAST {
                    break;
                }
                assert_eq!(text, format!(r#"42["news",{number},"a text of some length"]"#));
            }
            client.close().await;
        });
    }
    drop(got);
    // The first round is the connects, the second the first message, and so on.
    let mut messages = 0;
    while counter.recv().await.is_some() {
        messages += 1;
        if messages % clients == 0 {
            all_have.notify_one();
        }
    }
    set.join_all().await;
}

/// The number of allocations of each counted broadcast to `clients` clients.
fn allocations(clients: usize) -> Vec<u64> {
    let server = runtime();
    let io = SocketIo::builder().ping_interval(STEP).build();
    io.of("/").on_connection(|socket: Socket| async move { drop(socket.join("lobby")) });
    let listener = server.block_on(roomcast_server::engine::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let serving = io.clone();
    server.spawn(async move { serving.serve(listener, std::future::pending()).await });

    let all_have = Arc::new(Notify::new());
    let notify = all_have.clone();
    let audience = thread::spawn(move || runtime().block_on(audience(address, clients, notify)));
    let wait = || async { timeout(STEP, all_have.notified()).await.unwrap() };
    server.block_on(wait());
    let namespace = io.of("/");
    // Returns whether the emit was done within a turn.
    let broadcast = |number: usize| {
        server.block_on(async {
            let since = Instant::now();
            namespace.to("lobby").emit("news", (number, "a text of some length")).unwrap();
            let in_turn = since.elapsed() < TURN_TIME;
            wait().await;
            in_turn
        })
    };
    let mut in_turn = 0;
    let measure = |number| {
        let counted = allocation_counter::measure(|| in_turn = if broadcast(number) { in_turn + 1 } else { 0 });
        (in_turn > WARM_UP).then_some(counted.count_total)
    };
    let counted: Vec<u64> = (FIRST..FIRST + MOST).filter_map(measure).take(COUNTED).collect();
    assert_eq!(counted.len(), COUNTED, "too few of {MOST} broadcasts were done within a turn");
    server.block_on(async {
        namespace.to("lobby").emit("last", ()).unwrap();
        wait().await;
    });
    // The clients send close frames, which the server has to answer.
    server.block_on(async {
        let gone = async {
            while io.connections() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(STEP, gone).await.unwrap();
    });
    audience.join().unwrap();
    counted
}

#[test]
fn a_recipient_costs_no_allocation() {
    let (few, many) = (allocations(10), allocations(200));
    println!("allocations of each broadcast to 10 clients: {few:?}, to 200: {many:?}");
    assert!(few.iter().all(|count| *count > 0), "the packet is on the heap, so the counter does not work if it is 0");
    assert_eq!(few, many);
}

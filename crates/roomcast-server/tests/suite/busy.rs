//! Handlers that block their thread: what they delay, and what they do not.

use crate::common::Server;
use roomcast_server::{Ack, Socket, SocketIo};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// How long a test may take, so that a fault ends it.
const STEP: Duration = Duration::from_secs(30);

type Gate = Arc<parking_lot::Mutex<Receiver<()>>>;

/// `busy` emits to everyone and then blocks its thread until the gate opens.
fn app(io: &SocketIo, gate: Gate) {
    io.of("/").on("busy", move |socket: Socket, (): (), ack: Ack| {
        socket.namespace().emit("busy", ()).unwrap();
        gate.lock().recv_timeout(STEP).unwrap();
        async move { ack.send(()) }
    });
    io.of("/").on("echo", |_: Socket, text: String, ack: Ack| async move { ack.send(&text) });
}

/// Emits on a thread of its own, which belongs to no runtime and so has no turn.
fn emit_elsewhere(io: &SocketIo, text: &'static str) {
    let io = io.clone();
    thread::spawn(move || io.emit("chat", text).unwrap()).join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_does_not_mute_those_it_emitted_to() {
    let (open, gate) = channel();
    let gate = Arc::new(parking_lot::Mutex::new(gate));
    let server = Server::start(|io| app(io, gate)).await;
    let mut busy = server.joined().await;
    let mut other = server.joined().await;
    busy.say("420[\"busy\"]").await;
    // What the handler emitted before it blocked waits for the end of its turn. The next writer on another thread writes it too.
    let muted = async {
        loop {
            emit_elsewhere(&server.io, "hello");
            if let Ok(text) = tokio::time::timeout(Duration::from_millis(50), other.text()).await
                && text == "42[\"busy\"]"
            {
                return;
            }
        }
    };
    tokio::time::timeout(STEP, muted).await.unwrap();
    // Also to the client whose handler blocks.
    emit_elsewhere(&server.io, "still there");
    loop {
        if busy.text().await == "42[\"chat\",\"still there\"]" {
            break;
        }
    }
    // The other clients go on.
    other.say("421[\"echo\",\"x\"]").await;
    while other.text().await != "431[\"x\"]" {}
    open.send(()).unwrap();
    while busy.text().await != "430[]" {}
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_can_come_while_a_handler_blocks_its_thread_for_it() {
    let server = Server::start(|io| {
        io.of("/").on("ask the others", |socket: Socket, (): (), ack: Ack| {
            let others = socket.broadcast().timeout(STEP);
            let question = others.emit_with_ack("question", &());
            let asked = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(question));
            let answers = asked.unwrap().answers.len();
            async move { ack.send(answers) }
        });
    })
    .await;
    let mut asking = server.joined().await;
    let mut asked = server.joined().await;
    asking.say("420[\"ask the others\"]").await;
    assert_eq!(asked.text().await, "420[\"question\"]");
    asked.say("430[\"yes\"]").await;
    assert_eq!(asking.text().await, "430[1]");
    server.finish().await;
}

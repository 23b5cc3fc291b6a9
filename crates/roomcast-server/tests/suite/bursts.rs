//! More than an outbox usually holds, emitted in one step: a client that reads gets all of it, in order, over every kind of stream.

use crate::common::over::Over;
use crate::common::over::stream::Plan;
use crate::common::wire::Wire;
use crate::common::{Server, patient};
use roomcast_server::{Socket, SocketIo};
use std::future::ready;

/// How many events one step of a handler emits, and how many bytes each has.
#[derive(Clone, Copy)]
struct Burst {
    count: usize,
    bytes: usize,
}

/// Many small events: three times the outbox's 1,024 packets.
const SMALL: Burst = Burst { count: 3_000, bytes: 10 };
/// A file in chunks: three times the outbox's 1 MiB.
const CHUNKS: Burst = Burst { count: 50, bytes: 64 * 1024 };
/// A few documents: each fits the outbox, two do not.
const LARGE: Burst = Burst { count: 3, bytes: 600_000 };
/// As many events as a page of chat history has.
const ROWS: Burst = Burst { count: 100, bytes: 20_000 };

const BURSTS: [Burst; 4] = [SMALL, CHUNKS, LARGE, ROWS];

/// What a client gets when it connects.
const WELCOME: Burst = Burst { count: 1_100, bytes: 10 };

impl Burst {
    /// The event with that number.
    fn event(self, number: usize) -> String {
        format!("42[\"burst\",{number},\"{}\"]", "x".repeat(self.bytes))
    }

    fn emit(self, socket: &Socket) {
        let text = "x".repeat(self.bytes);
        for number in 0..self.count {
            socket.emit("burst", (number, &*text)).unwrap();
        }
    }

    /// The event that asks for the burst.
    fn ask(self) -> String {
        format!("42[\"burst\",{},{}]", self.count, self.bytes)
    }
}

/// `/` sends bursts on request, to the client that asks or to the others; `/welcome` sends one to each client that connects.
fn app(io: &SocketIo) {
    io.of("/").on("burst", |socket: Socket, (count, bytes): (usize, usize)| {
        Burst { count, bytes }.emit(&socket);
        ready(())
    });
    io.of("/").on("others", |socket: Socket, (count, bytes): (usize, usize)| {
        let text = "x".repeat(bytes);
        for number in 0..count {
            socket.broadcast().emit("burst", (number, &*text)).unwrap();
        }
        ready(())
    });
    io.of("/welcome").on_connection(|socket: Socket| {
        WELCOME.emit(&socket);
        ready(())
    });
}

async fn start(over: Over) -> Server {
    Server::over(over, |builder| builder, app).await
}

/// Checks that the events arrive in order, each once.
struct Expected {
    burst: Burst,
    seen: usize,
}

impl Expected {
    fn new(burst: Burst) -> Self {
        Self { burst, seen: 0 }
    }

    /// The namespace's name stands between the kind and the event.
    fn see(&mut self, text: &str) {
        let event = self.burst.event(self.seen);
        assert!(text == event || text == event.replacen("42", "42/welcome,", 1), "{} {text:.60}", self.seen);
        self.seen += 1;
    }

    fn is_complete(&self) -> bool {
        self.seen == self.burst.count
    }

    async fn rest_by_websocket(&mut self, wire: &mut Wire) {
        while !self.is_complete() {
            self.see(&wire.text().await);
        }
    }

    async fn rest_by_polling(&mut self, server: &Server, sid: &str) {
        while !self.is_complete() {
            let answer = server.poll(sid).await;
            assert_eq!(answer.status(), 200, "after {} events: {answer:?}", self.seen);
            answer.text().split('\u{1e}').for_each(|packet| self.see(packet));
        }
    }
}

async fn by_websocket(over: Over) {
    let server = start(over).await;
    let mut wire = server.joined().await;
    for burst in BURSTS {
        wire.say(&burst.ask()).await;
        Expected::new(burst).rest_by_websocket(&mut wire).await;
    }
    assert!(wire.sync().await.is_empty());
    server.finish().await;
}

async fn by_polling(over: Over) {
    let server = start(over).await;
    let sid = server.join_by_polling().await;
    for burst in BURSTS {
        // Without a held GET, and with one.
        assert_eq!(server.post(&sid, &burst.ask()).await.text(), "ok");
        Expected::new(burst).rest_by_polling(&server, &sid).await;
        let mut held = server.hold(&sid).await;
        assert_eq!(server.post(&sid, &burst.ask()).await.text(), "ok");
        let mut expected = Expected::new(burst);
        held.answer("GET").await.text().split('\u{1e}').for_each(|packet| expected.see(packet));
        expected.rest_by_polling(&server, &sid).await;
    }
    server.finish().await;
}

/// Between the probe and the switch, with a held GET and without.
async fn during_an_upgrade(over: Over) {
    let server = start(over).await;
    for burst in BURSTS {
        for is_held in [false, true] {
            let sid = server.join_by_polling().await;
            let mut wire = server.upgrade(&format!("EIO=4&transport=websocket&sid={sid}")).await;
            wire.say("2probe").await;
            assert_eq!(wire.text().await, "3probe");
            let held = if is_held { Some(server.hold(&sid).await) } else { None };
            assert_eq!(server.post(&sid, &burst.ask()).await.text(), "ok");
            let mut expected = Expected::new(burst);
            if let Some(mut held) = held {
                // A noop may come first, which ends the poll of a client that upgrades.
                let answer = held.answer("GET").await.text();
                answer.split('\u{1e}').filter(|packet| *packet != "6").for_each(|packet| expected.see(packet));
            }
            wire.say("5").await;
            expected.rest_by_websocket(&mut wire).await;
            assert!(wire.sync().await.is_empty());
        }
    }
    server.finish().await;
}

async fn on_connecting(over: Over) {
    let server = start(over).await;
    let mut wire = server.websocket().await;
    server.join(&mut wire, "/welcome").await;
    Expected::new(WELCOME).rest_by_websocket(&mut wire).await;
    let sid = server.handshake().await;
    assert_eq!(server.post(&sid, "40/welcome,").await.text(), "ok");
    let answer = server.poll(&sid).await.text();
    let (connect, events) = answer.split_once('\u{1e}').unwrap_or((&answer, ""));
    assert!(connect.starts_with("40/welcome,{\"sid\":\""), "{connect:.60}");
    let mut expected = Expected::new(WELCOME);
    events.split('\u{1e}').filter(|packet| !packet.is_empty()).for_each(|packet| expected.see(packet));
    expected.rest_by_polling(&server, &sid).await;
    server.finish().await;
}

/// One client's event makes a burst for other clients, by WebSocket and by polling.
async fn to_others(over: Over) {
    let server = start(over).await;
    let (mut asking, mut other, sid) = (server.joined().await, server.joined().await, server.join_by_polling().await);
    for burst in BURSTS {
        asking.say(&burst.ask().replacen("burst", "others", 1)).await;
        Expected::new(burst).rest_by_websocket(&mut other).await;
        Expected::new(burst).rest_by_polling(&server, &sid).await;
    }
    assert!(asking.sync().await.is_empty());
    server.finish().await;
}

/// To a room, from a thread that does not belong to the runtime.
async fn to_a_room(over: Over) {
    let server = start(over).await;
    let (mut one, mut other) = (server.joined().await, server.joined().await);
    for burst in BURSTS {
        let io = server.io.clone();
        let text = "x".repeat(burst.bytes);
        let emitting = std::thread::spawn(move || {
            for number in 0..burst.count {
                io.emit("burst", (number, &*text)).unwrap();
            }
        });
        patient("the events", async {
            tokio::join!(async { Expected::new(burst).rest_by_websocket(&mut one).await }, async {
                Expected::new(burst).rest_by_websocket(&mut other).await;
            },)
        })
        .await;
        emitting.join().unwrap();
    }
    server.finish().await;
}

/// The same tests over one kind of stream.
macro_rules! over {
    ($($name:ident: $over:expr),+ $(,)?) => {$(
        mod $name {
            use super::*;

            const OVER: Over = $over;

            async fn by_websocket() {
                super::by_websocket(OVER).await;
            }

            async fn by_polling() {
                super::by_polling(OVER).await;
            }

            async fn during_an_upgrade() {
                super::during_an_upgrade(OVER).await;
            }

            async fn on_connecting() {
                super::on_connecting(OVER).await;
            }

            async fn to_a_room() {
                super::to_a_room(OVER).await;
            }

            async fn to_others() {
                super::to_others(OVER).await;
            }

            crate::common::runtime::on_both_runtimes! {
                by_websocket, by_polling, during_an_upgrade, on_connecting, to_a_room, to_others,
            }
        }
    )+};
}

over! {
    serve: Over::Serve,
    axum: Over::Axum,
    axum_awkward: Over::AxumAwkward(Plan::all(1)),
    awkward: Over::Awkward(Plan::all(1)),
    tls: Over::Tls,
}

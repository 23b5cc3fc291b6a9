//! Whole servers: an Engine.IO server with an echo above it, and a Socket.IO server with handlers of every kind.

use crate::input::Input;
use crate::machine::{self, Machine};
use crate::novelty::{seen, size};
use crate::watch::ON_PURPOSE;
use roomcast_engine::{CloseReason, Connection, Engine, EngineConfig, SessionHandler};
use roomcast_protocol::{EngineKind, Packet};
use roomcast_server::{Ack, Args, ConnectError, DisconnectReason, Socket, SocketIo};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// Small, so that a small input can exceed it.
const MAX_PAYLOAD: usize = 1_500;

#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    closed: AtomicUsize,
    dropped: AtomicUsize,
    panicked: AtomicUsize,
}

struct Echo {
    connection: Arc<Connection>,
    counts: Arc<Counts>,
    holding: Option<Pin<Box<Sleep>>>,
    closed: bool,
}

impl Echo {
    fn send(&self, kind: EngineKind, text: &str, volatile: bool) {
        let packet = Packet::engine(kind, text).unwrap().with_volatile(volatile);
        self.connection.send(&Arc::new(packet)).wake();
    }
}

impl SessionHandler for Echo {
    fn text(&mut self, text: &str) {
        assert!(!self.closed, "a message after the end");
        match text.as_bytes() {
            [b'c', ..] => self.connection.close(),
            [b'h', ..] => self.holding = Some(Box::pin(sleep(Duration::from_secs(3)))),
            [b'b', count, size, ..] => {
                let text = "x".repeat(usize::from(*size) * 4);
                (0..usize::from(*count) * 4).for_each(|_| self.send(EngineKind::Message, &text, false));
            }
            [b'v', ..] => self.send(EngineKind::Message, text, true),
            [b'l', seconds, ..] => {
                let (connection, seconds) = (self.connection.clone(), u64::from(*seconds % 64));
                tokio::spawn(async move {
                    sleep(Duration::from_secs(seconds)).await;
                    connection.send(&Arc::new(Packet::binary(&[7; 70]).unwrap())).wake();
                });
            }
            [b'p', ..] => {
                self.counts.panicked.fetch_add(1, Relaxed);
                panic!("{ON_PURPOSE}");
            }
            _ => self.send(EngineKind::Message, text, false),
        }
    }

    fn binary(&mut self, bytes: &[u8]) {
        assert!(!self.closed, "a message after the end");
        self.connection.send(&Arc::new(Packet::binary(bytes).unwrap())).wake();
    }

    fn closed(&mut self, reason: CloseReason) {
        assert!(!self.closed, "closed twice");
        self.closed = true;
        self.counts.closed.fetch_add(1, Relaxed);
        seen(("closed", reason));
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(holding) = &mut self.holding {
            std::task::ready!(holding.as_mut().poll(cx));
            self.holding = None;
        }
        Poll::Ready(())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.counts.dropped.fetch_add(1, Relaxed);
    }
}

pub(super) fn run_engine(data: &[u8]) {
    machine::run(async {
        let counts: Arc<Counts> = Arc::default();
        let mut config = EngineConfig::default();
        config.max_payload = MAX_PAYLOAD;
        let theirs = counts.clone();
        let engine = Engine::new(config, move |connection: &Arc<Connection>| -> Box<dyn SessionHandler> {
            theirs.opened.fetch_add(1, Relaxed);
            let (connection, counts) = (connection.clone(), theirs.clone());
            Box::new(Echo { connection, counts, holding: None, closed: false })
        });
        let machine = Machine::new(engine.clone().into_service(), "/engine.io/");
        machine.run(Input::new(data), |_| engine.close()).await;
        assert_eq!(engine.sessions(), 0, "sessions are left");
        let [opened, closed, dropped, panicked] =
            [&counts.opened, &counts.closed, &counts.dropped, &counts.panicked].map(|count| count.load(Relaxed));
        assert_eq!(opened, dropped, "clients are left");
        assert!(closed <= opened && closed + panicked >= opened, "{opened} opened, {closed} closed");
        seen((size(opened), size(panicked)));
    });
}

/// The server of the target, and how many sockets have connected and disconnected.
fn server(come: &Arc<AtomicUsize>, gone: &Arc<AtomicUsize>) -> SocketIo {
    let io = SocketIo::builder().max_payload(MAX_PAYLOAD).build();
    for name in ["/", "/admin", "/late"] {
        let namespace = io.of(name);
        if name == "/admin" {
            namespace.middleware(|socket: Socket| async move {
                let told = socket.auth_json().is_some_and(|auth| auth.contains("secret"));
                if told { Ok(()) } else { Err(ConnectError::new("not authorized")) }
            });
        }
        if name == "/late" {
            namespace.middleware(|_: Socket| async {
                sleep(Duration::from_secs(2)).await;
                Ok(())
            });
        }
        let (come, gone) = (come.clone(), gone.clone());
        namespace.on_connection(move |socket: Socket| {
            let gone = gone.clone();
            come.fetch_add(1, Relaxed);
            socket.on_disconnect(move |socket: Socket, reason: DisconnectReason| async move {
                assert!(!socket.is_connected());
                gone.fetch_add(1, Relaxed);
                seen(("gone", reason.to_string()));
            });
            async move { socket.emit("hello", socket.id()) }
        });
        namespace.on("echo", |_: Socket, args: Args, ack: Ack| async move { ack.send(&args) });
        namespace.on("join", |socket: Socket, room: String| async move { socket.join(room).map(drop) });
        namespace.on("leave", |socket: Socket, room: String| async move { socket.leave(&room) });
        namespace.on("to", |socket: Socket, (room, text): (String, String)| async move {
            socket.to(room).emit("said", &text)
        });
        namespace.on("all", |socket: Socket, value: serde_json::Value| async move {
            socket.namespace().emit("all", &value)
        });
        namespace.on("ask", |socket: Socket, question: String, ack: Ack| async move {
            let answer = socket.emit_with_ack("question", &question).await;
            ack.send(answer.map_or_else(|error| error.to_string(), |args| args.items().to_owned()))
        });
        namespace.on("poll", |socket: Socket| async move {
            let everybody = socket.namespace().everyone().timeout(Duration::from_secs(3));
            everybody.emit_with_ack("vote", &()).await.map(drop)
        });
        namespace.on("burst", |socket: Socket, (count, size): (u16, u16)| async move {
            let text = "x".repeat(usize::from(size % 1_500));
            (0..count % 500).try_for_each(|_| socket.emit("burst", &text))
        });
        namespace.on("later", |socket: Socket, milliseconds: u16| async move {
            sleep(Duration::from_millis(milliseconds.into())).await;
            socket.emit("later", milliseconds)
        });
        namespace.on("bye", |socket: Socket, close: bool| async move { socket.disconnect(close) });
        namespace.on("kick", |socket: Socket, room: String| async move {
            socket.namespace().to(room).disconnect_sockets(false)
        });
        namespace.on("panic", |socket: Socket| async move {
            assert!(!socket.is_connected() && socket.is_connected(), "{ON_PURPOSE}");
        });
        namespace.on_fallback(|_: Socket, _: Args| async {});
    }
    io.of_matching(|name: &str| name.starts_with("/dyn-") && name.len() < 10)
        .on("echo", |_: Socket, args: Args, ack: Ack| async move { ack.send(&args) });
    io
}

pub(super) fn run_server(data: &[u8]) {
    machine::run(async {
        let (come, gone) = (Arc::default(), Arc::default());
        let io = server(&come, &gone);
        let service = io.clone().into_service();
        let machine = Machine::new(service, "/socket.io/");
        let act = |choice: u8| match choice % 4 {
            0 => {
                let io = io.clone();
                drop(tokio::spawn(async move { io.close().await }));
            }
            1 => drop(io.of("/").everyone().disconnect_sockets(choice > 128)),
            2 => drop(io.emit("news", [1, 2, 3])),
            _ => drop(io.to("a").sockets_join("b")),
        };
        machine.run(Input::new(data), act).await;
        assert_eq!(io.connections(), 0, "connections are left");
        let [come, gone] = [&come, &gone].map(|count: &Arc<AtomicUsize>| count.load(Relaxed));
        assert_eq!(come, gone, "sockets that were connected are disconnected");
        for name in ["/", "/admin", "/late"] {
            let left = io.of(name).everyone().count().await.value;
            assert_eq!(left, 0, "sockets are left in {name}");
        }
        assert!(io.namespaces() <= 3, "namespaces are left");
        seen((size(come), io.namespaces()));
    });
}

//! Observers of what is sent to one client: what they see, in which order, and that nobody else is concerned.

use crate::common::wire::Frame;
use crate::common::{Log, Server};
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork};
use roomcast_protocol::{DecoderLimits, Unpacked};
use roomcast_server::{
    Args, Attachment, Delivery, EventName, Namespace, Parser, RecoveryOptions, RoomEvent, Socket, SocketIo,
};
use std::future::ready;

/// An observer that notes what it sees.
fn seen(log: &Log, by: &'static str) -> impl Fn(Args) + Send + Sync + 'static {
    let log = log.clone();
    move |args: Args| log.push(format!("{by} {} {}", args.items(), args.attachments().len()))
}

#[tokio::test]
async fn all_that_is_sent_is_shown_in_order_and_answers_are_not() {
    let log = Log::default();
    let noted = log.clone();
    let server = Server::start(|io| {
        let all = io.clone();
        io.on("watch", move |socket: Socket| {
            let first = socket.on_any_outgoing(seen(&noted, "1st"));
            socket.on_any_outgoing(seen(&noted, "2nd"));
            socket.prepend_any_outgoing(seen(&noted, "0th"));
            assert!(socket.remove_listener(first) && !socket.remove_listener(first));
            socket.join("room").map(drop)
        });
        io.on("go", move |socket: Socket| {
            socket.emit("own", (1, "a"))?;
            socket.volatile().emit("volatile", ())?;
            all.to("room").emit("room", ())?;
            all.except("room").emit("others", ())?;
            all.emit("binary", (Attachment::from(vec![1, 2]), "x", Attachment::from(vec![3])))?;
            let asked = socket.clone();
            drop(tokio::spawn(async move { asked.emit_with_ack("question", "?").await }));
            Ok::<_, roomcast_server::EmitError>("an answer")
        });
        io.on("off", |socket: Socket| socket.off_any_outgoing());
    })
    .await;
    let (mut watched, mut other) = (server.joined().await, server.joined().await);
    watched.say(r#"420["watch"]"#).await;
    watched.sync().await;
    watched.say(r#"421["go"]"#).await;
    let events = [r#""own",1,"a" 0"#, r#""volatile" 0"#, r#""room" 0"#];
    let binary = r#""binary",{"_placeholder":true,"num":0},"x",{"_placeholder":true,"num":1} 2"#;
    let events: Vec<&str> = events.into_iter().chain([binary, r#""question","?" 0"#]).collect();
    let both: Vec<String> = events.iter().flat_map(|event| [format!("0th {event}"), format!("2nd {event}")]).collect();
    log.expect(&both.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let got = watched.sync().await;
    // The volatile one was dropped, as another packet waited to be written.
    assert_eq!(got.len(), 7, "{got:?}");
    assert_eq!(got[0], Frame::Text(r#"42["own",1,"a"]"#.to_owned()));
    // The other socket gets its share, and nobody sees it.
    assert_eq!(other.sync().await.len(), 4);
    watched.say(r#"422["off"]"#).await;
    watched.say(r#"423["go"]"#).await;
    watched.sync().await;
    assert_eq!(log.lines().len(), both.len());
    server.finish().await;
}

/// It sees what a middleware emits, and all from the moment on in which the socket is in its namespace.
#[tokio::test]
async fn an_observer_of_a_middleware_misses_nothing() {
    for parser in [Parser::Default, Parser::MessagePack] {
        let log = Log::default();
        let noted = log.clone();
        let server = Server::with(
            |builder| builder.parser(parser),
            |io| {
                let all = io.clone();
                io.middleware(move |socket: Socket| {
                    socket.on_any_outgoing(seen(&noted, "saw"));
                    let _ = socket.emit("early", (1, Attachment::from(vec![7])));
                    ready(Ok(()))
                });
                io.on_connection(move |socket: Socket| {
                    let _ = (socket.emit("greeting", ()), all.emit("all", "x"));
                    ready(())
                });
            },
        )
        .await;
        let mut wire = server.websocket().await;
        match parser {
            Parser::Default => wire.say("40").await,
            _ => wire.say_bytes(b"\x83\xa4type\x00\xa3nsp\xa1/\xa4data\x80").await,
        }
        log.expect(&[r#"saw "early",1,{"_placeholder":true,"num":0} 1"#, r#"saw "greeting" 0"#, r#"saw "all","x" 0"#])
            .await;
        if parser == Parser::MessagePack {
            let Frame::Binary(message) = wire.frame().await else { panic!("no message") };
            assert!(Unpacked::read(&message, DecoderLimits::default()).is_ok());
        }
        server.finish().await;
    }
}

/// A handler of room events sees a socket that the adapter is just inserting.
#[tokio::test]
async fn an_observer_that_comes_while_the_socket_is_inserted_misses_nothing_later() {
    let log = Log::default();
    let noted = log.clone();
    let server = Server::start(|io| {
        io.middleware(|socket: Socket| {
            let _ = socket.join("room");
            ready(Ok(()))
        });
        io.of("/").on_room_event(move |namespace: Namespace, event| {
            if let RoomEvent::Joined { socket, .. } = event {
                let socket = namespace.socket(socket.as_str()).unwrap();
                socket.on_any_outgoing(seen(&noted, "saw"));
            }
            ready(())
        });
    })
    .await;
    let wire = server.joined().await;
    server.io.to("room").emit("hello", 1).unwrap();
    log.expect(&[r#"saw "hello",1 0"#]).await;
    drop(wire);
    server.finish().await;
}

/// One that emits to its own client, and two that emit to each other's.
#[tokio::test]
async fn an_observer_that_emits_does_not_call_itself() {
    let log = Log::default();
    let noted = log.clone();
    let server = Server::start(|io| {
        io.on_connection(move |socket: Socket| {
            let (noted, own) = (noted.clone(), socket.clone());
            socket.on_any_outgoing(move |EventName(event): EventName| {
                noted.push(event);
                // To the other one too.
                let _ = (own.emit("echo", ()), own.namespace().emit("echo to all", ()));
            });
            ready(())
        });
        io.on("go", |socket: Socket| socket.emit("go", ()));
    })
    .await;
    let (mut one, mut two) = (server.joined().await, server.joined().await);
    one.say(r#"42["go"]"#).await;
    // "go" is shown to the first, whose echo to all is shown to the second, whose echoes are shown to nobody.
    log.expect(&["go", "echo to all"]).await;
    assert_eq!((one.sync().await.len(), two.sync().await.len()), (4, 3));
    server.finish().await;
}

#[tokio::test]
async fn an_observed_socket_is_found_counted_and_disconnected_as_any_other() {
    let server = Server::start(|io| {
        io.on_connection(|socket: Socket| {
            socket.on_any_outgoing(|_: Args| {});
            ready(())
        });
        let all = io.clone();
        io.on("find", move |socket: Socket| {
            let found = all.of("/").socket(socket.id().as_str()).is_some_and(|found| found == socket);
            (found, all.of("/").local_sockets().len())
        });
        let all = io.clone();
        io.on("fetch", move || {
            let all = all.clone();
            async move { all.fetch_sockets().await.value.len() }
        });
        let all = io.clone();
        io.on("end", move |socket: Socket| all.to(socket.id()).disconnect_sockets(false));
    })
    .await;
    let (mut wire, other) = (server.joined().await, server.joined().await);
    for (packet, answer) in [(r#"421["find"]"#, r#"431[true,2]"#), (r#"422["fetch"]"#, r#"432[2]"#)] {
        wire.say(packet).await;
        assert_eq!(wire.text().await, answer);
    }
    wire.say(r#"42["end"]"#).await;
    assert_eq!(wire.text().await, "41");
    drop(other);
    server.finish().await;
}

#[tokio::test]
async fn a_broadcast_of_another_server_is_shown() {
    let network = MemoryNetwork::new();
    let cluster = Cluster::new(network.broker(), ClusterOptions::default());
    let there = SocketIo::builder().cluster(&Cluster::new(network.broker(), ClusterOptions::default())).build();
    let log = Log::default();
    let noted = log.clone();
    let server = Server::with(
        |builder| builder.cluster(&cluster),
        |io| {
            io.on_connection(move |socket: Socket| {
                socket.on_any_outgoing(seen(&noted, "saw"));
                ready(())
            });
        },
    )
    .await;
    let mut wire = server.joined().await;
    let from = there.of("/");
    while from.server_count().await.value < 2 {
        tokio::task::yield_now().await;
    }
    from.emit("news", 7).unwrap();
    assert_eq!(wire.text().await, r#"42["news",7]"#);
    log.expect(&[r#"saw "news",7 0"#]).await;
    there.close().await;
    server.finish().await;
}

/// A disconnected socket takes no observer, and what it is refused is not shown.
#[tokio::test]
async fn after_the_end_nothing_is_observed() {
    let log = Log::default();
    let noted = log.clone();
    let server = Server::with(
        |builder| builder.recovery(RecoveryOptions::new()),
        |io| {
            io.on_connection(move |socket: Socket| {
                socket.on_any_outgoing(seen(&noted, "saw"));
                let log = noted.clone();
                socket.on_disconnect(move |socket: Socket, _| {
                    assert!(socket.volatile().emit("too late", ()).is_err());
                    socket.on_any_outgoing(seen(&log, "never"));
                    log.push("end");
                    ready(())
                });
                let delivery = socket.volatile().emit("hello", 1);
                assert!(matches!(delivery, Ok(Delivery::Queued | Delivery::Dropped)));
                ready(())
            });
        },
    )
    .await;
    let watched = server.joined().await;
    log.expect(&[r#"saw "hello",1 0"#]).await;
    drop(watched);
    log.expect(&[r#"saw "hello",1 0"#, "end"]).await;
    server.finish().await;
}

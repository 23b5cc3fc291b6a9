//! What a client does when all goes well.

use parking_lot::Mutex;
use roomcast_server::{
    Args, Attachment, Builder, CloseReason, DisconnectReason, OverRate, Rate, RateLimits, Socket, SocketIo,
};
use roomcast_testkit::{Client, Disconnection, Transport, settle};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Echoes, questions, and a log of how sockets ended.
fn app(builder: Builder) -> (SocketIo, Arc<Mutex<Vec<DisconnectReason>>>) {
    let io = builder.build();
    let ends = Arc::<Mutex<Vec<DisconnectReason>>>::default();
    let log = ends.clone();
    io.of("/").on_connection(move |socket: Socket| {
        let log = log.clone();
        socket.on_disconnect(move |_, reason: DisconnectReason| {
            log.lock().push(reason);
            std::future::ready(())
        });
        std::future::ready(())
    });
    io.of("/").on("echo", |socket: Socket, args: Args| socket.emit("echo", args));
    io.of("/").on("ask me", |socket: Socket, n: u32| async move {
        match socket.emit_with_ack("question", n).await {
            Ok(answer) => answer.parse::<u32>().map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    });
    (io, ends)
}

const BOTH: [Transport; 2] = [Transport::Polling, Transport::WebSocket];

async fn by(io: &SocketIo, transport: Transport) -> Client {
    Client::builder(io).transport(transport).connect().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn events_of_each_name_come_in_their_order() {
    for transport in BOTH {
        let (io, _) = app(SocketIo::builder());
        let client = by(&io, transport).await;
        for n in 0..1_000 {
            client.emit("echo", (n, "text"));
        }
        client.emit("echo", ());
        for n in 0..1_000 {
            assert_eq!(client.next::<(u32, String)>("echo").await, (n, "text".to_owned()));
        }
        assert_eq!(client.all::<Option<u32>>("echo").await, [None]);
        client.expect_silence().await;
    }
}

#[tokio::test(start_paused = true)]
async fn binary_goes_both_ways() {
    for transport in BOTH {
        let (io, _) = app(SocketIo::builder());
        let client = by(&io, transport).await;
        let sent = Attachment::from(vec![0_u8, 1, 0xff]);
        client.emit("echo", ("two", &sent, &sent));
        let (text, a, b) = client.next::<(String, Attachment, Attachment)>("echo").await;
        assert_eq!((&*text, &a[..], &b[..]), ("two", &sent[..], &sent[..]));
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_gets_answers() {
    for transport in BOTH {
        let (io, _) = app(SocketIo::builder());
        let client = by(&io, transport).await;
        client.answer("question", |n: u32| n + 1);
        assert_eq!(client.ask::<u32>("ask me", 41).await, 42);
        client.expect_silence().await;
    }
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_questions_in_any_order() {
    let (io, _) = app(SocketIo::builder());
    io.of("/").on("wait", |seconds: u64| async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        seconds
    });
    let client = Client::connect(&io).await.unwrap();
    let asked = [3, 1, 2].map(|seconds| client.ask::<u64>("wait", seconds));
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await);
    }
    assert_eq!(answers, [3, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_question_can_be_answered_late_and_left_unanswered() {
    let (io, _) = app(SocketIo::builder());
    let client = Client::builder(&io).patience(Duration::from_secs(60)).connect().await.unwrap();
    let asked = client.ask::<u32>("ask me", 1);
    let question = client.next_question::<u32>("question").await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(question.args, 1);
    question.answer(10);
    assert_eq!(asked.await, 10);

    let asked = client.ask::<serde_json::Value>("ask me", 2);
    drop(client.next_question::<u32>("question").await);
    assert_eq!(asked.await["error"], "operation has timed out");
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_lives_for_hours_that_take_no_time() {
    for transport in BOTH {
        let (io, ends) = app(SocketIo::builder());
        let client = by(&io, transport).await;
        let (began, clock) = (std::time::Instant::now(), Instant::now());
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        assert!(clock.elapsed() >= Duration::from_secs(3_600) && began.elapsed() < Duration::from_secs(60));
        assert!(client.is_connected() && ends.lock().is_empty(), "it answers pings");
        client.emit("echo", 1);
        assert_eq!(client.next::<u32>("echo").await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn each_way_to_leave_is_told_to_the_server() {
    for transport in BOTH {
        let (io, ends) = app(SocketIo::builder());
        let ended = async || {
            settle().await;
            assert_eq!(io.connections(), 0);
            ends.lock().pop().map(|reason| reason.to_string())
        };

        let client = by(&io, transport).await;
        client.disconnect();
        assert_eq!(client.disconnected().await, Disconnection::ByClient);
        assert_eq!(ended().await.as_deref(), Some("client namespace disconnect"));

        let client = by(&io, transport).await;
        client.cut();
        assert_eq!(client.disconnected().await, Disconnection::Cut);
        // By polling the connection is that of the poll, and its loss is an error.
        let lost = if transport == Transport::Polling { "transport error" } else { "transport close" };
        assert_eq!(ended().await.as_deref(), Some(lost));

        let client = by(&io, transport).await;
        client.emit("echo", 1);
        drop(client);
        assert_eq!(ended().await.as_deref(), Some("transport close"));

        let client = by(&io, transport).await;
        client.pause_reading();
        tokio::time::sleep(Duration::from_secs(46)).await;
        assert_eq!(ended().await.as_deref(), Some("ping timeout"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_s_ways_to_end_it_are_told_to_the_client() {
    for transport in BOTH {
        let (io, _) = app(SocketIo::builder());
        let client = by(&io, transport).await;
        io.to(client.id()).disconnect_sockets(false).unwrap();
        assert_eq!(client.disconnected().await, Disconnection::ByServer);

        let client = by(&io, transport).await;
        io.to(client.id()).disconnect_sockets(true).unwrap();
        assert_ne!(client.disconnected().await, Disconnection::ByClient);

        let client = by(&io, transport).await;
        io.close().await;
        assert_eq!(client.disconnected().await, Disconnection::TransportClose);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_a_slow_consumer() {
    // The hard bound of its outbox is 1 MiB.
    let (io, ends) = app(SocketIo::builder().max_outbox(64 * 1024));
    let client = Client::connect(&io).await.unwrap();
    client.pause_reading();
    let text = "x".repeat(100_000);
    for _ in 0..20 {
        io.emit("flood", &text).unwrap();
    }
    settle().await;
    assert_eq!(*ends.lock(), [DisconnectReason::Connection(CloseReason::SlowConsumer)]);
    client.resume_reading();
    assert_eq!(client.disconnected().await, Disconnection::TransportClose);
}

/// The middlewares and rates of the server apply to the test's clients as to others.
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_too_much_is_over_its_rate() {
    let mut limits = RateLimits::default();
    limits.events = Rate::per_second(10);
    limits.over = OverRate::Disconnect;
    let (io, ends) = app(SocketIo::builder().rate_limits(limits));
    let client = Client::connect(&io).await.unwrap();
    for n in 0..10 {
        client.emit("echo", n);
    }
    client.fence().await;
    assert!(client.is_connected());
    client.emit("echo", 10);
    assert_eq!(client.disconnected().await, Disconnection::TransportClose);
    assert_eq!(*ends.lock(), [DisconnectReason::Connection(CloseReason::RateLimit)]);
}

#[tokio::test(start_paused = true)]
async fn it_reconnects_with_its_options_and_what_is_unread() {
    for transport in BOTH {
        let io = SocketIo::builder().build();
        io.of("/").on("who", |socket: Socket| async move {
            socket.auth::<serde_json::Value>().map(|auth| auth["token"].to_string())
        });
        let client =
            Client::builder(&io).transport(transport).auth(serde_json::json!({"token": 7})).connect().await.unwrap();
        let first = client.id();
        io.emit("news", 1).unwrap();
        client.fence().await;
        client.cut();
        client.reconnect().await.unwrap();
        assert_ne!(client.id(), first);
        assert_eq!(client.ask::<String>("who", ()).await, "7");
        assert_eq!(client.next::<u32>("news").await, 1);
        assert!(!client.recovered());
        settle().await;
        assert_eq!(io.connections(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_sees_what_the_client_says_of_itself() {
    let io = SocketIo::builder().path("/live/").build();
    io.of("/").on("handshake", |socket: Socket| {
        let handshake = socket.handshake();
        let query: Vec<String> = handshake.query().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{:?} {:?} {}", handshake.address(), handshake.header("cookie"), query.join(" "))
    });
    let builder = Client::builder(&io).path("/live/").header("Cookie", "a=b").query("tenant=7&x=%20");
    let client = builder.address("[2001:db8::1]:9".parse().unwrap()).connect().await.unwrap();
    let seen: String = client.ask("handshake", ()).await;
    assert_eq!(seen, "Some([2001:db8::1]:9) Some(\"a=b\") EIO=4 transport=websocket tenant=7 x= ");
}

/// Without a paused clock everything works too, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_runs_will_do() {
    for transport in BOTH {
        let (io, _) = app(SocketIo::builder());
        let clients = [by(&io, transport).await, by(&io, transport).await];
        for n in 0..100_u32 {
            clients.iter().for_each(|client| client.emit("echo", n));
        }
        for client in &clients {
            for n in 0..100 {
                assert_eq!(client.next::<u32>("echo").await, n);
            }
            client.answer("question", |n: u32| n);
            assert_eq!(client.ask::<u32>("ask me", 5).await, 5);
            client.expect_silence().await;
        }
        clients[0].disconnect();
        assert_eq!(clients[0].disconnected().await, Disconnection::ByClient);
    }
}

/// A test may pass clients to tasks and threads of its own.
#[test]
fn clients_can_be_sent_and_shared() {
    fn is<T: Send + Sync>() {}
    is::<Client>();
    is::<roomcast_testkit::ClientBuilder>();
    is::<roomcast_testkit::Network>();
    is::<roomcast_testkit::Server>();
}

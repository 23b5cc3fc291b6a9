//! Each assertion fails when it should, with the line that it promises.

use roomcast_server::{ConnectError as Refused, Socket, SocketIo};
use roomcast_testkit::{Client, Network, Transport, Why};
use serde_json::json;
use std::time::Duration;

fn app() -> SocketIo {
    let io = SocketIo::builder().build();
    io.of("/").on("echo", |socket: Socket, args: roomcast_server::Args| socket.emit("echo", args));
    io.of("/").on("never", |_ack: roomcast_server::Ack| std::future::pending::<()>());
    io
}

async fn bob(io: &SocketIo) -> Client {
    Client::builder(io).name("bob").connect().await.unwrap()
}

/// The text with which a test fails, without the place of the test, which it must end with.
async fn failure(test: impl Future<Output = ()> + Send + 'static) -> String {
    let error = tokio::spawn(test).await.expect_err("it should fail");
    let panic = error.into_panic();
    let text = panic.downcast_ref::<String>().cloned().unwrap();
    assert!(!text.contains('\n'), "one line: {text}");
    let (text, place) = text.split_once(" (asked at ").unwrap_or_else(|| panic!("no place: {text}"));
    assert!(place.contains("tests/suite/failures.rs:"), "{place}");
    text.to_owned()
}

/// As [`failure`], for what fails in the call itself, whose place is that of the panic.
fn panics(test: impl FnOnce()) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)).expect_err("it should panic");
    panic.downcast_ref::<String>().cloned().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_event_that_does_not_come() {
    let client = bob(&app()).await;
    let before = tokio::time::Instant::now();
    let unmet = client.try_next::<u32>("news").await.unwrap_err();
    assert_eq!(before.elapsed(), roomcast_testkit::limits::PATIENCE);
    assert_eq!(
        (unmet.why(), &*unmet.to_string()),
        (Why::Timeout, "bob: news did not come within 10s; nothing is unread")
    );
    client.emit("echo", ("hi", 2));
    let text = failure(async move { client.next::<()>("news").await }).await;
    assert_eq!(text, r#"bob: news did not come within 10s; unread: echo("hi",2)"#);
}

#[tokio::test(start_paused = true)]
async fn an_event_of_another_type() {
    let client = bob(&app()).await;
    client.emit("echo", "hi");
    let unmet = client.try_next::<u32>("echo").await.unwrap_err();
    assert_eq!(unmet.why(), Why::Unfit);
    let text = unmet.to_string();
    assert!(text.starts_with(r#"bob: echo was ("hi"), which is no u32: argument 1"#), "{text}");
    client.emit("echo", "hi");
    let text = failure(async move {
        let _ = client.next::<u32>("echo").await;
    })
    .await;
    assert!(text.starts_with(r#"bob: echo was ("hi"), which is no u32"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_event_after_the_end_fails_at_once() {
    let io = app();
    let client = bob(&io).await;
    let waiting = client.try_next::<u32>("news");
    io.to(client.id()).disconnect_sockets(false).unwrap();
    let before = tokio::time::Instant::now();
    let unmet = waiting.await.unwrap_err();
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(unmet.why(), Why::Disconnected);
    assert_eq!(unmet.to_string(), "bob: news did not come: disconnected (io server disconnect); nothing is unread");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come() {
    let client = bob(&app()).await;
    for transport in [Transport::WebSocket, Transport::Polling] {
        let client = Client::builder(&app()).name("bob").transport(transport).connect().await.unwrap();
        let unmet = client.try_ask::<u32>("never", ()).await.unwrap_err();
        let expected = "bob: the answer to never did not come within 10s; nothing is unread";
        assert_eq!((unmet.why(), &*unmet.to_string()), (Why::Timeout, expected));
    }
    let text = failure(async move { client.ask("never", ()).await }).await;
    assert_eq!(text, "bob: the answer to never did not come within 10s; nothing is unread");
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_type_shows_the_error_of_the_handler() {
    let io = app();
    io.of("/").on("fail", || Err::<u32, _>("no such user"));
    let client = bob(&io).await;
    let text = failure(async move {
        let _ = client.ask::<u32>("fail", ()).await;
    })
    .await;
    assert!(text.starts_with("bob: the answer to fail was ({") && text.contains(r#""error":"no such user""#), "{text}");
    assert!(text.contains("}), which is no u32: "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn something_where_nothing_was_expected() {
    let client = bob(&app()).await;
    client.emit("echo", 1);
    client.expect_nothing("news").await;
    let text = failure(async move { client.expect_nothing("echo").await }).await;
    assert_eq!(text, "bob: expected no echo, but got echo(1)");

    let client = bob(&app()).await;
    client.expect_silence().await;
    client.emit("echo", 1);
    client.emit("echo", 2);
    let text = failure(async move { client.expect_silence().await }).await;
    assert_eq!(text, "bob: expected silence, but unread: echo(1), echo(2)");

    let client = bob(&app()).await;
    client.emit("echo", 1);
    client.fence().await;
    client.clear();
    client.expect_silence().await;
}

/// The fence waits for handlers that are tasks, and for the clients that they send to.
#[tokio::test(start_paused = true)]
async fn something_that_comes_in_a_roundabout_way() {
    let io = app();
    io.of("/").on("later", |socket: Socket| async move {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(20))).await?;
        socket.broadcast().emit("came", ())?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    });
    let (ann, client) = (bob(&io).await, bob(&io).await);
    ann.emit("later", ());
    let text = failure(async move { client.expect_nothing("came").await }).await;
    assert_eq!(text, "bob: expected no came, but got came()");
}

#[tokio::test(start_paused = true)]
async fn all_of_another_type() {
    let client = bob(&app()).await;
    client.emit("echo", 1);
    client.emit("echo", "hi");
    let text = failure(async move { drop(client.all::<u32>("echo").await) }).await;
    assert!(text.starts_with(r#"bob: echo was ("hi"), which is no u32"#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_none() {
    let client = bob(&app()).await;
    client.emit("echo", 1);
    let text = failure(async move { drop(client.next_question::<u32>("echo").await) }).await;
    assert_eq!(text, "bob: the server wants no answer to echo(1)");
}

#[tokio::test(start_paused = true)]
async fn an_end_that_does_not_come() {
    let client = bob(&app()).await;
    let text = failure(async move { drop(client.disconnected().await) }).await;
    assert_eq!(text, "bob is still connected after 10s; nothing is unread");
}

#[tokio::test(start_paused = true)]
async fn what_a_client_cannot_do() {
    let io = app();
    let client = bob(&io).await;
    let text = panics(|| client.emit("disconnect", ()));
    assert_eq!(text, "bob: disconnect is a name that Socket.IO keeps for itself");
    client.disconnect();
    let text = panics(|| client.emit("echo", 1));
    assert_eq!(text, "bob cannot emit echo: it is disconnected (io client disconnect)");
    let text = panics(|| println!("{}", client.id()));
    assert_eq!(text, "bob has no id: it is disconnected (io client disconnect)");
    let text = panics(|| drop(Client::builder(&io).auth("secret")));
    assert!(text.starts_with("the auth payload of a client is a JSON object, and not"), "{text}");
    let text = panics(|| drop(Client::builder(&io).header("a b", "c")));
    assert_eq!(text, "a b: c is no header");
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_refused() {
    let io = SocketIo::builder()
        .allow_request(|request| {
            let allowed = request.headers.contains_key("authorization");
            std::future::ready(if allowed { Ok(()) } else { Err("who are you?".to_owned()) })
        })
        .build();
    io.of("/").middleware(|_| async { Err(Refused::new("closed").with_data(&json!({"until": 8}))) });
    for transport in [Transport::WebSocket, Transport::Polling] {
        let builder = Client::builder(&io).name("bob").transport(transport);
        let error = builder.clone().connect().await.unwrap_err();
        // The engine answers an upgrade with 400.
        let status = if transport == Transport::Polling { 403 } else { 400 };
        assert_eq!((error.message(), error.status()), ("who are you?", Some(status)));
        assert_eq!(format!("{error:?}"), format!("bob could not connect: who are you? (HTTP {status})"));

        let error = builder.header("Authorization", "x").connect().await.unwrap_err();
        assert_eq!((error.message(), error.status()), ("closed", None));
        assert_eq!(error.data::<serde_json::Value>(), Some(json!({"until": 8})));
        assert_eq!(format!("{error}"), r#"bob could not connect: closed {"until":8}"#);
    }
    roomcast_testkit::settle().await;
    assert_eq!(io.connections(), 0, "a client that was refused leaves");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer() {
    let io = SocketIo::builder().build();
    io.of("/").middleware(|_| std::future::pending());
    let error = Client::builder(&io).name("bob").connect().await.unwrap_err();
    assert_eq!(error.to_string(), "bob could not connect: no answer to its CONNECT within 10s");

    let io = SocketIo::builder().allow_request(|_| std::future::pending()).build();
    let error = Client::builder(&io).name("bob").connect().await.unwrap_err();
    assert_eq!(error.to_string(), "bob could not connect: no answer to the handshake within 10s");

    let io = SocketIo::builder().build();
    let patient = Duration::from_secs(60);
    io.of("/").middleware(|_| std::future::pending());
    let error = Client::builder(&io).name("bob").patience(patient).connect().await.unwrap_err();
    assert_eq!(error.to_string(), "bob could not connect: transport close, before the server answered");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_given_leaves_the_event_unread() {
    let io = app();
    let client = bob(&io).await;
    client.answer("question", |n: u32| if n == 7 { panic!("I do not like it") } else { n });
    io.emit("question", "text").unwrap();
    assert_eq!(client.next::<String>("question").await, "text");
    io.emit("question", 7).unwrap();
    assert_eq!(client.next::<u32>("question").await, 7);
    io.emit("question", 8).unwrap();
    client.expect_nothing("question").await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_does_not_form() {
    let network = Network::new();
    let (a, _b) = (network.server(|builder| builder), network.server(|builder| builder));
    network.cut(&a);
    let text = failure(async move { network.ready().await }).await;
    let id = a.cluster().id();
    assert_eq!(text, format!("the cluster is not ready after 10s: server {id:?} hears nothing"));
}

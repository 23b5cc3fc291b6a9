//! Polling, WebSockets, and the way from one to the other.

use roomcast_server::{Args, Attachment, ConnectError, Socket, SocketIo};
use roomcast_testkit::{Client, Disconnection, Parser, Transport, settle};

fn app() -> SocketIo {
    let io = SocketIo::builder().build();
    io.of("/").on("echo", |socket: Socket, args: Args| socket.emit("echo", args));
    io.of("/").on("transport", |socket: Socket| format!("{:?}", socket.transport()));
    io
}

async fn polling(io: &SocketIo) -> Client {
    Client::builder(io).transport(Transport::Polling).connect().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_loses_nothing_and_keeps_the_order() {
    let io = app();
    let client = polling(&io).await;
    assert_eq!(client.transport(), Transport::Polling);
    assert_eq!(client.ask::<String>("transport", ()).await, "Polling");
    for n in 0..100 {
        client.emit("echo", n);
    }
    let upgrade = client.upgrade();
    for n in 100..200 {
        client.emit("echo", n);
    }
    upgrade.await.unwrap();
    for n in 200..300 {
        client.emit("echo", n);
    }
    assert_eq!(client.all::<u32>("echo").await, (0..300).collect::<Vec<_>>());
    assert_eq!(client.transport(), Transport::WebSocket);
    assert_eq!(client.ask::<String>("transport", ()).await, "WebSocket");
    assert!(client.upgrade().await.is_err());

    let second = client.of("/other").connect().await;
    assert_eq!(second.unwrap_err().message(), "Invalid namespace");
    client.disconnect();
    settle().await;
    assert_eq!(io.connections(), 0);
}

/// The server sends all the time, by the poll that it holds and then by the WebSocket.
#[tokio::test(start_paused = true)]
async fn what_the_server_sends_during_an_upgrade_keeps_its_order() {
    let io = app();
    let client = polling(&io).await;
    let sending = io.clone();
    let sent = tokio::spawn(async move {
        for n in 0..2_000_u32 {
            sending.emit("n", n).unwrap();
            tokio::task::yield_now().await;
        }
    });
    client.upgrade().await.unwrap();
    sent.await.unwrap();
    assert_eq!(client.all::<u32>("n").await, (0..2_000).collect::<Vec<_>>());
    assert_eq!(client.ask::<String>("transport", ()).await, "WebSocket");
}

#[tokio::test(start_paused = true)]
async fn a_server_without_upgrades_refuses_and_polling_goes_on() {
    let io = SocketIo::builder().transports([Transport::Polling]).build();
    io.of("/").on("echo", |socket: Socket, args: Args| socket.emit("echo", args));
    let refused = Client::connect(&io).await.unwrap_err();
    assert_eq!(refused.message(), "Transport unknown");
    let client = polling(&io).await;
    client.upgrade().await.unwrap_err();
    client.emit("echo", 1);
    assert_eq!(client.next::<u32>("echo").await, 1);
}

#[tokio::test(start_paused = true)]
async fn several_namespaces_share_a_connection() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let io = app();
        io.of("/a").on("who", || "a");
        io.of("/b").on("who", || "b");
        let client = Client::builder(&io).transport(transport).connect().await.unwrap();
        let (a, b) = (client.of("a").connect().await.unwrap(), client.of("/b").connect().await.unwrap());
        assert_eq!(a.ask::<String>("who", ()).await, "a");
        assert_eq!(b.ask::<String>("who", ()).await, "b");
        assert_eq!(io.connections(), 1);

        a.disconnect();
        settle().await;
        assert!(client.is_connected() && b.is_connected() && io.connections() == 1);
        let a = client.of("/a").connect().await.unwrap();
        client.cut();
        assert_eq!(a.disconnected().await, Disconnection::Cut);
        assert_eq!(b.disconnected().await, Disconnection::Cut);
    }
}

/// Larger than the pipe, and than one POST.
#[tokio::test(start_paused = true)]
async fn large_events_pass() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let io = app();
        let client = Client::builder(&io).transport(transport).connect().await.unwrap();
        let text = "é".repeat(200_000);
        for _ in 0..5 {
            client.emit("echo", &text);
        }
        for _ in 0..5 {
            assert_eq!(client.next::<String>("echo").await, text);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_with_messagepack_has_clients_with_it() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        let io = SocketIo::builder().parser(Parser::MessagePack).build();
        io.of("/").on("echo", |socket: Socket, args: Args| socket.emit("echo", args));
        io.of("/").on("auth", |socket: Socket| socket.auth_json().map(str::to_owned));
        io.of("/closed").middleware(|_| async { Err(ConnectError::new("closed").with_data(&8)) });
        let builder = Client::builder(&io).transport(transport).parser(Parser::MessagePack);

        let client = builder.clone().auth(serde_json::json!({"token": "t"})).connect().await.unwrap();
        assert_eq!(client.ask::<String>("auth", ()).await, r#"{"token":"t"}"#);
        let bytes = Attachment::from(vec![0_u8, 0xff]);
        client.emit("echo", ("text", &bytes));
        assert_eq!(client.next::<(String, Attachment)>("echo").await, ("text".to_owned(), bytes));
        client.answer("double", |n: u32| 2 * n);
        let answers = io.to(client.id()).emit_with_ack("double", 4).await.unwrap();
        assert_eq!(answers.answers[0].parse::<u32>().unwrap(), 8);

        let refused = client.of("/closed").connect().await.unwrap_err();
        assert_eq!((refused.message(), refused.data()), ("closed", Some(8)));
        client.disconnect();
        let client = builder.connect().await.unwrap();
        assert_eq!(client.ask::<Option<String>>("auth", ()).await, None);

        // Clients of the other parser are told nothing that they could read.
        let error = Client::builder(&io).transport(transport).connect().await.unwrap_err();
        assert_eq!(error.to_string(), "client could not connect: transport close, before the server answered");
    }
}

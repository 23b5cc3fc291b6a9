//! What is compressed between a client and its server, and what a test sees of that.

use roomcast_server::{Args, Attachment, Builder, Socket, SocketIo};
use roomcast_testkit::{Client, ClientBuilder, Compression, Deflate, Disconnection, Parser, Transport, settle};

fn app(builder: Builder) -> SocketIo {
    let io = builder.build();
    io.of("/").on("echo", |socket: Socket, args: Args| socket.emit("echo", args));
    io.of("/").on("echo plainly", |socket: Socket, args: Args| socket.compress(false).emit("echo", args));
    io
}

fn compressing() -> SocketIo {
    app(SocketIo::builder().per_message_deflate(Deflate::default()).http_compression(Deflate::default()))
}

/// A client that offers to compress messages from so many bytes on.
fn offering(io: &SocketIo, threshold: usize) -> ClientBuilder {
    let mut deflate = Deflate::default();
    deflate.threshold = threshold;
    Client::builder(io).per_message_deflate(deflate)
}

/// Whether the server has agreed, and how many messages came and left compressed.
fn seen(client: &Client) -> (bool, u64, u64) {
    let Compression { agreed, received, sent, .. } = client.compression();
    (agreed, received, sent)
}

#[tokio::test(start_paused = true)]
async fn long_messages_are_compressed_both_ways() {
    let io = compressing();
    let client = offering(&io, 1_024).connect().await.unwrap();
    assert_eq!(seen(&client), (true, 0, 0));
    let (mut received, mut sent) = (0, 0);
    // `42["echo","…"]` has 13 characters besides the text.
    for (length, compressed) in [(0, 0), (1_010, 0), (1_011, 1), (5_000, 1), (200_000, 1)] {
        let text = "word ".repeat(length / 5 + 1).split_off(5 - length % 5);
        client.emit("echo", &text);
        assert_eq!(client.next::<String>("echo").await, text, "{length} bytes");
        (received, sent) = (received + compressed, sent + compressed);
        assert_eq!(seen(&client), (true, received, sent), "{length} bytes");
    }
    // What the application exempts is not compressed, and what a client sends is another matter.
    client.emit("echo plainly", "x".repeat(2_000));
    assert_eq!(client.next::<String>("echo").await, "x".repeat(2_000));
    assert_eq!(seen(&client), (true, received, sent + 1));
}

/// Text, attachments, and packets of MessagePack; and a client whose threshold is not the server's.
#[tokio::test(start_paused = true)]
async fn each_message_is_compressed_by_itself() {
    for (parser, each) in [(Parser::Default, 3), (Parser::MessagePack, 1)] {
        let io = app(SocketIo::builder().parser(parser).per_message_deflate(Deflate::default()));
        let client = offering(&io, 100).parser(parser).connect().await.unwrap();
        let args = ("text ".repeat(300), Attachment::from(vec![7_u8; 2_000]), Attachment::from(vec![8_u8; 3_000]));
        client.emit("echo", &args);
        assert_eq!(client.next::<(String, Attachment, Attachment)>("echo").await, args);
        assert_eq!(seen(&client), (true, each, each));
        client.emit("echo", "x".repeat(500));
        assert_eq!(client.next::<String>("echo").await.len(), 500);
        assert_eq!(seen(&client), (true, each, each + 1), "the server's threshold is another");
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_agreement_nothing_is_compressed() {
    let (plain, compressing) = (app(SocketIo::builder()), compressing());
    for builder in [offering(&plain, 0), Client::builder(&compressing), Client::builder(&plain)] {
        let client = builder.connect().await.unwrap();
        client.emit("echo", "x".repeat(5_000));
        assert_eq!(client.next::<String>("echo").await.len(), 5_000);
        assert_eq!(client.compression(), Compression::default());
    }
    // An extension that the client does not know it has.
    let header = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits");
    let error = Client::builder(&compressing).header(header.0, header.1).connect().await.unwrap_err();
    assert!(error.to_string().contains("extensions that were not offered"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_reaches_clients_of_each_kind() {
    let io = compressing();
    let clients = [
        offering(&io, 1_024).connect().await.unwrap(),
        Client::connect(&io).await.unwrap(),
        Client::builder(&io).transport(Transport::Polling).accept_encoding("gzip").connect().await.unwrap(),
        Client::builder(&io).transport(Transport::Polling).accept_encoding("deflate;q=0.5").connect().await.unwrap(),
        Client::builder(&io).transport(Transport::Polling).accept_encoding("br").connect().await.unwrap(),
        Client::builder(&io).transport(Transport::Polling).connect().await.unwrap(),
    ];
    io.emit("news", "é".repeat(10_000)).unwrap();
    for (client, expected) in clients.iter().zip([1, 0, 1, 1, 0, 0]) {
        assert_eq!(client.next::<String>("news").await, "é".repeat(10_000));
        assert_eq!(client.compression().received, expected);
        assert_eq!(client.compression().sent, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgrade_keeps_the_count_and_a_reconnect_begins_again() {
    let io = compressing();
    let builder = offering(&io, 1_024).transport(Transport::Polling).accept_encoding("gzip, deflate, br, zstd");
    let client = builder.connect().await.unwrap();
    let text = "x".repeat(5_000);
    client.emit("echo", &text);
    assert_eq!(client.next::<String>("echo").await, text);
    assert_eq!(seen(&client), (false, 1, 0), "a POST is never compressed");
    client.upgrade().await.unwrap();
    client.emit("echo", &text);
    assert_eq!(client.next::<String>("echo").await, text);
    assert_eq!(seen(&client), (true, 2, 1));
    let other = client.of("/other").connect().await;
    assert_eq!(other.unwrap_err().message(), "Invalid namespace");

    client.cut();
    assert_eq!(client.disconnected().await, Disconnection::Cut);
    client.reconnect().await.unwrap();
    assert_eq!(seen(&client), (false, 0, 0));
    client.disconnect();
    settle().await;
    assert_eq!(io.connections(), 0);
}

/// Compressed messages are bounded by their length after inflating.
#[tokio::test(start_paused = true)]
async fn a_message_that_inflates_to_too_much_ends_the_connection() {
    let io = app(SocketIo::builder().max_payload(20_000).per_message_deflate(Deflate::default()));
    // `42["echo","…"]`
    for (length, passes) in [(20_000 - 13, true), (20_000 - 12, false)] {
        let client = offering(&io, 1_024).connect().await.unwrap();
        client.emit("echo", "x".repeat(length));
        if passes {
            assert_eq!(client.next::<String>("echo").await.len(), length);
        } else {
            assert_eq!(client.disconnected().await, Disconnection::TransportClose);
        }
        assert_eq!(client.compression().sent, 1);
    }
}

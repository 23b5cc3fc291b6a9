//! A Socket.IO client over WebSocket, for tests that need many clients. A library handles the frames; the tests write the packets.

use futures_util::{SinkExt as _, StreamExt as _};
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// The library's default is 128 KiB per client; a thousand clients must fit into any machine.
const READ_BUFFER: usize = 4_096;

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: WebSocketStream<TcpStream>,
}

impl Client {
    /// Connects and joins `/`.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_with_id(address).await.0
    }

    /// Connects and joins `/`; also returns the socket's id.
    pub(crate) async fn connect_with_id(address: SocketAddr) -> (Self, String) {
        let mut client = Self::open(address, "/socket.io/").await;
        client.send("40").await;
        let connected = client.next().await.unwrap();
        let id = connected.strip_prefix("40{\"sid\":\"").and_then(|rest| rest.strip_suffix("\"}"));
        let id = id.unwrap_or_else(|| panic!("not the answer to CONNECT: {connected}")).to_owned();
        (client, id)
    }

    /// Connects on this path, and joins nothing yet.
    pub(crate) async fn open(address: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let url = format!("ws://{address}{path}?EIO=4&transport=websocket");
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let (stream, _) = client_async_with_config(url, stream, Some(config)).await.unwrap();
        let mut client = Self { stream };
        let open = client.next().await.unwrap();
        assert!(open.starts_with("0{"), "not an open packet: {open}");
        client
    }

    /// Sends a packet.
    pub(crate) async fn send(&mut self, packet: impl Into<String>) {
        self.stream.send(Message::text(packet.into())).await.unwrap();
    }

    /// The next packet. Pings are answered and not returned. `None` after the server has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            match self.stream.next().await? {
                Ok(Message::Text(text)) if text.as_str() == "2" => self.send("3").await,
                Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
                Ok(Message::Close(_)) => {}
                Ok(other) => panic!("not a text packet: {other:?}"),
                Err(error) => panic!("the connection broke: {error}"),
            }
        }
    }

    /// Sends a close frame and waits until the server has closed the connection.
    pub(crate) async fn close(mut self) {
        self.stream.close(None).await.unwrap();
        assert_eq!(self.next().await, None);
    }
}

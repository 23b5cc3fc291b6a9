//! What is queued for a client together leaves in one write: the stream between hyper and the kernel counts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod client;

use client::Client;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use roomcast_server::{Socket, SocketIo};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower_service::Service;

/// Messages that are queued together.
const MESSAGES: usize = 10;

/// Time for a test, so that a fault ends it.
const STEP: Duration = Duration::from_secs(60);

/// Bytes of each write that succeeded.
type Writes = Arc<Mutex<Vec<usize>>>;

struct Counting {
    stream: TcpStream,
    writes: Writes,
}

impl Counting {
    fn count(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.writes.lock().unwrap().push(*bytes);
        }
        written
    }
}

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// Serves one connection and counts its writes.
async fn serve(io: &SocketIo) -> (SocketAddr, Writes) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let writes = Writes::default();
    let (service, counter) = (io.clone().into_service(), writes.clone());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TokioIo::new(Counting { stream, writes: counter });
        let service = service_fn(move |request: Request<Incoming>| {
            let mut service = service.clone();
            async move {
                poll_fn(|cx| Service::<Request<Incoming>>::poll_ready(&mut service, cx)).await?;
                service.call(request).await
            }
        });
        hyper::server::conn::http1::Builder::new().serve_connection(stream, service).with_upgrades().await.unwrap();
    });
    (address, writes)
}

/// Hears the messages, and tells the bytes of their frames.
async fn hear(client: &mut Client) -> usize {
    let mut bytes = 0;
    for number in 0..MESSAGES {
        let expected = format!(r#"42["news",{number}]"#);
        assert_eq!(client.next().await.unwrap(), expected);
        // A server's frame of up to 125 bytes has a header of two.
        bytes += expected.len() + 2;
    }
    bytes
}

#[tokio::test]
async fn what_a_handler_emits_to_its_client_leaves_in_one_write() {
    let io = SocketIo::builder().build();
    io.of("/")
        .on("go", |socket: Socket| async move { (0..MESSAGES).try_for_each(|number| socket.emit("news", &number)) });
    let (address, writes) = serve(&io).await;
    let test = async {
        let mut client = Client::connect(address).await;
        writes.lock().unwrap().clear();
        client.send(r#"42["go"]"#).await;
        let bytes = hear(&mut client).await;
        assert_eq!(*writes.lock().unwrap(), [bytes], "bytes of each write");
        client.close().await;
    };
    timeout(STEP, test).await.unwrap();
}

#[tokio::test]
async fn what_is_broadcast_in_one_go_leaves_in_one_write_for_each_recipient() {
    let io = SocketIo::builder().build();
    let namespace = io.of("/");
    let mut clients = Vec::new();
    let test = async {
        for _ in 0..20 {
            let (address, writes) = serve(&io).await;
            clients.push((Client::connect(address).await, writes));
        }
        clients.iter().for_each(|(_, writes)| writes.lock().unwrap().clear());
        // Nothing is awaited between the emits, so no writer of this one thread runs before the last.
        for number in 0..MESSAGES {
            namespace.emit("news", &number).unwrap();
        }
        for (client, writes) in &mut clients {
            let bytes = hear(client).await;
            assert_eq!(*writes.lock().unwrap(), [bytes], "bytes of each write");
        }
    };
    timeout(STEP, test).await.unwrap();
}

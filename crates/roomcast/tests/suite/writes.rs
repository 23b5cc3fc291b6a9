//! Packets that are queued together for a client leave in one write. The stream between hyper and the kernel counts the writes.

use crate::client::Client;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use roomcast_server::engine::Turn;
use roomcast_server::{Socket, SocketIo};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower_service::Service;

/// Messages that are queued together.
const MESSAGES: usize = 10;

/// Limit for a test, so that it ends if something is wrong.
const STEP: Duration = Duration::from_secs(60);

/// The number of bytes of each successful write.
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

/// Receives the messages, and returns the size of their frames in bytes.
async fn receive(client: &mut Client) -> usize {
    let mut bytes = 0;
    for number in 0..MESSAGES {
        let expected = format!(r#"42["news",{number}]"#);
        assert_eq!(client.next().await.unwrap(), expected);
        // The header of a server's frame of up to 125 bytes has two bytes.
        bytes += expected.len() + 2;
    }
    bytes
}

#[tokio::test]
async fn events_that_a_handler_emits_to_its_client_leave_in_one_write() {
    let io = SocketIo::builder().build();
    io.of("/")
        .on("go", |socket: Socket| async move { (0..MESSAGES).try_for_each(|number| socket.emit("news", number)) });
    check_go(&io).await;
}

#[tokio::test]
async fn events_that_a_handler_emits_after_an_await_leave_in_one_write() {
    let io = SocketIo::builder().build();
    io.of("/").on("go", |socket: Socket| async move {
        tokio::task::yield_now().await;
        (0..MESSAGES).try_for_each(|number| socket.emit("news", number))
    });
    check_go(&io).await;
}

/// Checks that all events which the handler of "go" emits to its client leave in one write.
async fn check_go(io: &SocketIo) {
    let (address, writes) = serve(io).await;
    let test = async {
        let mut client = Client::connect(address).await;
        writes.lock().unwrap().clear();
        client.send(r#"42["go"]"#).await;
        let bytes = receive(&mut client).await;
        assert_eq!(*writes.lock().unwrap(), [bytes], "bytes of each write");
        client.close().await;
    };
    timeout(STEP, test).await.unwrap();
}

#[tokio::test]
async fn events_for_a_client_that_one_post_causes_leave_in_one_write() {
    let io = SocketIo::builder().build();
    io.of("/").on("go", |socket: Socket, number: usize| async move { socket.broadcast().emit("news", number) });
    let (address, writes) = serve(&io).await;
    let test = async {
        let mut client = Client::connect(address).await;
        writes.lock().unwrap().clear();
        let (poster, _) = serve(&io).await;
        let events: Vec<String> = (0..MESSAGES).map(|number| format!(r#"42["go",{number}]"#)).collect();
        post(poster, &events.join("\u{1e}")).await;
        let bytes = receive(&mut client).await;
        assert_eq!(*writes.lock().unwrap(), [bytes], "bytes of each write");
        client.close().await;
    };
    timeout(STEP, test).await.unwrap();
}

/// Joins the main namespace by polling and posts a payload, over one connection.
async fn post(address: SocketAddr, payload: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let answer = ask(&mut stream, "GET", "", "").await;
    let (_, sid) = answer.split_once(r#""sid":""#).unwrap();
    let sid = format!("&sid={}", &sid[..20]);
    ask(&mut stream, "POST", &sid, "40").await;
    ask(&mut stream, "GET", &sid, "").await;
    ask(&mut stream, "POST", &sid, payload).await;
}

async fn ask(stream: &mut TcpStream, method: &str, query: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "{method} /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4_096];
    let count = stream.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..count].to_vec()).unwrap()
}

#[tokio::test]
async fn broadcasts_of_one_turn_leave_in_one_write_for_each_recipient() {
    let io = SocketIo::builder().build();
    let namespace = io.of("/");
    let mut clients = Vec::new();
    let test = async {
        for _ in 0..20 {
            let (address, writes) = serve(&io).await;
            clients.push((Client::connect(address).await, writes));
        }
        clients.iter().for_each(|(_, writes)| writes.lock().unwrap().clear());
        // As in a handler. Outside a turn each emit is written immediately.
        let turn = Turn::begin();
        for number in 0..MESSAGES {
            namespace.emit("news", number).unwrap();
        }
        drop(turn);
        for (client, writes) in &mut clients {
            let bytes = receive(client).await;
            assert_eq!(*writes.lock().unwrap(), [bytes], "bytes of each write");
        }
    };
    timeout(STEP, test).await.unwrap();
}

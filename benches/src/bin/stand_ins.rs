//! A server with a room of clients in its own memory: `stand-ins MEMBERS`. Their connections are complete except for the kernel: the streams
//! end in this process, and nobody reads them. So a room can have more members than a process can have descriptors. `hold` measures it.
//! Environment: `HOST`, `PORT`.

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use roomcast_benches::wire::{client_frame, upgrade_request};
use roomcast_server::{Ack, Args, Socket, SocketIo};
use std::env::var;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tower_service::Service as _;

/// The buffer of a stream in bytes: enough for hundreds of small messages that are not read.
const KEPT: usize = 64 * 1024;

/// The members answer no heartbeats, so the server sends none.
const NO_HEARTBEAT: Duration = Duration::from_secs(24 * 60 * 60);

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let members: usize = std::env::args().nth(1).ok_or("usage: stand-ins MEMBERS")?.parse()?;
    let io = SocketIo::builder().ping_interval(NO_HEARTBEAT).build();
    let namespace = io.of("/");
    namespace.on("join", |socket: Socket, room: String, ack: Ack| async move {
        socket.join(&room)?.await;
        ack.send(())?;
        Ok::<(), Failure>(())
    });
    namespace.on("echo", |_: Socket, args: Args, ack: Ack| async move { ack.send(&args) });
    namespace.on("pub", |socket: Socket, args: Args| async move {
        let room: String = args.parse()?;
        socket.namespace().to(room).emit("msg", args.skip(1))?;
        Ok::<(), Failure>(())
    });
    let mut room = Vec::with_capacity(members);
    for _ in 0..members {
        room.push(member(&io).await?);
    }
    let (host, port) = (var("HOST")?, var("PORT")?);
    let listener = roomcast_server::engine::bind(format!("{host}:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    io.serve(listener, std::future::pending()).await?;
    drop(room);
    Ok(())
}

/// Connects a client that joins the room, and returns its end of the stream.
async fn member(io: &SocketIo) -> Result<DuplexStream, Failure> {
    let (mut client, server) = duplex(KEPT);
    let service = io.clone().into_service();
    tokio::spawn(async move {
        let service = service_fn(move |request: Request<Incoming>| service.clone().call(request));
        // A client that disconnects is not an error here.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service)
            .with_upgrades()
            .await;
    });
    client.write_all(upgrade_request().as_bytes()).await?;
    read_past(&mut client, b"0{").await?;
    client.write_all(&client_frame("40")).await?;
    read_past(&mut client, b"40{").await?;
    client.write_all(&client_frame(r#"421["join","room"]"#)).await?;
    read_past(&mut client, b"431[").await?;
    Ok(client)
}

/// Reads until `text` has arrived.
async fn read_past(client: &mut DuplexStream, text: &[u8]) -> Result<(), Failure> {
    let mut received = Vec::new();
    while !received.windows(text.len()).any(|bytes| bytes == text) {
        if client.read_buf(&mut received).await? == 0 {
            return Err(format!("the server answered {}", String::from_utf8_lossy(&received)).into());
        }
    }
    Ok(())
}

//! The conformance server's events `echo`, `join` and `pub` on socketioxide, for `peers` to measure. With `ADAPTER=classic` and `REDIS_URL`
//! it is one of several servers, through socketioxide's Redis adapter, which has a dialect of its own.

use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::adapter::Adapter;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide_redis::{RedisAdapter, RedisAdapterCtr};
use std::env::var;
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let router = axum::Router::new();
    let router = if var("ADAPTER").is_ok_and(|adapter| adapter == "classic") {
        // The adapter's documentation requires RESP3.
        let client = redis::Client::open(format!("{}?protocol=resp3", var("REDIS_URL")?))?;
        let adapter = RedisAdapterCtr::new_with_redis(&client).await?;
        let (layer, io) = SocketIo::builder().with_adapter::<RedisAdapter<_>>(adapter).build_layer();
        io.ns("/", serve).await?;
        router.layer(layer)
    } else {
        let (layer, io) = SocketIo::new_layer();
        io.ns("/", serve);
        router.layer(layer)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), router).await?;
    Ok(())
}

async fn serve<A: Adapter>(socket: SocketRef<A>) {
    socket.on("echo", async |Data::<String>(data), ack: AckSender<A>| {
        let _ = ack.send(&data);
    });
    socket.on("join", async |socket: SocketRef<A>, Data::<String>(room), ack: AckSender<A>| {
        socket.join(room);
        let _ = ack.send::<[Value; 0]>(&[]);
    });
    socket.on("pub", async |socket: SocketRef<A>, Data::<(String, u64, String)>((room, number, text))| {
        // To all sockets in the room, including the publisher's own if it is there.
        let _ = socket.within(room).emit("msg", &(number, text)).await;
    });
}

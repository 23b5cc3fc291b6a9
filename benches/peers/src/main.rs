//! The events `echo`, `join` and `pub` on socketioxide, as the conformance server has them, for `peers` to measure.

use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", async |socket: SocketRef| {
        socket.on("echo", async |Data::<String>(data), ack: AckSender| {
            let _ = ack.send(&data);
        });
        socket.on("join", async |socket: SocketRef, Data::<String>(room), ack: AckSender| {
            socket.join(room);
            let _ = ack.send::<[Value; 0]>(&[]);
        });
        socket.on("pub", async |socket: SocketRef, Data::<(String, u64, String)>((room, number, text))| {
            // Everybody in the room, the publisher's own socket too, should it be there.
            let _ = socket.within(room).emit("msg", &(number, text)).await;
        });
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(
        axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))),
        axum::Router::new().layer(layer),
    )
    .await?;
    Ok(())
}

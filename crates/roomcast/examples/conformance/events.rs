//! The handlers of the contract's events, which can be registered on a namespace, on all namespaces of a pattern, or on a single socket.

use crate::{Outcome, call};
use roomcast_server::{Ack, Args, EventHandler, Namespace, Namespaces, ServerAck, Socket};
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// What event handlers can be registered on.
pub(crate) trait Events {
    fn on<M>(&self, event: &'static str, handler: impl EventHandler<Socket, M>);
}

impl Events for Namespace {
    fn on<M>(&self, event: &'static str, handler: impl EventHandler<Socket, M>) {
        self.on(event, handler);
    }
}

impl Events for Namespaces {
    fn on<M>(&self, event: &'static str, handler: impl EventHandler<Socket, M>) {
        self.on(event, handler);
    }
}

impl Events for Socket {
    fn on<M>(&self, event: &'static str, handler: impl EventHandler<Socket, M>) {
        self.on(event, handler);
    }
}

/// Registers the handlers of all events of the contract.
pub(crate) fn serve(target: &impl Events, server: &Arc<str>) {
    target.on("message", |socket: Socket, args: Args| async move { socket.emit("message-back", &args) });
    target.on("message-with-ack", |_: Socket, args: Args, ack: Ack| async move { ack.send(&args) });
    target.on("echo", |_: Socket, args: Args, ack: Ack| async move { ack.send(&args) });
    target.on("join", |socket: Socket, room: String, ack: Ack| async move {
        socket.join(&room)?.await;
        Outcome::Ok(ack.send(())?)
    });
    target.on("leave", |socket: Socket, room: String, ack: Ack| async move {
        socket.leave(&room);
        ack.send(())
    });
    target.on("pub", |socket: Socket, args: Args| async move {
        let room: String = args.parse()?;
        Outcome::Ok(socket.namespace().to(room).emit("msg", args.skip(1))?)
    });
    target.on("burst", |socket: Socket, (count, bytes): (u32, usize), ack: Ack| async move {
        let text = "x".repeat(bytes);
        for number in 0..count {
            socket.emit("burst", (number, &*text))?;
        }
        Outcome::Ok(ack.send(count)?)
    });
    target.on("busy", |socket: Socket, ms: u64, ack: Ack| async move {
        socket.namespace().emit("busy", ())?;
        // Handlers should not block their thread, but some do.
        thread::sleep(Duration::from_millis(ms));
        Outcome::Ok(ack.send(())?)
    });
    target.on("set-data", |socket: Socket, data: Box<RawValue>, ack: Ack| async move {
        socket.set_data(&data)?;
        Outcome::Ok(ack.send(())?)
    });
    target.on("call", |socket: Socket, request: Args, ack: Ack| async move {
        if let Some(answer) = call::answer(&socket, &request).await {
            ack.send(&answer)?;
        }
        Outcome::Ok(())
    });
    let server = server.clone();
    target.on("whoami", move |socket: Socket, (): (), ack: Ack| {
        let server = server.clone();
        async move {
            ack.send(json!({
                "server": &*server,
                "id": socket.id(),
                "recovered": false,
                "transport": socket.transport().as_str(),
                "rooms": socket.rooms(),
            }))
        }
    });
}

/// Handles an event of another server: answers with this server's name if an answer is wanted, and otherwise emits the event to the sockets
/// of this server.
pub(crate) fn server_event(
    server: &Arc<str>,
) -> impl Fn(Namespace, Args, ServerAck) -> std::future::Ready<Outcome<()>> + Send + Sync + 'static {
    let server = server.clone();
    move |namespace, args, ack| {
        let handle = || {
            if ack.is_wanted() {
                return Ok(ack.send(&*server)?);
            }
            let name = Args::of(&*server)?;
            let items = format!("{},{}", name.items(), args.items());
            let args = Args::from_parts(items.into(), args.attachments().to_vec());
            Ok(namespace.local().emit("server-event", &args)?)
        };
        std::future::ready(handle())
    }
}

//! A Socket.IO server: the whole library by one name.
//!
//! ```sh
//! cargo add roomcast --no-default-features                     # one server
//! cargo add roomcast --no-default-features --features redis    # several, over Redis, also with Node's
//! cargo add tokio --features macros,rt-multi-thread
//! ```
//!
//! ```no_run
//! use roomcast::{Socket, SocketIo};
//!
//! #[tokio::main]
//! async fn main() -> std::io::Result<()> {
//!     let io = SocketIo::builder().build();
//!     io.on("say", |socket: Socket, text: String| socket.broadcast().emit("said", text));
//!     io.listen("127.0.0.1:3000").await
//! }
//! ```
//!
//! | you want | look at |
//! |---|---|
//! | to build a server | [`SocketIo`], [`Builder`] |
//! | to handle events | [`EventHandler`], [`FromEvent`] (what handlers take), [`Outcome`] (what they return) |
//! | to emit | [`Socket`], [`BroadcastOperator`], [`Namespace`] |
//! | to serve under axum, hyper or tower | [`SocketIo::into_service`] |
//! | several servers | [`cluster`], and `redis` (with that feature) |
//! | an adapter or broker of your own | [`adapter`] |
//! | packets and frames alone | [`protocol`] |
//!
//! The features `redis` and `tls` are off unless you name them; `program`, which is on by default, adds what the binary `roomcast` needs and
//! nothing to the library. The crates behind this one ([`roomcast_server`], [`roomcast_adapter`], [`roomcast_protocol`], `roomcast_redis`)
//! can be used by themselves.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[doc(inline)]
pub use roomcast_server::*;

pub use roomcast_adapter as adapter;
pub use roomcast_protocol as protocol;

/// Several servers as one: [`Cluster`](cluster::Cluster), and the [`Broker`](cluster::Broker) that carries its messages.
pub mod cluster {
    #[doc(inline)]
    pub use roomcast_adapter::cluster::*;
}

/// Clusters over Redis, in the dialects of Node's adapters.
#[cfg(feature = "redis")]
pub mod redis {
    #[doc(inline)]
    pub use roomcast_redis::*;
}

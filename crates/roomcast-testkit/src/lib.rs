//! Tests for applications on roomcast: clients in the process, a paused clock, and clusters whose network fails on
//! command.
//!
//! ```
//! use roomcast_server::SocketIo;
//! use roomcast_testkit::Client;
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
//! # runtime.block_on(async {
//! // #[tokio::test(start_paused = true)]
//! // async fn greets() {
//! let client = Client::connect(&app()).await.unwrap();
//! assert_eq!(client.ask::<String>("hello", "Ann").await, "Hello, Ann!");
//! // }
//!
//! /// The application, as its `main` makes it too.
//! fn app() -> SocketIo {
//!     let io = SocketIo::builder().build();
//!     io.on("hello", |name: String| format!("Hello, {name}!"));
//!     io
//! }
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Make the server in a function of its own, as here: `main` serves what it returns, and tests connect to it. There is
//! no port, so tests run side by side. Between client and server only TCP is missing: HTTP, the upgrade, frames,
//! packets, rates and middlewares are the real ones.
//!
//! # The clock
//!
//! Under `#[tokio::test(start_paused = true)]` (tokio's feature `test-util`) time passes only when nothing else can
//! happen, and then at once. A timeout of a minute takes no time, and a test that waits in vain fails immediately. It
//! also makes [`settle`] a fence: when it returns, everything has happened that can happen without time passing. So
//! nothing in a test needs to sleep, and that *nothing* comes can be checked:
//!
//! ```
//! # use roomcast_server::{Socket, SocketIo};
//! # use roomcast_testkit::Client;
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), roomcast_testkit::ConnectError> {
//! let io = SocketIo::builder().build();
//! io.of("/").on("say", |socket: Socket, text: String| socket.broadcast().emit("said", text));
//! let ann = Client::builder(&io).name("ann").connect().await?;
//! let bob = Client::builder(&io).name("bob").connect().await?;
//!
//! ann.emit("say", "hi");
//! assert_eq!(bob.next::<String>("said").await, "hi");
//! ann.expect_nothing("said").await;
//! # Ok(())
//! # }
//! ```
//!
//! A paused clock also runs past a database on the network, as tokio does not know that an answer is on its way. Test
//! with a double of it, or leave `start_paused` out: everything works under a clock that runs, but then waits take their
//! time, and [`Client::expect_nothing`] sees only what the server has sent by the time it has read everything from that
//! client.
//!
//! # When a test fails
//!
//! One line says which client, what was expected, what arrived instead, and where the test asked:
//!
//! ```text
//! bob: said did not come within 10s; unread: joined("ann"), typing("ann",true) (asked at tests/chat.rs:31)
//! ```
//!
//! # Refusals
//!
//! [`ClientBuilder`] has what a browser would send: auth, headers, query, transport. What the server answers is a
//! [`ConnectError`]:
//!
//! ```
//! # use roomcast_server::{self as server, Socket, SocketIo};
//! # use roomcast_testkit::Client;
//! # use serde_json::json;
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), roomcast_testkit::ConnectError> {
//! # let io = SocketIo::builder().build();
//! # io.of("/admin").middleware(|socket: Socket| async move {
//! #     if socket.auth_json() == Some(r#"{"token":"secret"}"#) { Ok(()) } else { Err(server::ConnectError::new("who are you?")) }
//! # });
//! let admin = Client::builder(&io).namespace("/admin");
//! let refused = admin.clone().auth(json!({"token": "guess"})).connect().await.unwrap_err();
//! assert_eq!(refused.message(), "who are you?");
//! let admin = admin.auth(json!({"token": "secret"})).connect().await?;
//!
//! let error = admin.of("/nowhere").connect().await.unwrap_err(); // on the same connection
//! assert_eq!(error.to_string(), "client in /nowhere could not connect: Invalid namespace");
//! # Ok(())
//! # }
//! ```
//!
//! # The server's questions
//!
//! [`Client::answer`] answers by a function, and [`Client::next_question`] lets the test answer, late or never.
//!
//! # Compression
//!
//! Browsers offer to compress, and so does a client that is told to: [`ClientBuilder::per_message_deflate`] for its
//! WebSocket, [`ClientBuilder::accept_encoding`] for its polls. It compresses what it sends too, and
//! [`Client::compression`] counts what was compressed.
//!
//! # Bad networks, slow clients
//!
//! [`Client::cut`] loses the connection, [`Client::pause_reading`] makes a client that does not read, and
//! [`Client::reconnect`] comes back, with what it missed where the server recovers it. [`Network`] makes several servers a cluster, and its faults are commands:
//! [`cut`](Network::cut) and [`heal`](Network::heal), [`delay`](Network::delay), [`lose`](Network::lose),
//! [`freeze`](Network::freeze). Its page has an example. The
//! [tests of a chat](https://github.com/roomcast/roomcast/blob/main/crates/roomcast-testkit/tests/suite/chat.rs) use all of
//! it: rooms, refusals, a slow client, a reconnect, a cluster and a shutdown.

// A test kit reports by panicking, as `assert!` does.
#![allow(clippy::panic)]

mod builder;
mod client;
mod compression;
mod connect_error;
mod connection;
mod disconnection;
mod frames;
mod handshake;
mod http;
pub mod limits;
mod network;
mod packed;
mod polling;
mod receiving;
mod recovery;
mod settle;
mod socket;
mod unmet;
mod unread;
mod websocket;

pub use builder::ClientBuilder;
pub use client::Client;
pub use compression::Compression;
pub use connect_error::ConnectError;
pub use disconnection::Disconnection;
pub use network::{Network, Server};
pub use receiving::Question;
pub use settle::settle;
pub use unmet::{Unmet, Waiting, Why};

/// For `use`s of tests that name no other crate.
pub use roomcast_server::engine::Deflate;
pub use roomcast_server::{Args, Parser, SocketId, Transport};

/// Compiles and runs the example of this crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;

//! A Socket.IO server: namespaces, sockets, rooms, acknowledgements and middlewares.
//!
//! The API has the names of Socket.IO for Node.js, in snake case. No type has a type parameter that an application would have to repeat:
//! the adapter is a trait object ([`Builder::adapter`]), and the server is served by [`SocketIo::listen`], or as a tower service
//! ([`SocketIo::into_service`]) inside another one.
//!
//! ```no_run
//! use roomcast_server::{Socket, SocketIo};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let io = SocketIo::builder().build();
//! io.of("/").on_connection(|socket: Socket| async move {
//!     socket.join("lobby")?;
//!     socket.on("message", |socket: Socket, text: String| async move {
//!         socket.to("lobby").emit("message", &text)
//!     });
//!     Ok::<(), roomcast_server::AdapterError>(())
//! });
//! io.listen("127.0.0.1:3000").await?;
//! # Ok(())
//! # }
//! ```

// In addition to the workspace's lints: code that can panic is allowed only place by place, except in tests.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::indexing_slicing, clippy::unreachable))]

mod absent;
mod ack;
mod builder;
mod check;
mod client;
mod config;
mod connect;
mod context;
mod disconnect;
mod dispatch;
mod durations;
mod error;
mod excess;
mod extract;
mod failures;
mod flags;
mod handler;
mod handshake_json;
mod health;
mod health_service;
mod io;
mod labels;
mod layer;
mod lifetime;
pub mod limits;
mod link;
mod listeners;
mod names;
mod namespace;
mod operator;
mod outcome;
mod parts;
mod rate_limits;
mod rates;
mod reason;
mod registry;
mod remote;
mod rooms;
mod server_event;
mod socket;
mod socket_operator;
mod states;
mod statistics;
mod task;
mod turns;
mod verbs;

pub use ack::Ack;
pub use builder::Builder;
pub use check::Check;
pub use context::{Failed, Failure, HandlerContext};
pub use durations::measure_durations;
pub use error::{AckError, ConnectError, EmitError, ExtractError};
pub use extract::{EventName, EventParts, Extension, FromEvent, State};
pub use handler::EventHandler;
pub use health::Health;
pub use health_service::HealthService;
pub use io::SocketIo;
pub use layer::SocketIoLayer;
pub use listeners::ListenerId;
pub use names::NamespaceRequest;
pub use namespace::Namespaces;
pub use operator::BroadcastOperator;
pub use outcome::{Outcome, Reply, Settled};
pub use parts::{Namespace, Socket};
pub use rate_limits::{OverRate, RateLimits};
pub use reason::DisconnectReason;
pub use remote::RemoteSocket;
pub use rooms::Rooms;
pub use server_event::ServerAck;
pub use socket_operator::SocketOperator;
pub use statistics::{NamespaceStatistics, Statistics};

pub use roomcast_adapter::{
    Acked, Adapter, AdapterContext, AdapterError, AdapterFactory, Answer, Joined, Local, LocalSizes, Missing, Room,
};
pub use roomcast_engine as engine;
pub use roomcast_engine::{
    CloseReason, Cookie, Cors, CorsError, Delivery, Handshake, NetworkError, Outstanding, PeerAddr, Rate, RateError,
    RequestError, Transport, TrustedProxies,
};
pub use roomcast_protocol::{
    Args, ArgsWriter, Attachment, Checked, FromArgs, FromArgsError, RESERVED_EVENTS, SocketId, ToArgs, ToArgsError,
};

/// Compiles the examples of the workspace's README, and runs those that end by themselves.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// As [`Readme`], for the guide.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;

/// Compiles the example of this crate's README, and runs it if it ends by itself.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;

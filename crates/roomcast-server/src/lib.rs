//! A Socket.IO server: namespaces, sockets, rooms, acknowledgements and middlewares.
//!
//! The API has the names of Socket.IO for Node.js, in snake case. No type has a type parameter that an application would have to repeat:
//! the adapter is a trait object ([`Builder::adapter`]), and the server is served by [`SocketIo::listen`], or as a tower service
//! ([`SocketIo::into_service`]) inside another one.
//!
//! # A server
//!
//! ```no_run
//! use roomcast_server::{Socket, SocketIo};
//!
//! # async fn run() -> std::io::Result<()> {
//! let io = SocketIo::builder().build();
//! io.on("join", |socket: Socket, room: String| socket.join(room));
//! io.on("say", |socket: Socket, (room, text): (String, String)| socket.to(room).emit("said", text));
//! io.listen("127.0.0.1:3000").await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Builder`] has the options, and [`SocketIo`] the namespaces, of which the first, `/`, is meant where none is named.
//!
//! # Handlers
//!
//! A handler is a closure with up to eight arguments, each taken out of the event by its type ([`FromEvent`]): the [`Socket`], what the
//! client sent, an [`Ack`], a [`State`] of the application, an [`Extension`] of the socket. What it returns is the answer
//! ([`Outcome`]), and so is an error.
//!
//! ```
//! use roomcast_server::{Reply, Socket, SocketIo, State};
//! use std::sync::Arc;
//!
//! struct Database;
//!
//! impl Database {
//!     async fn name_of(&self, user: u64) -> Result<String, std::io::Error> {
//!         Ok(format!("user {user}"))
//!     }
//! }
//!
//! #[derive(serde::Serialize)]
//! struct Profile {
//!     name: String,
//! }
//!
//! let io = SocketIo::builder().state(Arc::new(Database)).build();
//! io.on("profile", |State(database): State<Arc<Database>>, user: u64| async move {
//!     let name = database.name_of(user).await?; // the client gets the text of an error
//!     Ok::<_, std::io::Error>(Reply(Profile { name }))
//! });
//! ```
//!
//! An event may have several handlers, of a pattern of namespaces ([`SocketIo::of_matching`]), of a [`Namespace`] and of a [`Socket`].
//! [`Namespace::on_any`] sees every event, [`Namespace::on_fallback`] those that nobody handles, and [`Namespace::event_middleware`]
//! decides which reach their handlers. [`Namespace::middleware`] decides who may connect.
//!
//! # Emitting
//!
//! [`Socket::emit`] reaches one client, [`Socket::to`] the others in rooms, and [`SocketIo::to`] everybody there, on all servers of the
//! cluster. [`BroadcastOperator`] has all that can be said of the chosen ones: events, questions with answers, joins, disconnects.
//!
//! ```
//! # use roomcast_server::SocketIo;
//! # async fn run(io: SocketIo) -> Result<(), Box<dyn std::error::Error>> {
//! io.to("news").except("muted").emit("headline", "…")?;
//! let votes = io.to("council").emit_with_ack("vote", ("tea", "coffee")).await?;
//! println!("{} voted, {} did not", votes.answers.len(), votes.missing_sockets);
//! # Ok(())
//! # }
//! ```
//!
//! # What else there is
//!
//! | you want | look at |
//! |---|---|
//! | the server inside axum, hyper or tower | [`SocketIo::into_service`], [`SocketIo::into_layer`] |
//! | clients that come back with what they missed | [`Builder::recovery`] |
//! | limits for clients | [`Builder::rate_limits`], [`limits`], [`Builder::max_outbox`] |
//! | health checks and a stop without loss | [`SocketIo::health_service`], [`Builder::drain`] |
//! | origins, cookies, TLS, proxies | [`Cors`], [`Cookie`], [`Builder::serving`], [`Builder::trusted_proxies`] |
//! | several servers | [`Builder::cluster`] |
//! | an adapter of your own | [`Adapter`], [`Builder::adapter`] |
//! | tests without a port | the crate `roomcast-testkit` |

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
mod listener_id;
mod listeners;
mod names;
mod namespace;
mod operator;
mod outcome;
mod outgoing;
mod parts;
mod rate_limits;
mod rates;
mod reason;
mod recovered;
mod recovery;
mod registry;
mod remote;
mod room_events;
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
pub use listener_id::ListenerId;
pub use names::NamespaceRequest;
pub use namespace::Namespaces;
pub use operator::BroadcastOperator;
pub use outcome::{Outcome, Reply, Settled};
pub use parts::{Namespace, Socket};
pub use rate_limits::{OverRate, RateLimits};
pub use reason::DisconnectReason;
pub use recovery::{EndedSession, RecoveryOptions, RecoveryOutcome};
pub use remote::RemoteSocket;
pub use rooms::Rooms;
pub use server_event::ServerAck;
pub use socket_operator::SocketOperator;
pub use statistics::{NamespaceStatistics, RecoveryStatistics, Statistics};

pub use roomcast_adapter::{
    Acked, Adapter, AdapterContext, AdapterError, AdapterFactory, Answer, Joined, KeptSession, Local, LocalSizes,
    Missing, NotRecovered, Room, RoomEvent, RoomFeed,
};
pub use roomcast_engine as engine;
pub use roomcast_engine::{
    CloseReason, Cookie, Cors, CorsError, Delivery, Handshake, NetworkError, Outstanding, PeerAddr, Rate, RateError,
    RequestError, Transport, TrustedProxies,
};
pub use roomcast_protocol::{
    Args, ArgsWriter, Attachment, Checked, EncodeError, FromArgs, FromArgsError, Parser, RESERVED_EVENTS, SocketId,
    ToArgs, ToArgsError,
};

/// Compiles the examples of the guide, and runs those that end by themselves.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;

/// Compiles the example of this crate's README, and runs it if it ends by itself.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;

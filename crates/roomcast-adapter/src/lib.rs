//! The rooms of a Socket.IO namespace, and the seams behind which it may span one server or many.
//!
//! This crate knows no sockets and no connections. An [`Adapter`] holds a [`Recipient`] for each socket id, and
//! delivers packets to the recipients that a [`Target`] selects. [`Local`] holds the rooms of a namespace on one
//! server, and is the in-memory adapter by itself.
//!
//! ```
//! use roomcast_adapter::{Action, Adapter, Details, Local, Recipient, Room, Target, Wakes};
//! use roomcast_protocol::{Args, Packet, SocketId};
//! use std::sync::{Arc, Mutex};
//!
//! #[derive(Debug, Default)]
//! struct Inbox(Mutex<Vec<Arc<Packet>>>);
//!
//! impl Recipient for Inbox {
//!     fn deliver(&self, packet: &Arc<Packet>, _wakes: &mut Wakes) {
//!         self.0.lock().unwrap().push(packet.clone());
//!     }
//!     fn disconnect(&self, _close: bool) {}
//!     fn details(&self) -> Details {
//!         Details::default()
//!     }
//! }
//!
//! let adapter = Local::new("/");
//! let (id, inbox) = (SocketId::random()?, Arc::new(Inbox::default()));
//! adapter.insert(id, inbox.clone(), &[Room::from("lobby")], None)?;
//! adapter.apply(&Target::room("lobby"), Action::emit(&Args::event("chat", "hello")?))?;
//! assert_eq!(inbox.0.lock().unwrap()[0].text(), Some(r#"42["chat","hello"]"#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Stricter than the workspace's lints: every place in library code that could panic is reviewed. Tests may panic.
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::indexing_slicing, clippy::unreachable))]

pub mod cluster;
pub mod limits;
mod rooms;
mod seam;
#[cfg(feature = "testkit")]
#[allow(clippy::indexing_slicing, clippy::expect_used, clippy::unreachable, reason = "a test kit reports by panicking")]
pub mod testkit;

/// For implementations of [`Adapter`] and [`Broker`](cluster::Broker): it makes their `async` methods.
pub use async_trait::async_trait;
pub use rooms::acks::Acks;
pub use rooms::local::Local;
pub use seam::adapter::{
    Acked, Action, Adapter, AdapterContext, AdapterFactory, Emit, Joined, LocalSizes, ServerEvent,
};
pub use seam::answer::{Answer, Missing};
pub use seam::error::AdapterError;
pub use seam::recipient::{Details, Recipient, SocketDetails, Wakes};
pub use seam::recovery::{Found, KeptSession, NotRecovered, Recovery, RecoveryBounds, RecoverySpace, Swept};
pub use seam::room::Room;
pub use seam::room_feed::{RoomEvent, RoomFeed};
pub use seam::target::Target;

/// Compiles the example of this crate's README, and runs it if it ends by itself.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;

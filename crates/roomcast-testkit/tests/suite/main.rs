//! The test kit, tested on itself. `chat.rs` is also an example: how an application is tested.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod chat;
mod clients;
mod compressed;
mod failures;
mod first;
mod guide;
mod networks;
mod recovered;
mod transports;

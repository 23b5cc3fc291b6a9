//! The test kit, tested on itself. `chat.rs` is also an example: how an application is tested.

mod chat;
mod clients;
mod failures;
mod first;
mod guide;
mod networks;
mod transports;

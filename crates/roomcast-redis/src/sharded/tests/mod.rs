//! The recorded traffic of Node's servers (`vectors/`): we write the same bytes, and read them all.

mod inbound;
#[allow(dead_code)] // Shared with the protocol crate's tests, which use more of it.
#[path = "../../../../roomcast-protocol/tests/common/js.rs"]
mod js;
mod published;
mod recorded;
mod wanted;

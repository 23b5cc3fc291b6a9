//! What moves bytes: polling, WebSockets, and the one way out that both share.

pub(crate) mod closing;
pub(crate) mod outlet;
pub(crate) mod polling;
pub(crate) mod probing;
pub(crate) mod read_buffer;
pub(crate) mod sink;
pub(crate) mod turn;
pub(crate) mod watch;
pub(crate) mod websocket;
pub(crate) mod wire;
pub(crate) mod writer;

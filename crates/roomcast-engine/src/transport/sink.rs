//! [`Sink`]: the writing half of a stream as an outlet sees it.

use roomcast_protocol::Packet;
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The writing half of a stream.
pub(crate) trait Sink {
    /// Whether any thread may write to it. Other streams may want the runtime of the thread that polls them.
    fn is_direct(&self) -> bool;

    /// One write of this packet, or of what is left of it. Without `cx` nobody is woken when the stream takes more again.
    fn write_one(&mut self, cx: Option<&mut Context<'_>>, packet: &Packet) -> Poll<io::Result<Wrote>>;

    /// One write of all of `batch`; what has left whole is taken out of it. `cx` as in [`Sink::write_one`].
    fn write(&mut self, cx: Option<&mut Context<'_>>, batch: &mut Vec<Arc<Packet>>) -> Poll<io::Result<Wrote>>;

    /// Whether the stream may keep what was written until it is flushed.
    fn is_dirty(&self) -> bool;

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends it without a word.
    fn forget(self);
}

/// What one write has taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrote {
    /// Packets that have left whole.
    pub(crate) packets: usize,
    /// Their cost in an outbox.
    pub(crate) cost: usize,
    /// Bytes that have left, those of a packet that has not left whole among them.
    pub(crate) bytes: usize,
}

thread_local! {
    static BATCH_STORAGE: Cell<Vec<Arc<Packet>>> = const { Cell::new(Vec::new()) };
}

/// The thread's list of packets that are being written, borrowed.
pub(crate) struct Batch(pub(crate) Vec<Arc<Packet>>);

impl Batch {
    pub(crate) fn take() -> Self {
        Self(BATCH_STORAGE.take())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.0.clear();
        BATCH_STORAGE.set(std::mem::take(&mut self.0));
    }
}

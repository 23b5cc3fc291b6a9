//! [`Sink`]: the writing half of a stream as an outlet sees it.

use roomcast_protocol::Packet;
use roomcast_protocol::deflate::Deflate;
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The writing half of a stream.
pub(crate) trait Sink {
    /// Whether any thread may write to it. A stream that is not direct may need the runtime of the thread that polls
    /// it.
    fn is_direct(&self) -> bool;

    /// Writes once: this packet, or what is left of it. Without `cx` no task is woken when the stream takes more again.
    /// `deflate` says how to compress for a client that has agreed to it.
    fn write_one(
        &mut self,
        cx: Option<&mut Context<'_>>,
        packet: &Packet,
        deflate: Option<&Deflate>,
    ) -> Poll<io::Result<Wrote>>;

    /// Writes once: all of `batch`. Packets that have left whole are taken out of it. `cx` and `deflate` are as in
    /// [`Sink::write_one`].
    fn write(
        &mut self,
        cx: Option<&mut Context<'_>>,
        batch: &mut Vec<Arc<Packet>>,
        deflate: Option<&Deflate>,
    ) -> Poll<io::Result<Wrote>>;

    /// Whether the stream may keep what was written until it is flushed.
    fn is_dirty(&self) -> bool;

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Drops it without shutting the stream down.
    fn forget(self);
}

/// What one write has taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrote {
    /// Packets that have left completely.
    pub(crate) packets: usize,
    /// Their cost in an outbox.
    pub(crate) cost: usize,
    /// Bytes that have left, including those of a packet that has left in part.
    pub(crate) bytes: usize,
    /// What that is of the packets' own bytes, for the pace. It is more than `bytes` if they were compressed.
    pub(crate) taken: usize,
}

thread_local! {
    static BATCH_STORAGE: Cell<Vec<Arc<Packet>>> = const { Cell::new(Vec::new()) };
}

/// The thread's list of packets that are being written, on loan.
pub(crate) struct Batch(pub(crate) Vec<Arc<Packet>>);

impl Batch {
    pub(crate) fn take() -> Self {
        // A thread that ends may write too, when its storage is gone.
        Self(BATCH_STORAGE.try_with(Cell::take).unwrap_or_default())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.0.clear();
        let _ = BATCH_STORAGE.try_with(|storage| storage.set(std::mem::take(&mut self.0)));
    }
}

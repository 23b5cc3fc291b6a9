//! [`Awkward`]: a stream that does everything that a stream may do but a TCP stream hardly ever does.
//!
//! It keeps what is written until it is flushed, reads and writes a few bytes at a time, and returns `Pending` although
//! it could go on. All of it follows from a seed, so a connection behaves the same in every run.

use bytes::{Buf, BytesMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What an [`Awkward`] stream does.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    /// Bytes that are kept until `poll_flush`. Beyond them it writes by itself, as a `BufWriter` does.
    pub keeps: usize,
    /// The most bytes that one call reads or writes.
    pub most: usize,
    /// One call in this many returns `Pending`, and the task is woken a little later. 0: none does.
    pub pending: u64,
}

impl Plan {
    /// All of it at once. rustls keeps up to 64 KiB too, for a socket that takes no more.
    pub const fn all(seed: u64) -> Self {
        Self { seed, keeps: 64 * 1024, most: 4_096, pending: 5 }
    }

    /// A stream that only buffers, as tokio's `BufStream`.
    pub const fn only_keeps(bytes: usize) -> Self {
        Self { seed: 0, keeps: bytes, most: usize::MAX, pending: 0 }
    }
}

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug)]
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From 1 to `most`, with each power of two equally likely, so that both one byte and thousands occur.
    fn size(&mut self, most: usize) -> usize {
        if most == usize::MAX {
            return most;
        }
        let powers = u64::from(most.ilog2()) + 1;
        let bound = (1_u64 << self.below(powers)).max(1);
        (1 + self.below(bound) as usize).min(most)
    }
}

/// A stream over another stream, which follows a [`Plan`].
#[derive(Debug)]
pub struct Awkward<S> {
    inner: S,
    plan: Plan,
    draw: Draw,
    /// What was written to this stream and not yet to the stream below.
    kept: BytesMut,
}

impl<S> Awkward<S> {
    pub fn new(inner: S, plan: Plan) -> Self {
        Self { inner, plan, draw: Draw(plan.seed), kept: BytesMut::new() }
    }

    /// Returns `Pending` now and then. The task is woken after some turns of the runtime, as if by the network.
    fn hesitate(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.plan.pending == 0 || self.draw.below(self.plan.pending) != 0 {
            return Poll::Ready(());
        }
        let turns = self.draw.below(4);
        let waker = cx.waker().clone();
        tokio::spawn(async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            waker.wake();
        });
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> Awkward<S> {
    /// Writes what is kept to the stream below, until at most `left` bytes are kept.
    fn poll_drain(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<()>> {
        while self.kept.len() > left {
            let size = self.draw.size(self.plan.most).min(self.kept.len());
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.kept[..size]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Awkward<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.hesitate(cx));
        let size = this.draw.size(this.plan.most).min(buffer.remaining());
        if size == buffer.remaining() {
            return Pin::new(&mut this.inner).poll_read(cx, buffer);
        }
        let mut few = vec![0; size];
        let mut read = ReadBuf::new(&mut few);
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
        buffer.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Awkward<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.hesitate(cx));
        if this.kept.len() >= this.plan.keeps {
            // It may still take more than there is room for, so that the bound is sometimes exceeded and sometimes met.
            ready!(this.poll_drain(cx, this.plan.keeps.saturating_sub(1)))?;
        }
        let most = this.draw.size(this.plan.most).min(this.plan.keeps.max(1));
        let mut taken = 0;
        for slice in slices {
            let part = &slice[..slice.len().min(most - taken)];
            this.kept.extend_from_slice(part);
            taken += part.len();
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.hesitate(cx));
        ready!(this.poll_drain(cx, 0))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.hesitate(cx));
        ready!(this.poll_drain(cx, 0))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

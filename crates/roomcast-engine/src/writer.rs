//! [`Writer`]: the writing half of a WebSocket's stream, and how far it is in the packet that it writes.

use crate::limits::PACKETS_PER_WRITE;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use roomcast_protocol::Packet;
use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, split};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What a WebSocket runs on.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    type Reader: AsyncRead + Send + Unpin + 'static;

    fn into_halves(self) -> (Self::Reader, Writer);
}

impl Stream for TcpStream {
    type Reader = OwnedReadHalf;

    fn into_halves(self) -> (OwnedReadHalf, Writer) {
        let (reader, half) = self.into_split();
        (reader, Writer { half: Half::Tcp(half), written: 0 })
    }
}

impl Stream for TokioIo<Upgraded> {
    type Reader = ReadHalf<Self>;

    fn into_halves(self) -> (ReadHalf<Self>, Writer) {
        let (reader, half) = split(self);
        (reader, Writer { half: Half::Other(Box::new(half)), written: 0 })
    }
}

/// Whoever has it may write; so there is one at a time. Between writes it lies with the outbox.
pub(crate) struct Writer {
    half: Half,
    /// Bytes of the first packet that have left already.
    written: usize,
}

enum Half {
    /// Any thread may write to it.
    Tcp(OwnedWriteHalf),
    /// Only a task can wait for it: TLS, and what else a server puts under a WebSocket.
    Other(Box<dyn AsyncWrite + Send + Unpin>),
}

/// What has left whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrote {
    pub(crate) packets: usize,
    pub(crate) bytes: usize,
}

impl Writer {
    /// Whether it can be written to without a task.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.half, Half::Tcp(_))
    }

    /// One write of this packet, or of what is left of it. Ready: whether it has left whole. Pending as for [`Writer::write`].
    pub(crate) fn write_one(
        &mut self,
        cx: Option<&mut Context<'_>>,
        packet: &Packet,
        base64: bool,
    ) -> Poll<io::Result<bool>> {
        let frames = packet.frames(base64);
        match self.half.write(cx, &frames[self.written.min(frames.len())..]) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => {
                self.written += count;
                let whole = self.written >= frames.len();
                if whole {
                    self.written = 0;
                }
                Poll::Ready(Ok(whole))
            }
            result => result.map_ok(|_| false),
        }
    }

    /// One write of all of `batch`; what has left is taken out of it. Pending: the stream takes no more. Only with `cx`
    /// somebody is woken when it does.
    pub(crate) fn write(
        &mut self,
        cx: Option<&mut Context<'_>>,
        batch: &mut Vec<Arc<Packet>>,
        base64: bool,
    ) -> Poll<io::Result<Wrote>> {
        let first = |packet: &Arc<Packet>| packet.frames(base64).len().min(self.written);
        let result = match &batch[..] {
            [] => return Poll::Ready(Ok(Wrote::default())),
            [head, rest @ ..] => {
                let mut slices = [IoSlice::new(&[]); PACKETS_PER_WRITE];
                slices[0] = IoSlice::new(&head.frames(base64)[first(head)..]);
                for (slice, packet) in slices[1..].iter_mut().zip(rest) {
                    *slice = IoSlice::new(packet.frames(base64));
                }
                self.half.write_vectored(cx, &slices[..batch.len().min(PACKETS_PER_WRITE)])
            }
        };
        let mut left = match result {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => self.written + count,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        };
        let mut wrote = Wrote::default();
        for packet in batch.iter() {
            let length = packet.frames(base64).len();
            if left < length {
                break;
            }
            left -= length;
            wrote.packets += 1;
            wrote.bytes += packet.size();
        }
        self.written = left;
        batch.drain(..wrote.packets);
        Poll::Ready(Ok(wrote))
    }

    /// Shuts the stream: the client sees its end.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.half {
            Half::Tcp(half) => Pin::new(half).poll_shutdown(cx),
            Half::Other(half) => Pin::new(half).poll_shutdown(cx),
        }
    }

    /// Ends it without a word: the stream is closed when its reading half goes too.
    pub(crate) fn forget(self) {
        if let Half::Tcp(half) = self.half {
            half.forget();
        }
    }
}

impl Half {
    fn write(&mut self, cx: Option<&mut Context<'_>>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match (self, cx) {
            // Past tokio's note of what the stream takes, which lies elsewhere in memory: the kernel knows.
            (Self::Tcp(half), None) => or_pending(send(half.as_ref(), bytes)),
            (Self::Tcp(half), Some(cx)) => Pin::new(half).poll_write(cx, bytes),
            (Self::Other(half), Some(cx)) => Pin::new(half).poll_write(cx, bytes),
            (Self::Other(_), None) => Poll::Pending,
        }
    }

    fn write_vectored(&mut self, cx: Option<&mut Context<'_>>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (self, cx) {
            (Self::Tcp(half), None) => or_pending(half.try_write_vectored(slices)),
            (Self::Tcp(half), Some(cx)) => Pin::new(half).poll_write_vectored(cx, slices),
            (Self::Other(half), Some(cx)) => Pin::new(half).poll_write_vectored(cx, slices),
            (Self::Other(_), None) => Poll::Pending,
        }
    }
}

#[cfg(unix)]
pub(crate) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    use rustix::{io::retry_on_intr, net};
    Ok(retry_on_intr(|| net::send(stream, bytes, net::SendFlags::NOSIGNAL))?)
}

#[cfg(not(unix))]
pub(crate) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream.try_write(bytes)
}

fn or_pending(result: io::Result<usize>) -> Poll<io::Result<usize>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("written", &self.written).finish_non_exhaustive()
    }
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

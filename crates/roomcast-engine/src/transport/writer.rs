//! [`Writer`]: the writing half of a WebSocket's stream, and its position in the packet that it writes.

use crate::limits::PACKETS_PER_WRITE;
use crate::session::outbox::{cost, to_u32};
use crate::transport::sink::{Sink, Wrote};
use crate::transport::wire::Wire;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use roomcast_protocol::Packet;
use roomcast_protocol::deflate::Deflate;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
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
        keep_little_unsent(&self);
        let (reader, half) = self.into_split();
        (reader, Writer::tcp(half))
    }
}

impl Stream for TokioIo<Upgraded> {
    type Reader = ReadHalf<Self>;

    fn into_halves(self) -> (ReadHalf<Self>, Writer) {
        let (reader, half) = split(self);
        (reader, Writer::other(half))
    }
}

/// The writing half of a WebSocket's stream. Its holder may write, so there is at most one writer. Between writes it is
/// stored in the connection's [`Lane`](crate::session::lane::Lane).
pub(crate) struct Writer {
    half: Half,
    /// Bytes of the first packet that have left already. With base64 a packet has at most some 85 MiB.
    written: u32,
    /// The stream may not have passed on what was written.
    dirty: bool,
    wire: Wire,
}

enum Half {
    Tcp(OwnedWriteHalf),
    /// TLS, and whatever else a server puts under a WebSocket.
    Other(Box<dyn AsyncWrite + Send + Unpin>),
}

impl Writer {
    pub(crate) fn tcp(half: OwnedWriteHalf) -> Self {
        Self { half: Half::Tcp(half), written: 0, dirty: false, wire: Wire::default() }
    }

    pub(crate) fn other(half: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { half: Half::Other(Box::new(half)), written: 0, dirty: false, wire: Wire::default() }
    }

    pub(crate) fn with_wire(self, wire: Wire) -> Self {
        Self { wire, ..self }
    }

    /// Shuts the stream down, so that the client sees its end.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.half {
            Half::Tcp(half) => Pin::new(half).poll_shutdown(cx),
            Half::Other(half) => Pin::new(half).poll_shutdown(cx),
        }
    }
}

impl Sink for Writer {
    fn is_direct(&self) -> bool {
        matches!(self.half, Half::Tcp(_))
    }

    fn write_one(
        &mut self,
        cx: Option<&mut Context<'_>>,
        packet: &Packet,
        deflate: Option<&Deflate>,
    ) -> Poll<io::Result<Wrote>> {
        let frames = self.wire.frames(packet, deflate);
        let bytes = match ready!(self.half.write(cx, frames.get(self.written as usize..).unwrap_or_default()))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            bytes => bytes,
        };
        self.dirty = matches!(self.half, Half::Other(_));
        let written = self.written as usize + bytes;
        if written < frames.len() {
            self.written = to_u32(written);
            return Poll::Ready(Ok(Wrote { bytes, taken: bytes, ..Wrote::default() }));
        }
        self.written = 0;
        let taken = if self.wire.deflate { bytes.max(packet.size()) } else { bytes };
        Poll::Ready(Ok(Wrote { packets: 1, cost: cost(packet), bytes, taken }))
    }

    fn write(
        &mut self,
        cx: Option<&mut Context<'_>>,
        batch: &mut Vec<Arc<Packet>>,
        deflate: Option<&Deflate>,
    ) -> Poll<io::Result<Wrote>> {
        let wire = self.wire;
        let bytes = {
            let [head, rest @ ..] = &batch[..] else { return Poll::Ready(Ok(Wrote::default())) };
            let frames = wire.frames(head, deflate);
            let mut slices = [IoSlice::new(&[]); PACKETS_PER_WRITE];
            slices[0] = IoSlice::new(frames.get(self.written as usize..).unwrap_or_default());
            for (slice, packet) in slices[1..].iter_mut().zip(rest) {
                *slice = IoSlice::new(wire.frames(packet, deflate));
            }
            match ready!(self.half.write_vectored(cx, slices.get(..batch.len()).unwrap_or(&slices)))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => bytes,
            }
        };
        self.dirty = matches!(self.half, Half::Other(_));
        let mut left = self.written as usize + bytes;
        let (mut wrote, mut sizes) = (Wrote { bytes, ..Wrote::default() }, 0);
        for packet in batch.iter() {
            let length = wire.frames(packet, deflate).len();
            if left < length {
                break;
            }
            left -= length;
            wrote.packets += 1;
            wrote.cost += cost(packet);
            sizes += packet.size();
        }
        wrote.taken = if wire.deflate { bytes.max(sizes) } else { bytes };
        self.written = to_u32(left);
        batch.drain(..wrote.packets);
        Poll::Ready(Ok(wrote))
    }

    fn is_dirty(&self) -> bool {
        self.dirty
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Half::Other(half) = &mut self.half {
            ready!(Pin::new(half).poll_flush(cx))?;
        }
        self.dirty = false;
        Poll::Ready(Ok(()))
    }

    fn forget(self) {
        if let Half::Tcp(half) = self.half {
            half.forget();
        }
    }
}

/// Without a context only TCP is written to, and tokio's own record of whether the stream takes more is bypassed, as it
/// lies elsewhere in memory.
impl Half {
    fn write(&mut self, cx: Option<&mut Context<'_>>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match (self, cx) {
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

fn or_pending(result: io::Result<usize>) -> Poll<io::Result<usize>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// Sets what a WebSocket needs of its TCP connection. [`serve`](crate::serve) and, where it finds the TCP stream, the
/// service do this themselves. An acceptor of your own that terminates TLS should call it for each connection that it
/// accepts.
///
/// - Small frames do not wait for the acknowledgement of earlier ones (`TCP_NODELAY`).
/// - On Linux the kernel holds at most 128 KiB unsent ([`UNSENT`](crate::limits::UNSENT)). By default it buffers up to
///   4 MB for a client that does not read, and accepts more only when a third of that has left: then a slow client
///   looks as if it took nothing, and may be disconnected.
///
/// Options that cannot be set are left as they are.
pub fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    keep_little_unsent(stream);
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn keep_little_unsent(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(crate::limits::UNSENT);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn keep_little_unsent(_: &TcpStream) {}

#[cfg(unix)]
pub(crate) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    use rustix::{io::retry_on_intr, net};
    Ok(retry_on_intr(|| net::send(stream, bytes, net::SendFlags::NOSIGNAL))?)
}

#[cfg(not(unix))]
pub(crate) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    stream.try_write(bytes)
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("written", &self.written).finish_non_exhaustive()
    }
}

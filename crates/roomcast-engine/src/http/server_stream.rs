//! [`HttpStream`]: an accepted connection while it speaks HTTP. It notes what its deadlines depend on, and can give
//! away the [`ServerStream`] in it for a WebSocket.

use crate::http::deadlines::{Deadlines, Late, Patience};
#[cfg(feature = "tls")]
use crate::http::tls::TlsTcpStream;
use crate::transport::writer::{Stream, Writer};
use parking_lot::Mutex;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// What the stream, the service and the task of one HTTP connection share.
#[derive(Clone)]
pub(crate) struct HttpConnection(Arc<Mutex<State>>);

struct State {
    deadlines: Deadlines,
    /// The server stops, so the current answer is the last.
    stopping: bool,
    takeover: Option<Takeover>,
}

/// Takes a stream out of HTTP.
type Takeover = Box<dyn FnOnce(ServerStream) + Send>;

impl HttpConnection {
    pub(crate) fn new(patience: Patience) -> Self {
        let deadlines = Deadlines::new(patience, Instant::now());
        Self(Arc::new(Mutex::new(State { deadlines, stopping: false, takeover: None })))
    }

    /// A request is being answered.
    pub(crate) fn request(&self) {
        self.0.lock().deadlines.request();
    }

    /// All of an answer was passed to hyper.
    pub(crate) fn answered(&self) {
        self.0.lock().deadlines.answered(Instant::now());
    }

    pub(crate) fn due(&self) -> Option<(Instant, Late)> {
        self.0.lock().deadlines.due()
    }

    pub(crate) fn stop(&self) {
        self.0.lock().stopping = true;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.0.lock().stopping
    }

    /// When hyper drops the stream, `take` gets it instead of its being closed. This is for HTTP/1.0, where hyper
    /// supports no upgrade. What the client has sent behind the request is lost: it must wait for the answer (RFC 6455,
    /// 4.1).
    pub(crate) fn take_over(&self, take: impl FnOnce(ServerStream) + Send + 'static) {
        self.0.lock().takeover = Some(Box::new(take));
    }
}

impl fmt::Debug for HttpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConnection").finish_non_exhaustive()
    }
}

/// A connection that returns its permit when it is dropped. A WebSocket gets what is in a variant, so that one over TCP
/// does not ask at each read whether it is one over TLS.
#[derive(Debug)]
pub(crate) enum ServerStream {
    Tcp(Permitted<TcpStream>),
    #[cfg(feature = "tls")]
    Tls(Permitted<Box<TlsTcpStream>>),
}

impl ServerStream {
    pub(crate) fn tcp(stream: TcpStream, permit: OwnedSemaphorePermit) -> Self {
        Self::Tcp(Permitted { stream, permit })
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls(stream: TlsTcpStream, permit: OwnedSemaphorePermit) -> Self {
        Self::Tls(Permitted { stream: Box::new(stream), permit })
    }

    pub(crate) fn is_secure(&self) -> bool {
        !matches!(self, Self::Tcp(_))
    }
}

/// A stream with the permit of its connection.
#[derive(Debug)]
pub(crate) struct Permitted<S> {
    stream: S,
    permit: OwnedSemaphorePermit,
}

impl<S: Stream> Stream for Permitted<S> {
    type Reader = PermittedReader<S::Reader>;

    fn into_halves(self) -> (Self::Reader, Writer) {
        let (half, writer) = self.stream.into_halves();
        (PermittedReader { half, _permit: self.permit }, writer)
    }
}

/// The reading half of a WebSocket, with the connection's permit.
#[derive(Debug)]
pub(crate) struct PermittedReader<R> {
    half: R,
    _permit: OwnedSemaphorePermit,
}

impl<R: AsyncRead + Unpin> AsyncRead for PermittedReader<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Permitted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Permitted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The same for a stream of either type.
macro_rules! either {
    ($server_stream:expr, $stream:ident => $does:expr) => {
        match $server_stream {
            ServerStream::Tcp($stream) => $does,
            #[cfg(feature = "tls")]
            ServerStream::Tls($stream) => $does,
        }
    };
}
pub(crate) use either;

impl AsyncRead for ServerStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for ServerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(&mut *self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, stream => stream.is_write_vectored())
    }
}

/// What hyper reads and writes.
#[derive(Debug)]
pub(crate) struct HttpStream {
    /// `None` once it is given away.
    stream: Option<ServerStream>,
    http: HttpConnection,
}

impl HttpStream {
    pub(crate) fn new(stream: ServerStream, http: HttpConnection) -> Self {
        Self { stream: Some(stream), http }
    }

    /// The stream, once hyper is done with it.
    pub(crate) fn into_inner(mut self) -> Option<ServerStream> {
        self.stream.take()
    }

    fn stream(&mut self) -> io::Result<Pin<&mut ServerStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn note_write(&self, waiting: usize, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Pending => self.http.0.lock().deadlines.blocked(waiting, Instant::now),
            Poll::Ready(Ok(bytes)) => self.http.0.lock().deadlines.wrote(*bytes),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl Drop for HttpStream {
    fn drop(&mut self) {
        let takeover = self.http.0.lock().takeover.take();
        if let (Some(take), Some(stream)) = (takeover, self.stream.take()) {
            take(stream);
        }
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = self.stream()?.poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.http.0.lock().deadlines.read(Instant::now);
        }
        result
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.stream()?.poll_write(cx, bytes);
        self.note_write(bytes.len(), &result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = self.stream()?.poll_write_vectored(cx, slices);
        self.note_write(slices.iter().map(|slice| slice.len()).sum(), &result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(ServerStream::is_write_vectored)
    }
}

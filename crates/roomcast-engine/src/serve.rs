//! [`serve`]: accepts TCP connections for a service, with a bound on their number and a deadline for their requests.

use crate::limits;
use crate::service::EndWithoutAnswer;
use crate::writer::{Stream, Writer};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_service::Service;

use crate::handshake::PeerAddr;

/// Options of [`serve`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Most TCP connections at once; 100,000. Those beyond it are answered 503.
    pub max_connections: usize,
    /// Time for the head of a request; 10 s. An idle connection is closed after it, too.
    pub header_timeout: Duration,
    /// Time that connections have for their end when the server stops; 5 s.
    pub stop_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            max_connections: limits::CONNECTIONS,
            header_timeout: limits::HEADER_TIMEOUT,
            stop_timeout: limits::STOP_TIMEOUT,
        }
    }
}

/// Listens on an address, with a backlog for reconnect storms.
///
/// # Errors
/// The last address's error: it is taken, it is not this machine's, or its name is unknown.
pub async fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut last = None;
    for address in lookup_host(address).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name has no address")))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted server may take its port back while old connections are still in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::BACKLOG as u32)
}

/// Serves HTTP/1.1 until `shutdown` resolves, then stops accepting, waits for the answers in flight and for upgraded
/// connections ([`ServeOptions::stop_timeout`] at most), cuts the HTTP connections that are left, and returns. Close the
/// engine before or at `shutdown`, so that there is an end to wait for.
///
/// # Errors
/// None today; failed accepts are logged and tried again.
pub async fn serve<S, R>(
    listener: TcpListener,
    service: S,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut shutdown = pin!(shutdown);
    let most = options.max_connections.min(Semaphore::MAX_PERMITS);
    let permits = Arc::new(Semaphore::new(most));
    let (stop, _) = watch::channel(());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "cannot accept connections; raise the limit of open files (ulimit -n) if there are too many");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            refuse(&stream);
            continue;
        };
        // Small frames must not wait for the acknowledgement of earlier ones.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_buf_size(limits::HEAD_BYTES)
            .max_headers(limits::HEADERS)
            .serve_connection(
                TokioIo::new(ServerStream { stream, _permit: permit }),
                Peer { service: service.clone(), peer },
            )
            .with_upgrades();
        let mut stopped = stop.subscribe();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                _ = stopped.changed() => {
                    // The answer in flight is finished; an idle connection ends at once.
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection.as_mut() => ended,
                        // Told a second time: the time to stop is over. Half a request would keep it open for longer.
                        Ok(()) = stopped.changed() => return,
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "HTTP connection ended");
            }
        });
    }
    drop(listener);
    let _ = stop.send(());
    // Every connection, upgraded or not, gives its permit back at its end.
    let all = permits.acquire_many(u32::try_from(most).unwrap_or(u32::MAX));
    if tokio::time::timeout(options.stop_timeout, all).await.is_err() {
        tracing::warn!("connections were still open at the end of the time to stop");
        let _ = stop.send(());
    }
    Ok(())
}

/// Whether a failed accept says something of that connection alone.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

fn refuse(stream: &TcpStream) {
    metrics::counter!("roomcast_connections_refused_total").increment(1);
    let answer =
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n";
    // A fresh connection takes these few bytes at once, or the client is gone.
    let _ = stream.try_write(answer);
}

/// A TCP connection that gives its permit back when it is dropped, upgraded or not.
#[derive(Debug)]
pub(crate) struct ServerStream {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl Stream for ServerStream {
    type Reader = ServerReader;

    fn into_halves(self) -> (ServerReader, Writer) {
        let (half, writer) = self.stream.into_halves();
        (ServerReader { half, _permit: self._permit }, writer)
    }
}

/// The reading half of a WebSocket; the permit goes back with it.
#[derive(Debug)]
pub(crate) struct ServerReader {
    half: OwnedReadHalf,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for ServerReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.half).poll_read(cx, buffer)
    }
}

impl AsyncRead for ServerStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ServerStream {
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

/// A service for the requests of one peer.
#[derive(Clone)]
struct Peer<S> {
    service: S,
    peer: SocketAddr,
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is ended without an answer")]
struct Ended;

impl<S, R> hyper::service::Service<Request<Incoming>> for Peer<S>
where
    S: Service<Request<Incoming>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = Ended;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, Ended>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(PeerAddr(self.peer));
        let mut service = self.service.clone();
        Box::pin(async move {
            let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
            let Ok(response) = service.call(request).await;
            if response.extensions().get::<EndWithoutAnswer>().is_some() { Err(Ended) } else { Ok(response) }
        })
    }
}

//! [`serve`]: accepts TCP connections for a service, with a bound on their number and deadlines for their requests.

use crate::config::cut_time;
use crate::http::deadlines::{Late, Patience};
use crate::http::error::EndWithoutAnswer;
use crate::http::handshake::{PeerAddr, Secure};
use crate::http::preface::{Entrance, Refusal};
use crate::http::server_stream::{HttpConnection, HttpStream, ServerStream};
#[cfg(feature = "tls")]
use crate::http::tls::{Certificates, TlsFiles};
use crate::http::tokens::has_token;
use crate::http::trusted_proxies::TrustedProxies;
use crate::limits;
use crate::rates::rate::Rate;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tower_service::Service;

/// Options of [`serve`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Most TCP connections at once. Those beyond it are answered 503. Defaults to 100,000; the highest value is
    /// 4,294,967,295.
    pub max_connections: usize,
    /// Time for the head of a request, from its first byte on; for the first request, from the connection's start.
    /// Defaults to 10 s.
    pub header_timeout: Duration,
    /// Time that a connection is kept for its next request. The client is sent it as `Keep-Alive: timeout=75`. It
    /// should be longer than that of a proxy in front, usually 60 s: if both end an idle connection at the same time, a
    /// request is lost. Defaults to 75 s.
    pub idle_timeout: Duration,
    /// Time in which an eighth of a waiting answer must leave. A client that reads less is disconnected. Defaults to
    /// 20 s.
    pub write_timeout: Duration,
    /// Time that connections have to end when the server stops. Defaults to 5 s.
    pub stop_timeout: Duration,
    /// The proxies in front of the server. Here they matter for `proxy_protocol` and `connections_per_address`; whose
    /// `X-Forwarded-For` is believed is said by [`EngineConfig::trusted_proxies`](crate::EngineConfig::trusted_proxies).
    /// Defaults to none.
    pub trusted_proxies: TrustedProxies,
    /// Whether each connection begins with a header of the PROXY protocol, version 1 or 2, which names the client: that
    /// address becomes the request's [`PeerAddr`]. Only trusted proxies may connect then, and other connections are
    /// closed. The header must come within `header_timeout`. Of a proxy that speaks for itself, as in its health checks
    /// (`LOCAL`, `UNKNOWN`), the address stays the TCP peer's. Defaults to `false`.
    pub proxy_protocol: bool,
    /// How often an address may open a TCP connection. What goes beyond it is answered 429 with `Retry-After`, or just
    /// closed if the listener speaks TLS. An IPv6 address counts with its whole network of 64 bits. Trusted proxies are
    /// exempt, as all clients come from there; with `proxy_protocol` the address that the proxy names counts. Defaults to
    /// none.
    pub connections_per_address: Option<Rate>,
    /// Certificate and key, if the listener is to speak TLS itself. The TLS handshake and the head of the first request
    /// together may take `header_timeout`. Defaults to none.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsFiles>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            max_connections: limits::CONNECTIONS,
            header_timeout: limits::HEADER_TIMEOUT,
            idle_timeout: limits::IDLE_TIMEOUT,
            write_timeout: limits::WRITE_TIMEOUT,
            stop_timeout: limits::STOP_TIMEOUT,
            trusted_proxies: TrustedProxies::none(),
            proxy_protocol: false,
            connections_per_address: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// Listens on an address, with a backlog for reconnect storms.
///
/// # Errors
/// The error of the last address tried, with that address: it is taken, it does not belong to this machine, or its name is unknown.
pub async fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut last = None;
    for address in lookup_host(address).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(io::Error::new(error.kind(), format!("{address}: {error}"))),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name has no address")))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // So a restarted server can bind its port while old connections are still in TIME_WAIT. On Windows it can without
    // this option, which would let a second server bind the same port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(limits::BACKLOG as u32)
}

/// Serves HTTP/1.1 until `shutdown` resolves, over TLS if `ServeOptions::tls` is set. Then it stops accepting, waits for
/// the answers in flight and for upgraded connections (at most [`ServeOptions::stop_timeout`]), closes the HTTP
/// connections that are left, and returns. Close the engine before or at `shutdown`, or its connections will not end.
///
/// # Errors
/// At once for options that cannot work: a certificate or key that cannot be used (`ServeOptions::tls`), or
/// [`ServeOptions::proxy_protocol`] without trusted proxies. Failed accepts are logged and tried again.
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
    // `acquire_many` takes a `u32`: no more permits can be waited for at the end.
    let most = u32::try_from(options.max_connections.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
    let permits = Arc::new(Semaphore::new(most as usize));
    // Stopped when `serve` returns.
    let mut background = JoinSet::<()>::new();
    let entrance = Arc::new(options.entrance(&mut background).await?);
    let patience = options.patience();
    let kept = Some(patience.idle.as_secs()).filter(|seconds| *seconds > 0);
    let keep_alive = kept.and_then(|seconds| HeaderValue::try_from(format!("timeout={seconds}")).ok());
    let (stop, _) = watch::channel(());
    keep_alive_by_tcp(&listener);
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
        let Some(stream) = entrance.admit(stream, peer) else { continue };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            entrance.refuse(stream, Refusal::Full);
            continue;
        };
        // Small frames must not wait for the acknowledgement of earlier ones.
        let _ = stream.set_nodelay(true);
        let http = HttpConnection::new(patience);
        let (service, keep_alive) = (service.clone(), keep_alive.clone());
        let (entrance, mut stopped) = (entrance.clone(), stop.subscribe());
        tokio::spawn(async move {
            let (stream, peer) = if entrance.is_open() {
                (ServerStream::tcp(stream, permit), peer)
            } else {
                let deadline = http.due().map_or_else(Instant::now, |(at, _)| at);
                // In a box, so that it takes no memory once HTTP has begun.
                let entering = Box::pin(entrance.enter(stream, peer, permit, deadline));
                let entered = tokio::select! {
                    entered = entering => entered,
                    _ = stopped.changed() => None,
                };
                let Some(entered) = entered else { return };
                entered
            };
            drop(entrance);
            let service = PeerService { service, peer, secure: stream.is_secure(), http: http.clone(), keep_alive };
            let connection = http1::Builder::new()
                .header_read_timeout(None)
                .max_buf_size(limits::HEAD_BYTES)
                .max_headers(limits::HEADERS)
                .serve_connection(TokioIo::new(HttpStream::new(stream, http.clone())), service)
                .with_upgrades();
            let mut connection = pin!(connection);
            let ended = {
                let mut watched = pin!(watch_time(connection.as_mut(), &http));
                tokio::select! {
                    ended = watched.as_mut() => Some(ended),
                    _ = stopped.changed() => None,
                }
            };
            let ended = match ended {
                Some(ended) => ended,
                None => {
                    http.stop();
                    // The answer in flight is finished; an idle connection ends at once.
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = watch_time(connection, &http) => ended,
                        // The second message: the time to stop is over. Half a request would keep the connection open
                        // for longer.
                        Ok(()) = stopped.changed() => return,
                    }
                }
            };
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "HTTP connection ended"),
                Err(late) => {
                    metrics::counter!("roomcast_http_connections_late_total").increment(1);
                    tracing::debug!("HTTP connection ended: {late}");
                }
            }
        });
    }
    drop(listener);
    let _ = stop.send(());
    // Every connection, upgraded or not, returns its permit at its end.
    let all = permits.acquire_many(most);
    if tokio::time::timeout(options.stop_timeout, all).await.is_err() {
        tracing::warn!("connections were still open at the end of the stop timeout");
        let _ = stop.send(());
    }
    Ok(())
}

/// Whether a failed accept concerns only the connection that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Serves a connection until it ends, or until one of its deadlines has passed.
async fn watch_time<C: Future>(mut connection: Pin<&mut C>, http: &HttpConnection) -> Result<C::Output, Late> {
    // A timer that is due at once would wake the task for nothing, so it starts with the first deadline.
    let first = http.due().map_or_else(Instant::now, |(at, _)| at);
    let mut sleep = pin!(sleep_until(first));
    poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Ok(ended));
        }
        loop {
            let Some((at, late)) = http.due() else { return Poll::Pending };
            // To wake early does no harm, so it is not moved to a later deadline.
            if at < sleep.deadline() || sleep.is_elapsed() {
                sleep.as_mut().reset(at);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if at <= Instant::now() {
                return Poll::Ready(Err(late));
            }
        }
    })
    .await
}

/// Lets the kernel probe whether the other side is still there: a client that lost power sends nothing, and not
/// everything that is served here has a heartbeat. Accepted connections inherit the options of their listener.
#[cfg(target_os = "linux")]
fn keep_alive_by_tcp(listener: &TcpListener) {
    use rustix::net::sockopt;
    let set = sockopt::set_socket_keepalive(listener, true)
        .and_then(|()| sockopt::set_tcp_keepidle(listener, limits::TCP_KEEP_ALIVE_IDLE))
        .and_then(|()| sockopt::set_tcp_keepintvl(listener, limits::TCP_KEEP_ALIVE_INTERVAL))
        .and_then(|()| sockopt::set_tcp_keepcnt(listener, limits::TCP_KEEP_ALIVE_PROBES));
    if let Err(error) = set {
        tracing::warn!(%error, "TCP keep-alive cannot be set");
    }
}

#[cfg(not(target_os = "linux"))]
fn keep_alive_by_tcp(_: &TcpListener) {}

impl ServeOptions {
    async fn entrance(&self, background: &mut JoinSet<()>) -> io::Result<Entrance> {
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            let what = "`proxy_protocol` needs `trusted_proxies`: the networks of the proxies that speak it";
            return Err(wrong(what.to_owned()));
        }
        let entrance = Entrance::new(self.trusted_proxies.clone(), self.proxy_protocol, self.connections_per_address);
        #[cfg(feature = "tls")]
        let entrance = match &self.tls {
            Some(files) => {
                let certificates = Certificates::load(files.clone()).await.map_err(|error| wrong(error.to_string()))?;
                let certificates = Arc::new(certificates);
                background.spawn(certificates.clone().keep());
                entrance.with_tls(certificates)
            }
            None => entrance,
        };
        #[cfg(not(feature = "tls"))]
        let _ = background;
        Ok(entrance)
    }

    fn patience(&self) -> Patience {
        Patience {
            head: cut_time("header_timeout", self.header_timeout),
            idle: cut_time("idle_timeout", self.idle_timeout),
            write: cut_time("write_timeout", self.write_timeout),
        }
    }
}

/// The service for the requests of one peer.
#[derive(Clone)]
struct PeerService<S> {
    service: S,
    peer: SocketAddr,
    secure: bool,
    http: HttpConnection,
    keep_alive: Option<HeaderValue>,
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection ends without an answer")]
struct Ended;

impl<S, R> hyper::service::Service<Request<Incoming>> for PeerService<S>
where
    S: Service<Request<Incoming>, Response = Response<R>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Answer<R>>;
    type Error = Ended;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Ended>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.http.request();
        request.extensions_mut().insert(PeerAddr(self.peer));
        if self.secure {
            request.extensions_mut().insert(Secure);
        }
        if request.version() == Version::HTTP_10 {
            request.extensions_mut().insert(self.http.clone());
        }
        let keep_alive = self.keep_alive.clone().filter(|_| is_kept(request.version(), request.headers()));
        let mut service = self.service.clone();
        let http = self.http.clone();
        Box::pin(async move {
            let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
            let Ok(mut response) = service.call(request).await;
            if response.extensions().get::<EndWithoutAnswer>().is_some() {
                return Err(Ended);
            }
            let is_last = http.is_stopping() || response.status() == StatusCode::SWITCHING_PROTOCOLS;
            if let Some(keep_alive) =
                keep_alive.filter(|_| !is_last && !has_token(response.headers(), &header::CONNECTION, "close"))
            {
                response.headers_mut().entry(KEEP_ALIVE).or_insert(keep_alive);
            }
            Ok(response.map(|body| Answer::new(body, http)))
        })
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Whether the client may send another request on this connection.
fn is_kept(version: Version, headers: &HeaderMap) -> bool {
    let says = |token| has_token(headers, &header::CONNECTION, token);
    if version == Version::HTTP_10 { says("keep-alive") } else { !says("close") }
}

/// The body of an answer. At its end, the time for the connection's next request begins.
struct Answer<R> {
    body: Pin<Box<R>>,
    http: HttpConnection,
}

impl<R> Answer<R> {
    fn new(body: R, http: HttpConnection) -> Self {
        Self { body: Box::pin(body), http }
    }
}

impl<R> Drop for Answer<R> {
    fn drop(&mut self) {
        self.http.answered();
    }
}

impl<R: http_body::Body> http_body::Body for Answer<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::net::sockopt;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn accepted_connections_are_kept_alive_by_tcp() {
        let listener = bind("127.0.0.1:0").await.unwrap();
        keep_alive_by_tcp(&listener);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), limits::TCP_KEEP_ALIVE_IDLE);
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), limits::TCP_KEEP_ALIVE_INTERVAL);
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), limits::TCP_KEEP_ALIVE_PROBES);
    }
}

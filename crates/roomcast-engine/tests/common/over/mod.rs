//! [`Over`]: what a test's server speaks HTTP over, and the client's side of it.

pub mod stream;
pub mod tls;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::serve::{IncomingStream, Listener};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use roomcast_engine::{EndWithoutAnswer, PeerAddr, ServeOptions, limits, serve};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use stream::{Awkward, Plan};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_service::Service;

/// What a server speaks HTTP over.
#[derive(Debug, Clone, Copy)]
pub enum Over {
    /// [`serve`], which is TCP.
    Serve,
    /// [`serve`] with TLS of its own.
    ServeTls,
    /// A custom acceptor, whose streams are [`Awkward`]. Each connection has its own random numbers.
    Awkward(Plan),
    /// A custom acceptor with tokio-rustls.
    Tls,
    /// `axum::serve` over TCP.
    Axum,
    /// `axum::serve` over [`Awkward`] streams.
    AxumAwkward(Plan),
}

/// A service for the requests of hyper and of axum, as the engine's service is.
pub trait Serves:
    Service<Request<Incoming>, Response = Response<Self::Body>, Error = Infallible, Future: Send>
    + Service<Request<axum::body::Body>, Response = Response<Self::Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;
}

impl<S, B> Serves for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Service<Request<axum::body::Body>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    type Body = B;
}

impl Over {
    /// Serves until `shutdown` resolves.
    pub async fn serve(
        self,
        listener: TcpListener,
        service: impl Serves,
        mut options: ServeOptions,
        shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) {
        if let Self::ServeTls = self {
            options.tls.get_or_insert_with(tls::files);
        }
        match self {
            Self::Serve | Self::ServeTls => serve(listener, service, options, shutdown).await.unwrap(),
            Self::Awkward(mut plan) => {
                let wrap = move |stream| {
                    plan.seed += 1;
                    std::future::ready(Ok(Awkward::new(stream, plan)))
                };
                accept(listener, wrap, service, options, shutdown).await;
            }
            Self::Tls => accept(listener, tls::accept, service, options, shutdown).await,
            Self::Axum => serve_by_axum(listener, service, options, shutdown).await,
            Self::AxumAwkward(plan) => {
                serve_by_axum(AwkwardListener { listener, plan }, service, options, shutdown).await;
            }
        }
    }

    /// A client's connection. `narrow`: its kernel buffers little for it.
    pub async fn connect(self, address: SocketAddr, narrow: bool) -> ClientStream {
        let socket = TcpSocket::new_v4().unwrap();
        if narrow {
            socket.set_recv_buffer_size(4_096).unwrap();
        }
        let stream = socket.connect(address).await.unwrap();
        match self {
            Self::Tls | Self::ServeTls => ClientStream::Tls(Box::new(tls::connect(stream).await.unwrap())),
            _ => ClientStream::Tcp(stream),
        }
    }
}

/// The code of a user with custom streams: each connection is wrapped and passed to hyper.
async fn accept<W, F, T, S>(
    listener: TcpListener,
    mut wrap: W,
    service: S,
    options: ServeOptions,
    mut shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
) where
    W: FnMut(TcpStream) -> F,
    F: Future<Output = io::Result<T>> + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Serves,
{
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted.unwrap(),
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        roomcast_engine::prepare(&stream);
        let (stream, service, mut stopped) = (wrap(stream), service.clone(), stopped.clone());
        // hyper adds it to the current time, which may overflow. `serve` has its own bound for this.
        let header_timeout = options.header_timeout.min(Duration::from_secs(3_600));
        connections.spawn(async move {
            let Ok(Ok(stream)) = timeout(header_timeout, stream).await else { return };
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(header_timeout)
                .max_buf_size(limits::HEAD_BYTES)
                .max_headers(limits::HEADERS)
                .serve_connection(TokioIo::new(stream), service_fn(|request| answer(service.clone(), peer, request)))
                .with_upgrades();
            let mut connection = pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => {}
                _ = stopped.changed() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        });
    }
    drop((listener, stop));
    let _ = timeout(options.stop_timeout, async { while connections.join_next().await.is_some() {} }).await;
}

/// The service's answer. An error ends the connection without one.
async fn answer<S: Serves>(
    mut service: S,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<S::Body>, io::Error> {
    request.extensions_mut().insert(PeerAddr(peer));
    let Ok(()) = poll_fn(|cx| Service::<Request<Incoming>>::poll_ready(&mut service, cx)).await;
    let Ok(response) = service.call(request).await;
    match response.extensions().get::<EndWithoutAnswer>() {
        Some(_) => Err(io::Error::other("no answer is wanted")),
        None => Ok(response),
    }
}

async fn serve_by_axum<L>(
    listener: L,
    service: impl Serves,
    options: ServeOptions,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
) where
    L: Listener<Addr = SocketAddr>,
    Peer: for<'a> Connected<IncomingStream<'a, L>>,
{
    let told = axum::middleware::map_request(async |mut request: axum::extract::Request| {
        if let Some(ConnectInfo(Peer(peer))) = request.extensions().get() {
            let peer = PeerAddr(*peer);
            request.extensions_mut().insert(peer);
        }
        request
    });
    let router = Router::new().fallback_service(service).layer(told);
    let (stop, stopped) = watch::channel(());
    let mut ended = stop.subscribe();
    let serving = axum::serve(listener, router.into_make_service_with_connect_info::<Peer>());
    let serving = serving.with_graceful_shutdown(async move {
        shutdown.await;
        drop((stop, stopped));
    });
    // axum waits for its connections without a limit.
    let late = async {
        while ended.changed().await.is_ok() {}
        tokio::time::sleep(options.stop_timeout).await;
    };
    tokio::select! {
        served = serving => served.unwrap(),
        () = late => {}
    }
}

/// The peer's address, from axum's connect info.
#[derive(Clone)]
struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, AwkwardListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, AwkwardListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A listener for axum whose streams are [`Awkward`].
struct AwkwardListener {
    listener: TcpListener,
    plan: Plan,
}

impl Listener for AwkwardListener {
    type Io = Awkward<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let (stream, peer) = self.listener.accept().await.unwrap();
        roomcast_engine::prepare(&stream);
        self.plan.seed += 1;
        (Awkward::new(stream, self.plan), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A client's side of a connection.
#[derive(Debug)]
pub enum ClientStream {
    Tcp(TcpStream),
    Tls(Box<tls::ClientStream>),
}

impl ClientStream {
    /// The TCP stream below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

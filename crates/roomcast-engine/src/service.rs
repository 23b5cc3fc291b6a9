//! [`EngineService`]: the engine as a tower service over HTTP requests, to be mounted under hyper, axum or [`serve`](crate::serve).

use crate::body::Body;
use crate::connection::Connection;
use crate::engine::Engine;
use crate::error::{RequestError, upgrade_refusal};
use crate::limits::FOREIGN_UPGRADE_TIMEOUT;
use crate::polling::{self, EndConnection, empty};
use crate::server_stream::{HttpConnection, HttpStream};
use crate::session::Transport;
use crate::websocket;
use crate::writer::Stream;
use bytes::Bytes;
use form_urlencoded::parse;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Either;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use roomcast_protocol::frame::close_frame;
use roomcast_protocol::websocket::{accept_key, first_subprotocol, is_valid_key};
use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tower_service::Service;

/// Answers the engine's requests, and hands all others to `S`.
#[derive(Debug, Clone)]
pub struct EngineService<S = NotFound> {
    engine: Engine,
    others: S,
}

/// Ends the connection without an answer where Node does. [`serve`](crate::serve) looks for it; under another server the
/// client gets the answer that carries it: 400 and `Connection: close`.
#[derive(Debug, Clone, Copy)]
pub struct EndWithoutAnswer;

impl Engine {
    /// The engine as a service; other requests get 404.
    pub fn into_service(self) -> EngineService {
        EngineService { engine: self, others: NotFound }
    }

    /// The engine as a service; other requests go to `others`.
    pub fn into_service_with<S>(self, others: S) -> EngineService<S> {
        EngineService { engine: self, others }
    }
}

impl<S, B, R> Service<Request<B>> for EngineService<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    R: 'static,
{
    type Response = Response<Either<Body, R>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.others.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if self.engine.config().is_ours(request.uri().path()) {
            let engine = self.engine.clone();
            Box::pin(async move { Ok(handle(&engine, request).await.map(Either::Left)) })
        } else {
            let answer = self.others.call(request);
            Box::pin(async move { Ok(answer.await?.map(Either::Right)) })
        }
    }
}

/// Answers 404. An upgrade request for a path that is nobody's is ended without an answer after a second, as in Node.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotFound;

impl<B> Service<Request<B>> for NotFound {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let upgrade = asks_for_upgrade(request.headers()) && names_websocket(request.headers());
        Box::pin(async move {
            if upgrade {
                tokio::time::sleep(FOREIGN_UPGRADE_TIMEOUT).await;
                return Ok(end_without_answer());
            }
            Ok(empty(StatusCode::NOT_FOUND))
        })
    }
}

fn end_without_answer() -> Response<Body> {
    let mut response = upgrade_refusal("");
    response.extensions_mut().insert(EndWithoutAnswer);
    response
}

/// The query parameters that count; of a repeated one the last counts.
#[derive(Default)]
struct Query<'a> {
    protocol: Option<Cow<'a, str>>,
    transport: Option<Cow<'a, str>>,
    sid: Option<Cow<'a, str>>,
    base64: bool,
    jsonp: bool,
}

impl<'a> Query<'a> {
    fn new(text: &'a str) -> Self {
        let mut query = Self::default();
        for (name, value) in parse(text.as_bytes()) {
            match &*name {
                "EIO" => query.protocol = Some(value),
                "transport" => query.transport = Some(value),
                "sid" => query.sid = Some(value),
                "b64" => query.base64 = !value.is_empty(),
                "j" => query.jsonp = true,
                _ => {}
            }
        }
        query
    }

    fn transport(&self, engine: &Engine) -> Result<Transport, RequestError> {
        let transport = match self.transport.as_deref() {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::WebSocket,
            _ => return Err(RequestError::UnknownTransport),
        };
        if engine.config().offers(transport) { Ok(transport) } else { Err(RequestError::UnknownTransport) }
    }

    fn sid(&self) -> Option<&str> {
        self.sid.as_deref().filter(|sid| !sid.is_empty())
    }

    fn is_protocol_4(&self) -> bool {
        self.protocol.as_deref() == Some("4")
    }
}

/// Whether the request asks for an upgrade to a WebSocket. An offer of something else beside a poll (`h2c`, by curl and Java) is
/// ignored, as RFC 9110, 7.8 wants it; with `transport=websocket` it is refused in its own words.
fn is_upgrade(request: &Parts, query: &Query<'_>) -> bool {
    let headers = &request.headers;
    asks_for_upgrade(headers) && (names_websocket(headers) || query.transport.as_deref() == Some("websocket"))
}

fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE) && has_token(headers, &header::CONNECTION, "upgrade")
}

fn names_websocket(headers: &HeaderMap) -> bool {
    has_token(headers, &header::UPGRADE, "websocket")
}

/// Whether a header that is a list holds that token.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(token)))
}

/// How a stream gets out of HTTP.
enum Exit {
    Upgrade(OnUpgrade),
    /// By HTTP/1.0, for which hyper knows no upgrade.
    TakeOver(HttpConnection),
}

async fn handle<B>(engine: &Engine, mut request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send,
{
    let config = engine.config();
    let on_upgrade = hyper::upgrade::on(&mut request);
    let (mut parts, body) = request.into_parts();
    let text = parts.uri.clone();
    let query = Query::new(text.query().unwrap_or_default());
    // Without the WebSocket transport an upgrade is nobody's, and so a plain request.
    let upgrade = config.offers(Transport::WebSocket) && is_upgrade(&parts, &query);
    let exit = upgrade.then(|| match parts.extensions.remove::<HttpConnection>() {
        Some(http) => Exit::TakeOver(http),
        None => Exit::Upgrade(on_upgrade),
    });
    let mut response = match (&config.cors, exit) {
        (Some(cors), None) if parts.method == Method::OPTIONS => {
            let mut response = empty(StatusCode::NO_CONTENT);
            cors.apply_preflight(&parts.headers, response.headers_mut());
            response
        }
        (_, None) => match plain(engine, &parts, &query, body).await {
            Ok(response) => response,
            Err(error) => error.answer(),
        },
        (_, Some(exit)) => match websocket(engine, &parts, &query, exit).await {
            Ok(response) => response,
            Err(error) => error.upgrade_answer(),
        },
    };
    if let Some(cors) = &config.cors {
        cors.apply(&parts, &mut response);
    }
    response
}

/// A request that is no upgrade.
async fn plain<B>(engine: &Engine, request: &Parts, query: &Query<'_>, body: B) -> Result<Response<Body>, RequestError>
where
    B: http_body::Body<Data = Bytes> + Send,
{
    let transport = query.transport(engine)?;
    let Some(sid) = query.sid() else {
        return handshake(engine, request, query, transport).await;
    };
    let connection = engine.find(sid).ok_or(RequestError::UnknownSid)?;
    if connection.transport() != transport {
        return Err(RequestError::TransportMismatch);
    }
    if !query.is_protocol_4() {
        return Err(RequestError::ProtocolMismatch);
    }
    if transport == Transport::WebSocket {
        return Err(RequestError::TransportHandshake);
    }
    let mut response = match request.method {
        Method::GET => polling::get(&connection, request).await,
        Method::POST => match polling::post(&connection, request, body).await {
            Ok(response) => response,
            Err(EndConnection) => return Ok(end_without_answer()),
        },
        _ => empty(StatusCode::INTERNAL_SERVER_ERROR),
    };
    add_headers(engine, request, response.headers_mut(), false);
    Ok(response)
}

async fn handshake(
    engine: &Engine,
    request: &Parts,
    query: &Query<'_>,
    transport: Transport,
) -> Result<Response<Body>, RequestError> {
    if request.method != Method::GET {
        return Err(RequestError::HandshakeMethod);
    }
    if transport == Transport::WebSocket {
        return Err(RequestError::TransportHandshake);
    }
    allow(engine, request).await?;
    if !query.is_protocol_4() {
        return Err(RequestError::UnsupportedProtocol);
    }
    if query.jsonp {
        return Err(RequestError::Jsonp);
    }
    if let Some(cors) = &engine.config().cors {
        // Of polls browsers keep away what is not allowed; the operator is told all the same.
        let _ = cors.allows(request, Transport::Polling);
    }
    let connection = engine.open(request, Transport::Polling)?;
    tokio::spawn(polling::keep(connection.clone()));
    // The first poll takes the `open` packet, and whatever the handler has sent.
    let mut response = polling::get(&connection, request).await;
    if let Some(cookie) = &engine.config().cookie {
        match HeaderValue::from_str(&cookie.header(&connection.sid())) {
            Ok(value) => drop(response.headers_mut().insert(header::SET_COOKIE, value)),
            Err(_) => {
                tracing::warn!(name = cookie.name, "the cookie option cannot stand in a header; no cookie is set");
            }
        }
    }
    add_headers(engine, request, response.headers_mut(), true);
    Ok(response)
}

async fn allow(engine: &Engine, request: &Parts) -> Result<(), RequestError> {
    match &engine.config().allow_request {
        Some(allow) => allow(request).await.map_err(RequestError::Forbidden),
        None => Ok(()),
    }
}

/// What becomes of a stream once it is a WebSocket.
enum Fate {
    /// A new session.
    Open { base64: bool },
    /// It is to take over a polling session.
    Probe(Arc<Connection>, bool),
    /// It is told these bytes and closed.
    Dismiss(Vec<u8>),
}

/// A request for an upgrade.
async fn websocket(
    engine: &Engine,
    request: &Parts,
    query: &Query<'_>,
    exit: Exit,
) -> Result<Response<Body>, RequestError> {
    let transport = query.transport(engine)?;
    let fate = if let Some(sid) = query.sid() {
        let connection = engine.find(sid).ok_or(RequestError::UnknownSid)?;
        if !query.is_protocol_4() {
            return Err(RequestError::ProtocolMismatch);
        }
        Fate::Probe(connection, query.base64)
    } else {
        if request.method != Method::GET {
            return Err(RequestError::HandshakeMethod);
        }
        if engine.config().cors.as_ref().is_some_and(|cors| !cors.allows(request, Transport::WebSocket)) {
            return Err(RequestError::Forbidden("Forbidden".to_owned()));
        }
        allow(engine, request).await?;
        if transport == Transport::WebSocket && !query.is_protocol_4() {
            // Node accepts it, and then writes an HTTP answer into the WebSocket, which no client understands.
            return Err(RequestError::UnsupportedProtocol);
        }
        if engine.is_full() {
            return Err(RequestError::Busy);
        }
        Fate::Open { base64: query.base64 }
    };
    let fate = match fate {
        // A transport that knows no upgrade: accepted, and closed at once.
        _ if transport == Transport::Polling => Fate::Dismiss(close_frame(None, "")),
        fate => fate,
    };
    let mut response = match accept(request) {
        Ok(response) => response,
        Err(refusal) => return Ok(*refusal),
    };
    add_headers(engine, request, response.headers_mut(), matches!(fate, Fate::Open { .. }));
    let (engine, request) = (engine.clone(), request.clone());
    match exit {
        Exit::Upgrade(on_upgrade) if request.version >= Version::HTTP_11 => {
            tokio::spawn(async move {
                match on_upgrade.await {
                    Ok(upgraded) => start(&engine, &request, upgraded, fate),
                    // The client has gone before the answer reached it; there is nothing to undo.
                    Err(error) => tracing::debug!(%error, "an upgrade was not completed"),
                }
            });
        }
        Exit::Upgrade(_) => {
            let mut refusal = upgrade_refusal("A WebSocket needs HTTP/1.1");
            *refusal.status_mut() = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
            return Ok(refusal);
        }
        Exit::TakeOver(http) => {
            let head = head_of(&response);
            http.take_over(move |mut stream| {
                drop(tokio::spawn(async move {
                    // As in `start`, a client that has gone leaves nothing to undo.
                    if stream.write_all(&head).await.is_ok() {
                        attend(&engine, &request, stream, Bytes::new(), fate);
                    }
                }));
            });
            return Ok(end_without_answer());
        }
    }
    Ok(response)
}

/// The head of an answer as it goes over the wire; of 1.1, whatever the request was, as Node writes it.
fn head_of(response: &Response<Body>) -> Vec<u8> {
    let status = response.status();
    let mut head = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default());
    for (name, value) in response.headers() {
        // The values are ours, or have passed through the application's hook as legal ones.
        if let Ok(value) = value.to_str() {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// The answer to a WebSocket handshake, or its refusal with the texts of Node's `ws`.
fn accept(request: &Parts) -> Result<Response<Body>, Box<Response<Body>>> {
    let header = |name| request.headers.get(name).map(HeaderValue::as_bytes);
    if request.method != Method::GET {
        let mut refusal = upgrade_refusal("Invalid HTTP method");
        *refusal.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return Err(refusal.into());
    }
    let mut upgrade = request.headers.get_all(header::UPGRADE).iter();
    let first = upgrade.next();
    // Node joins repeated headers to one value, which is not `websocket` then.
    if upgrade.next().is_some() || !first.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket")) {
        return Err(upgrade_refusal("Invalid Upgrade header").into());
    }
    let key = match header(header::SEC_WEBSOCKET_KEY) {
        Some(key) if is_valid_key(key) => key,
        _ => return Err(upgrade_refusal("Missing or invalid Sec-WebSocket-Key header").into()),
    };
    if !matches!(header(header::SEC_WEBSOCKET_VERSION), Some(b"13" | b"8")) {
        let mut refusal = upgrade_refusal("Missing or invalid Sec-WebSocket-Version header");
        refusal.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13, 8"));
        return Err(refusal.into());
    }
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    if let Some(offered) = request.headers.get(header::SEC_WEBSOCKET_PROTOCOL) {
        let first = offered.to_str().ok().and_then(first_subprotocol);
        let Some(first) = first.and_then(|first| HeaderValue::from_str(first).ok()) else {
            return Err(upgrade_refusal("Invalid Sec-WebSocket-Protocol header").into());
        };
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, first);
    }
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept_key(key)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok(response)
}

/// The stream is a WebSocket now. The raw stream is taken out of hyper where that is possible, so that nothing of HTTP stays.
fn start(engine: &Engine, request: &Parts, upgraded: Upgraded, fate: Fate) {
    match upgraded.downcast::<TokioIo<HttpStream>>() {
        Ok(parts) => {
            if let Some(stream) = parts.io.into_inner().into_inner() {
                attend(engine, request, stream, parts.read_buf, fate);
            }
        }
        Err(upgraded) => match tcp_stream(upgraded) {
            Ok((stream, received)) => {
                // Small frames must not wait for the acknowledgement of earlier ones; `axum::serve` leaves that to us.
                let _ = stream.set_nodelay(true);
                attend(engine, request, stream, received, fate);
            }
            Err(upgraded) => attend(engine, request, TokioIo::new(upgraded), Bytes::new(), fate),
        },
    }
}

/// A TCP stream under hyper's own builder, or one layer deeper under hyper-util's, which `axum::serve` uses. With it comes
/// what was read already.
fn tcp_stream(upgraded: Upgraded) -> Result<(TcpStream, Bytes), Upgraded> {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return Ok((parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => upgraded,
    };
    let parts = auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded)?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

fn attend<S: Stream>(engine: &Engine, request: &Parts, stream: S, received: Bytes, fate: Fate) {
    let patience = engine.config().close_timeout;
    match fate {
        Fate::Open { base64 } => match engine.open(request, Transport::WebSocket) {
            Ok(connection) => {
                drop(tokio::spawn(websocket::run(connection, stream.into_halves(), received, false, base64)));
            }
            Err(error) => {
                tracing::debug!(%error, "a session could not be opened after the WebSocket handshake");
                drop(tokio::spawn(websocket::dismiss(stream, close_frame(None, ""), patience)));
            }
        },
        Fate::Probe(connection, base64) => {
            let now = tokio::time::Instant::now();
            let begun = connection.shared().session.begin_upgrade(now, &connection.sessions().timing);
            if begun {
                drop(tokio::spawn(websocket::run(connection, stream.into_halves(), received, true, base64)));
            } else {
                drop(tokio::spawn(websocket::dismiss(stream, close_frame(None, ""), patience)));
            }
        }
        Fate::Dismiss(bytes) => drop(tokio::spawn(websocket::dismiss(stream, bytes, patience))),
    }
}

fn add_headers(engine: &Engine, request: &Parts, headers: &mut HeaderMap, initial: bool) {
    if let Some(add) = &engine.config().headers {
        add(request, headers, initial);
    }
}

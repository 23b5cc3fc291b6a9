//! [`EngineService`]: the engine as a tower service for HTTP requests, to be used with hyper, axum or
//! [`serve`](crate::serve).

use crate::config::EngineConfig;
use crate::engine::Engine;
use crate::http::body::{Body, empty};
use crate::http::error::{RequestError, end_without_answer};
use crate::http::query::Query;
use crate::http::server_stream::HttpConnection;
use crate::http::tokens::{asks_for_upgrade, names_websocket};
use crate::http::upgrade::{self, Exit};
use crate::limits::FOREIGN_UPGRADE_TIMEOUT;
use crate::session::transport::Transport;
use crate::transport::polling::post::EndConnection;
use crate::transport::polling::{keeper, poll, post};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Either;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};
use tower_service::Service;

/// Answers the engine's requests, and passes all others to `S`.
#[derive(Debug, Clone)]
pub struct EngineService<S = NotFound> {
    engine: Engine,
    others: S,
}

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
            tell_misdirected(self.engine.config(), request.uri());
            let answer = self.others.call(request);
            Box::pin(async move { Ok(answer.await?.map(Either::Right)) })
        }
    }
}

/// Says once that a request of a client of Socket.IO came for another path: otherwise its 404 is a riddle.
fn tell_misdirected(config: &EngineConfig, uri: &http::Uri) {
    static TOLD: Once = Once::new();
    let query = uri.query().unwrap_or_default();
    if query.contains("EIO=") && query.contains("transport=") && !TOLD.is_completed() {
        TOLD.call_once(|| {
            tracing::warn!(
                requested = uri.path(),
                path = config.path,
                "a client of Socket.IO asked for a path that is not the server's. Its `path` may be another; or a router or proxy in front \
                strips a prefix, as axum's `nest` does: then set the server's path to what is left, such as \"/\". Logged once"
            );
        });
    }
}

/// Answers 404. An upgrade request for an unknown path is ended without an answer after a second, as in Node.
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

/// Whether the request asks for an upgrade to a WebSocket. A poll that offers another protocol (`h2c`, by curl and
/// Java) is served as a poll, as RFC 9110, 7.8 says; with `transport=websocket` such a request is refused as an
/// upgrade.
fn is_upgrade(request: &Parts, query: &Query<'_>) -> bool {
    let headers = &request.headers;
    asks_for_upgrade(headers) && (names_websocket(headers) || query.transport.as_deref() == Some("websocket"))
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
    // Without the WebSocket transport, a request for an upgrade is served as a plain request.
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
            Err(error) => config.refused(&error, &parts).answer(),
        },
        (_, Some(exit)) => match upgrade::answer(engine, &parts, &query, exit).await {
            Ok(response) => response,
            Err(error) => config.refused(&error, &parts).upgrade_answer(),
        },
    };
    if let Some(cors) = &config.cors {
        cors.apply(&parts, &mut response);
    }
    response
}

/// Answers a request that is not an upgrade.
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
        Method::GET => poll::get(&connection, request).await,
        Method::POST => match post::post(&connection, request, body).await {
            Ok(response) => response,
            Err(EndConnection) => return Ok(end_without_answer()),
        },
        _ => empty(StatusCode::INTERNAL_SERVER_ERROR),
    };
    engine.config().add_headers(request, response.headers_mut(), false);
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
    engine.count_handshake(request)?;
    engine.config().allow(request).await?;
    if !query.is_protocol_4() {
        return Err(RequestError::UnsupportedProtocol);
    }
    if query.jsonp {
        return Err(RequestError::Jsonp);
    }
    if let Some(cors) = &engine.config().cors {
        // Browsers do not let a foreign page read the answer. This only logs the origin for the operator.
        let _ = cors.allows(request, Transport::Polling);
    }
    let connection = engine.open(request, Transport::Polling)?;
    tokio::spawn(keeper::keep(connection.clone()));
    // The first poll fetches the `open` packet, and whatever the handler has sent.
    let mut response = poll::get(&connection, request).await;
    if let Some(cookie) = &engine.config().cookie {
        match HeaderValue::from_str(&cookie.header(&connection.sid())) {
            Ok(value) => drop(response.headers_mut().insert(header::SET_COOKIE, value)),
            Err(_) => {
                tracing::warn!(name = cookie.name, "the cookie option is not valid in a header; no cookie is set");
            }
        }
    }
    engine.config().add_headers(request, response.headers_mut(), true);
    Ok(response)
}

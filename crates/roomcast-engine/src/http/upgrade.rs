//! Upgrades: the WebSocket handshake, and how the stream leaves HTTP.

use crate::connections::connection::Connection;
use crate::engine::Engine;
use crate::http::body::{Body, empty};
use crate::http::error::{RequestError, end_without_answer, upgrade_refusal};
use crate::http::query::Query;
use crate::http::server_stream::{HttpConnection, HttpStream, ServerStream, either};
use crate::session::transport::Transport;
use crate::transport::wire::Wire;
use crate::transport::writer::Stream;
use crate::transport::{closing, websocket};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use roomcast_protocol::deflate::{Agreed, negotiate};
use roomcast_protocol::frame::close_frame;
use roomcast_protocol::websocket::{accept_key, first_subprotocol, is_valid_key};
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// How a stream leaves HTTP.
pub(crate) enum Exit {
    Upgrade(OnUpgrade),
    /// For HTTP/1.0, where hyper supports no upgrade.
    TakeOver(HttpConnection),
}

/// What a WebSocket is for, once its handshake is answered.
enum UpgradeKind {
    /// To open a session.
    Open,
    /// To take over a polling session.
    Probe { connection: Arc<Connection> },
    /// Only to be sent these bytes, and closed.
    Refuse(Vec<u8>),
}

/// Answers a request for an upgrade.
pub(crate) async fn answer(
    engine: &Engine,
    request: &Parts,
    query: &Query<'_>,
    exit: Exit,
) -> Result<Response<Body>, RequestError> {
    let transport = query.transport(engine)?;
    let kind = if let Some(sid) = query.sid() {
        let connection = engine.find(sid).ok_or(RequestError::UnknownSid)?;
        if !query.is_protocol_4() {
            return Err(RequestError::ProtocolMismatch);
        }
        UpgradeKind::Probe { connection }
    } else {
        if request.method != Method::GET {
            return Err(RequestError::HandshakeMethod);
        }
        if engine.config().cors.as_ref().is_some_and(|cors| !cors.allows(request, Transport::WebSocket)) {
            return Err(RequestError::Forbidden("Forbidden".to_owned()));
        }
        engine.count_handshake(request)?;
        engine.config().allow(request).await?;
        if transport == Transport::WebSocket && !query.is_protocol_4() {
            // Node accepts it, and then writes an HTTP answer into the WebSocket, which no client understands.
            return Err(RequestError::UnsupportedProtocol);
        }
        if engine.is_full() {
            return Err(RequestError::Busy);
        }
        UpgradeKind::Open
    };
    let kind = match kind {
        // Polling is not a transport of upgrades: the WebSocket is accepted, and closed at once.
        _ if transport == Transport::Polling => UpgradeKind::Refuse(close_frame(None, "")),
        kind => kind,
    };
    let compress = engine.config().per_message_deflate.is_some();
    let (mut response, wire) = match accept(request, compress) {
        Ok((response, deflate)) => (response, Wire { base64: query.base64, deflate }),
        Err(refusal) => return Ok(*refusal),
    };
    engine.config().add_headers(request, response.headers_mut(), matches!(kind, UpgradeKind::Open));
    let (engine, request) = (engine.clone(), request.clone());
    match exit {
        Exit::Upgrade(on_upgrade) if request.version >= Version::HTTP_11 => {
            tokio::spawn(async move {
                match on_upgrade.await {
                    Ok(upgraded) => take_stream(&engine, &request, upgraded, kind, wire),
                    // The client left before the answer reached it. There is nothing to undo.
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
                    // If the client has left, there is nothing to undo.
                    if stream.write_all(&head).await.is_ok() {
                        either!(stream, stream => run_upgraded(&engine, &request, stream, Bytes::new(), kind, wire));
                    }
                }));
            });
            return Ok(end_without_answer());
        }
    }
    Ok(response)
}

/// The head of an answer as it goes over the wire. It is of HTTP/1.1 whatever the request was, as Node writes it.
fn head_of(response: &Response<Body>) -> Vec<u8> {
    let status = response.status();
    let mut head = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default());
    for (name, value) in response.headers() {
        // The values are ours, or valid values that the application's hook has added.
        if let Ok(value) = value.to_str() {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// The answer to a WebSocket handshake, or its refusal with the texts of Node's `ws`. Also tells whether messages may be
/// compressed; `compress` says whether the server offers that.
fn accept(request: &Parts, compress: bool) -> Result<(Response<Body>, bool), Box<Response<Body>>> {
    let header = |name| request.headers.get(name).map(HeaderValue::as_bytes);
    if request.method != Method::GET {
        let mut refusal = upgrade_refusal("Invalid HTTP method");
        *refusal.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return Err(refusal.into());
    }
    let mut upgrade = request.headers.get_all(header::UPGRADE).iter();
    let first = upgrade.next();
    // Node joins repeated headers to one value, which then is not `websocket`.
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
    let agreed = if compress { agree(&request.headers)? } else { None };
    if let Some(agreed) = agreed.and_then(|agreed| HeaderValue::try_from(agreed.to_string()).ok()) {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, agreed);
    }
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept_key(key)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Ok((response, agreed.is_some()))
}

/// What the client's offers of permessage-deflate come to. Several headers are one list.
fn agree(headers: &HeaderMap) -> Result<Option<Agreed>, Box<Response<Body>>> {
    let mut offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter().peekable();
    if offers.peek().is_none() {
        return Ok(None);
    }
    // Bytes outside ASCII are in no token.
    let offers: Vec<&str> = offers.map(|offer| offer.to_str().unwrap_or_default()).collect();
    negotiate(&offers.join(","))
        .map_err(|_| upgrade_refusal("Invalid or unacceptable Sec-WebSocket-Extensions header").into())
}

/// Takes the raw stream out of hyper where that is possible, so that nothing of HTTP stays in memory, and runs it.
fn take_stream(engine: &Engine, request: &Parts, upgraded: Upgraded, kind: UpgradeKind, wire: Wire) {
    match upgraded.downcast::<TokioIo<HttpStream>>() {
        Ok(parts) => {
            if let Some(stream) = parts.io.into_inner().into_inner() {
                either!(stream, stream => run_upgraded(engine, request, stream, parts.read_buf, kind, wire));
            }
        }
        Err(upgraded) => match tcp_stream(upgraded) {
            Ok((stream, received)) => {
                // Small frames must not wait for the acknowledgement of earlier ones. `axum::serve` does not set this.
                let _ = stream.set_nodelay(true);
                run_upgraded(engine, request, stream, received, kind, wire);
            }
            Err(upgraded) => run_upgraded(engine, request, TokioIo::new(upgraded), Bytes::new(), kind, wire),
        },
    }
}

/// The TCP stream and what was read from it already. It is directly in hyper's own upgrade, or one layer deeper in
/// hyper-util's, which `axum::serve` uses.
fn tcp_stream(upgraded: Upgraded) -> Result<(TcpStream, Bytes), Upgraded> {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return Ok((parts.io.into_inner(), parts.read_buf)),
        Err(upgraded) => upgraded,
    };
    let parts = auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded)?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

fn run_upgraded<S: Stream>(
    engine: &Engine,
    request: &Parts,
    stream: S,
    received: Bytes,
    kind: UpgradeKind,
    wire: Wire,
) {
    let patience = engine.config().close_timeout;
    match kind {
        UpgradeKind::Open => match engine.open(request, Transport::WebSocket) {
            Ok(connection) => {
                drop(tokio::spawn(websocket::run(connection, stream.into_halves(), received, false, wire)));
            }
            Err(error) => {
                tracing::debug!(%error, "a session could not be opened after the WebSocket handshake");
                drop(tokio::spawn(closing::refuse(stream, close_frame(None, ""), patience)));
            }
        },
        UpgradeKind::Probe { connection } => {
            let now = tokio::time::Instant::now();
            let begun = connection.shared().session.begin_upgrade(now, &connection.sessions().timing);
            if begun {
                drop(tokio::spawn(websocket::run(connection, stream.into_halves(), received, true, wire)));
            } else {
                drop(tokio::spawn(closing::refuse(stream, close_frame(None, ""), patience)));
            }
        }
        UpgradeKind::Refuse(bytes) => drop(tokio::spawn(closing::refuse(stream, bytes, patience))),
    }
}

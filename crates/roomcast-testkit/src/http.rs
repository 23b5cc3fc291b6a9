//! [`Http`]: requests to a server in the same process. hyper speaks on both sides, over a pipe in memory, so that of all
//! that lies between client and server only TCP is missing.

use crate::compression::{self, OFFER};
use crate::limits::PIPE_BYTES;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use roomcast_server::PeerAddr;
use roomcast_server::engine::{Deflate, EndWithoutAnswer, EngineService};
use std::net::SocketAddr;
use tokio::io::DuplexStream;
use tokio::task::AbortHandle;
use tower_service::Service as _;

/// What a client needs to send requests.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(crate) service: EngineService,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The path of the server's requests.
    pub(crate) path: String,
    /// Further query parameters: `&name=value`.
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    /// How it compresses messages of a WebSocket, if it offers that.
    pub(crate) deflate: Option<Deflate>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Whether the body came compressed.
    pub(crate) compressed: bool,
}

/// A WebSocket whose handshake was accepted.
pub(crate) struct Accepted {
    pub(crate) stream: TokioIo<Upgraded>,
    /// How to compress, if the server has agreed.
    pub(crate) deflate: Option<Deflate>,
}

/// There is no answer to a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// The connection did not survive it.
    #[error("the server ended the connection without an answer: {0}")]
    Connection(#[from] hyper::Error),
    /// There is one that cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// Ends a task when it is dropped, and with it the connection that the task serves.
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The connection is to end without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection ends without an answer")]
struct NoAnswer;

impl Http {
    /// A request of polling, on a connection of its own. Dropping the future drops the connection.
    pub(crate) async fn poll(&self, method: Method, sid: Option<&str>, body: String) -> Result<Answer, Lost> {
        let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(self.dial())).await?;
        let _connection = Ends(tokio::spawn(connection).abort_handle());
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        let answer = sender.send_request(self.addressed(request, "polling", sid)).await?;
        read(answer).await
    }

    /// Opens a WebSocket.
    pub(crate) async fn upgrade(&self, sid: Option<&str>) -> Result<Result<Accepted, Answer>, Lost> {
        let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(self.dial())).await?;
        // Once the connection is upgraded, this task has ended.
        tokio::spawn(connection.with_upgrades());
        let mut request = self.addressed(Request::new(Full::new(Bytes::new())), "websocket", sid);
        for (name, value) in [
            (header::CONNECTION, "Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            // The example of RFC 6455: nothing in between could take an answer from a cache.
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        if self.deflate.is_some() {
            request.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(OFFER));
        }
        let answer = sender.send_request(request).await?;
        if answer.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Err(read(answer).await?));
        }
        let agreed = compression::agreed(answer.headers(), self.deflate.is_some()).map_err(Lost::Unreadable)?;
        let stream = TokioIo::new(hyper::upgrade::on(answer).await?);
        Ok(Ok(Accepted { stream, deflate: self.deflate.filter(|_| agreed) }))
    }

    fn addressed(&self, mut request: Request<Full<Bytes>>, transport: &str, sid: Option<&str>) -> Request<Full<Bytes>> {
        let Self { path, query, .. } = self;
        let sid = sid.map(|sid| format!("&sid={sid}")).unwrap_or_default();
        let target = format!("{path}?EIO=4&transport={transport}{query}{sid}");
        match target.parse() {
            Ok(target) => *request.uri_mut() = target,
            Err(error) => panic!("{target:?} is no URL: {error}"),
        }
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
        request.headers_mut().extend(self.headers.clone());
        request
    }

    /// The client's end of a new connection to the server.
    fn dial(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (service, peer) = (self.service.clone(), PeerAddr(self.peer));
        let answer = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let answer = service.clone().call(request);
            async move {
                let Ok(answer) = answer.await;
                // As the server's own listener does.
                if answer.extensions().get::<EndWithoutAnswer>().is_some() { Err(NoAnswer) } else { Ok(answer) }
            }
        });
        let serving =
            server::conn::http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(far), answer);
        // Its error is that of the client, who sees the end of the connection.
        tokio::spawn(async move { drop(serving.with_upgrades().await) });
        near
    }
}

async fn read(answer: Response<Incoming>) -> Result<Answer, Lost> {
    let (head, body) = answer.into_parts();
    let mut body = body.collect().await?.to_bytes();
    let encoding = head.headers.get(header::CONTENT_ENCODING);
    if let Some(encoding) = encoding {
        body = compression::decompressed(encoding, &body).map_err(Lost::Unreadable)?.into();
    }
    let (status, compressed) = (head.status.as_u16(), encoding.is_some());
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned(), compressed })
}

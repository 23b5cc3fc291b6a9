//! Requests to the engine's service: queries, headers and bodies of every kind, and origins.

use crate::input::Input;
use crate::machine::{self, FOR_EVER};
use crate::novelty::{seen, size};
use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Either};
use roomcast_engine::{
    Body, CloseReason, Connection, Cors, Deflate, Engine, EngineConfig, EngineService, SessionHandler,
};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tower_service::Service;

struct Nobody;

impl SessionHandler for Nobody {
    fn text(&mut self, _: &str) {}
    fn binary(&mut self, _: &[u8]) {}
    fn closed(&mut self, _: CloseReason) {}
}

fn engine(config: EngineConfig) -> Engine {
    Engine::new(config, |_: &Arc<Connection>| -> Box<dyn SessionHandler> { Box::new(Nobody) })
}

/// A body that comes in pieces, and may break off.
struct Pieces {
    pieces: VecDeque<Bytes>,
    broken: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if std::mem::take(&mut self.broken) => Poll::Ready(Some(Err(std::io::Error::other("broken off")))),
            None => Poll::Ready(None),
        }
    }
}

type Answer = JoinHandle<Response<Bytes>>;

/// Begins a request, which may be held.
fn ask(service: &EngineService, request: Request<Pieces>) -> Answer {
    let answer = service.clone().call(request);
    tokio::spawn(async move {
        let Ok(answer) = answer.await;
        let (parts, body): (_, Either<Body, Body>) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response::from_parts(parts, body)
    })
}

const METHODS: [Method; 6] = [Method::GET, Method::POST, Method::OPTIONS, Method::HEAD, Method::PUT, Method::DELETE];

pub(super) fn run(data: &[u8]) {
    machine::run(async {
        let mut input = Input::new(data);
        let mut config = EngineConfig::default();
        config.max_payload = 1_000;
        let options = input.byte();
        config.allow_upgrades = options % 4 != 1;
        if options & 4 != 0 {
            config.per_message_deflate = Some(Deflate::default());
            // No answer is as long, so none is compressed.
            config.http_compression = Some(Deflate::default());
        }
        let engine = engine(config);
        let service = engine.clone().into_service();
        let mut sid = "none".to_owned();
        let mut answers = Vec::new();
        while !input.is_empty() && answers.len() < 8 {
            let method = METHODS[usize::from(input.byte()) % METHODS.len()].clone();
            let Some(request) = request(&mut input, method, &sid) else { continue };
            let answer = ask(&service, request);
            sleep(Duration::from_millis(1)).await;
            if answer.is_finished() {
                let answer = answer.await.unwrap();
                check(&answer);
                if let Some(opened) = session(answer.body()) {
                    sid = opened;
                }
            } else {
                answers.push(answer);
            }
        }
        for answer in answers {
            check(&answer.await.unwrap());
        }
        sleep(FOR_EVER).await;
        assert_eq!(engine.sessions(), 0, "sessions are left");
    });
}

fn request(input: &mut Input<'_>, method: Method, sid: &str) -> Option<Request<Pieces>> {
    let query = String::from_utf8_lossy(input.piece()).replace("$SID", sid);
    let mut request = Request::builder().method(method).uri(format!("/engine.io/?{query}"));
    for _ in 0..input.byte() % 8 {
        let (name, value) = (input.piece(), input.piece());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            request = request.header(name, value);
        }
    }
    let count = input.byte();
    let pieces = (0..count % 4).map(|_| Bytes::copy_from_slice(input.piece())).collect();
    request.body(Pieces { pieces, broken: count >= 128 }).ok()
}

fn session(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    Some(text.strip_prefix("0{\"sid\":\"")?.get(..20)?.to_owned())
}

fn check(answer: &Response<Bytes>) {
    let status = answer.status().as_u16();
    assert!(matches!(status, 101 | 200 | 204 | 400 | 403 | 404 | 405 | 408 | 413 | 500 | 503), "{status}");
    let text = std::str::from_utf8(answer.body()).expect("an answer is text");
    if answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json") {
        serde_json::from_str::<serde_json::Value>(text).expect("an answer says JSON and is none");
    }
    seen((status, size(text.len()), answer.headers().len()));
}

pub(super) fn run_origins(data: &[u8]) {
    let mut input = Input::new(data);
    let credentials = input.byte() % 2 == 1;
    let origins: Vec<String> =
        (0..input.byte() % 4).map(|_| String::from_utf8_lossy(input.piece()).into_owned()).collect();
    let headers = [(header::HOST, input.piece()), (header::ORIGIN, input.piece())];
    let made = Cors::origins(&origins);
    seen((made.is_ok(), origins.len(), credentials));
    let Ok(cors) = made else { return };
    let mut sent = HeaderMap::new();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_bytes(value)
            && !value.is_empty()
        {
            sent.insert(name, value);
        }
    }
    let case = Case { origins, sent };
    machine::run(async {
        let mut config = EngineConfig::default();
        config.cors = Some(cors.credentials(credentials));
        let engine = engine(config);
        let service = engine.clone().into_service();
        for (method, transport, upgrade) in
            [(Method::OPTIONS, "polling", false), (Method::GET, "polling", false), (Method::GET, "websocket", true)]
        {
            let uri = format!("/engine.io/?EIO=4&transport={transport}");
            let body = Pieces { pieces: VecDeque::new(), broken: false };
            let mut request = Request::builder().method(method).uri(uri).body(body).unwrap();
            request.headers_mut().extend(case.sent.clone());
            if upgrade {
                let headers = request.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
                headers.insert(header::SEC_WEBSOCKET_KEY, key);
            }
            let answer = ask(&service, request).await.unwrap();
            case.check(&answer, upgrade);
        }
        engine.close();
        sleep(FOR_EVER).await;
        assert_eq!(engine.sessions(), 0, "sessions are left");
    });
}

/// A listed origin as a browser writes it: in lower case, without a slash at its end, and without the default port.
fn written(listed: &str) -> String {
    let listed = listed.trim().trim_end_matches('/').to_ascii_lowercase();
    let usual = match listed.split_once("://") {
        Some(("https" | "wss", _)) => ":443",
        Some(("http" | "ws", _)) => ":80",
        // An app's own scheme has no default port.
        _ => return listed,
    };
    listed.strip_suffix(usual).map_or(listed.clone(), str::to_owned)
}

struct Case {
    origins: Vec<String>,
    sent: HeaderMap,
}

impl Case {
    fn header(&self, name: &HeaderName) -> Option<String> {
        let value = self.sent.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase())
    }

    /// Whether the host of the origin is named anywhere. If not, nothing may be allowed.
    fn is_named(&self, origin: &str) -> bool {
        let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
        let host = authority.split(['/', ':']).next().unwrap_or_default();
        let host = if authority.starts_with('[') { authority } else { host };
        let hosts = self.origins.iter().map(|listed| listed.to_ascii_lowercase()).chain(self.header(&header::HOST));
        hosts.into_iter().any(|known| known.contains(host) || host.contains(known.trim_matches(['[', ']'])))
    }

    fn check(&self, answer: &Response<Bytes>, upgrade: bool) {
        let status = answer.status().as_u16();
        let any = self.origins.iter().any(|origin| origin.contains('*'));
        let origin = self.header(&header::ORIGIN);
        let allowed = answer.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
        let allowed = allowed.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        seen((status, upgrade, allowed.is_some(), origin.is_some(), any));
        if upgrade {
            let named = any || origin.as_ref().is_none_or(|origin| self.is_named(origin));
            assert!(status != 101 || named, "{origin:?} is let in by {:?}", self.origins);
        }
        if let Some(allowed) = allowed {
            assert!(allowed != "*" || any, "{:?} lets everybody in", self.origins);
            let listed = self.origins.iter().any(|listed| written(listed) == allowed);
            let own = origin.as_ref().is_some_and(|origin| self.is_named(origin));
            assert!(any || listed || own, "{allowed} is allowed by {:?}", self.origins);
        }
    }
}

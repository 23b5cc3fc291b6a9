//! [`EngineConfig`]: the options of an Engine.IO server.

use crate::http::client_files::ClientFiles;
use crate::http::cors::Cors;
use crate::http::error::RequestError;
use crate::http::trusted_proxies::TrustedProxies;
use crate::limits;
use crate::rates::rate::Rate;
use crate::session::bounds::Bounds;
use crate::session::state::Timing;
use crate::session::transport::Transport;
use http::Extensions;
use http::header::HeaderMap;
use http::request::Parts;
use roomcast_protocol::deflate::Deflate;
use roomcast_protocol::limits::MAX_PAYLOAD;
use roomcast_protocol::{IdError, Meter, Packet, Sid};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Decides whether a handshake is accepted. The client is sent the error's text. Asked for every transport, but only at
/// the handshake.
pub type AllowRequest =
    Arc<dyn for<'a> Fn(&'a Parts) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> + Send + Sync>;

/// Copies the extension of one type from a request.
pub(crate) type KeepExtension = fn(&Extensions, &mut Extensions);

/// Is told of a request that is refused.
pub type OnRefused = Arc<dyn Fn(&RequestError, &Parts) + Send + Sync>;

/// May add headers to the answers to a client. The flag is `true` if it is the answer to a handshake.
pub type Headers = Arc<dyn Fn(&Parts, &mut HeaderMap, bool) + Send + Sync>;

/// Makes the id of a new session.
pub type GenerateId = Arc<dyn Fn(&Parts) -> Result<Sid, IdError> + Send + Sync>;

/// Options of an Engine.IO server. Defaults are Node's where Node has the option.
#[derive(Clone)]
#[non_exhaustive]
pub struct EngineConfig {
    /// Path that requests begin with. With a trailing slash, only paths below it match; without one, the path itself
    /// too. Defaults to `/engine.io/`.
    pub path: String,
    /// Time from a pong to the next ping. Defaults to 25 s.
    pub ping_interval: Duration,
    /// Time that a client has for its pong. Defaults to 20 s.
    pub ping_timeout: Duration,
    /// Time that an upgrade may take. Defaults to 10 s.
    pub upgrade_timeout: Duration,
    /// Most bytes of one message over WebSocket, and of one POST body. Defaults to 1,000,000.
    pub max_payload: usize,
    /// Transports that are offered. Defaults to both.
    pub transports: Vec<Transport>,
    /// Whether polling may be upgraded to a WebSocket. Defaults to `true`.
    pub allow_upgrades: bool,
    /// Cookie with the session's id on the answer to a polling handshake, for sticky load balancers. Defaults to none.
    pub cookie: Option<Cookie>,
    /// Cross-origin rules. Defaults to none.
    pub cors: Option<Cors>,
    /// Decides on handshakes. By default all are accepted.
    pub allow_request: Option<AllowRequest>,
    /// Adds headers to answers. Defaults to none.
    pub headers: Option<Headers>,
    /// Makes session ids. By default they are 120 random bits.
    pub generate_id: Option<GenerateId>,
    /// What may wait for clients that do not read.
    pub outbox: OutboxLimits,
    /// Bytes that unfinished messages of all clients may hold together: WebSocket messages, POST bodies, and packets whose
    /// attachments have not all come. Beyond it the clients whose messages began first are disconnected. At least twice
    /// `max_payload`. Defaults to `None`: an eighth of the memory of the machine or of the process's control group, but
    /// at least 32 MiB.
    pub inbox_budget: Option<usize>,
    /// Most sessions at once. Beyond it the oldest session that is not established ([`Connection::establish`]) is
    /// closed to make room; if there is none, the handshake is answered 503. Defaults to 100,000.
    ///
    /// [`Connection::establish`]: crate::Connection::establish
    pub max_sessions: usize,
    /// Most sessions at once that are not established. Beyond it the oldest of them is closed to make room, so that a
    /// flood of handshakes hurts no established session. Defaults to 25,000.
    pub max_unjoined_sessions: usize,
    /// Most sessions by polling at once. Each may hold a request, which costs 18 KB more than a WebSocket. Beyond it
    /// the oldest of them that is not established is closed to make room, or the handshake is answered 503. Defaults to
    /// 25,000.
    pub max_polling_sessions: usize,
    /// Time for the body of a POST. Defaults to 30 s.
    pub body_timeout: Duration,
    /// Time that a closing WebSocket has for its last bytes. Defaults to 5 s.
    pub close_timeout: Duration,
    /// The proxies in front of the server, whose `X-Forwarded-For` is believed. Defaults to none.
    pub trusted_proxies: TrustedProxies,
    /// How often a client's address may begin a session. What goes beyond it is answered 429 with `Retry-After`. The
    /// address is [`Handshake::client_address`](crate::Handshake::client_address), and an IPv6 address counts with its
    /// whole network of 64 bits. A request without [`PeerAddr`](crate::PeerAddr) is not limited. Defaults to none.
    pub handshakes_per_address: Option<Rate>,
    /// Called for each request that is refused, on the thread that answers it. By default nothing is.
    pub on_refused: Option<OnRefused>,
    /// The types of request extensions that are kept with a session.
    pub(crate) keep: Vec<KeepExtension>,
    /// Whether WebSocket messages are compressed for clients that can (permessage-deflate), and from which size on.
    /// Neither side keeps a context between messages, so a message is compressed once for all its recipients, and an idle
    /// client costs no memory. What a client may inflate to is bounded by `max_payload`. Defaults to none, as in Node.
    pub per_message_deflate: Option<Deflate>,
    /// Whether the answers to polls are compressed for clients that accept gzip or deflate, and from which size on.
    /// Defaults to none; in Node it is on.
    pub http_compression: Option<Deflate>,
    /// The files of the JavaScript client, served under `path`. Defaults to none.
    pub client_files: Option<ClientFiles>,
    /// A packet that each new session gets right after its `open`, in the same payload or as the next WebSocket message. Node's option
    /// `initialPacket`. Defaults to none.
    pub initial_packet: Option<Arc<Packet>>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            path: "/engine.io/".to_owned(),
            ping_interval: limits::PING_INTERVAL,
            ping_timeout: limits::PING_TIMEOUT,
            upgrade_timeout: limits::UPGRADE_TIMEOUT,
            max_payload: MAX_PAYLOAD,
            transports: vec![Transport::Polling, Transport::WebSocket],
            allow_upgrades: true,
            cookie: None,
            cors: None,
            allow_request: None,
            headers: None,
            generate_id: None,
            outbox: OutboxLimits::default(),
            inbox_budget: None,
            max_sessions: limits::SESSIONS,
            max_unjoined_sessions: limits::UNJOINED_SESSIONS,
            max_polling_sessions: limits::POLLING_SESSIONS,
            body_timeout: limits::BODY_TIMEOUT,
            close_timeout: limits::CLOSE_TIMEOUT,
            trusted_proxies: TrustedProxies::none(),
            handshakes_per_address: None,
            on_refused: None,
            keep: Vec::new(),
            per_message_deflate: None,
            http_compression: None,
            client_files: None,
            initial_packet: None,
        }
    }
}

/// What may wait for clients that do not read. A packet costs its bytes plus 128
/// ([`PACKET_COST`](crate::limits::PACKET_COST)).
///
/// A client is a slow consumer, and is disconnected, if
/// - more than `hard` waits behind the packet that is being written to it, or
/// - more than `soft` waits, and its transport does not take an eighth of it in each
///   [`ping_timeout`](EngineConfig::ping_timeout) (5 s while all outboxes hold more than half of `budget`), or
/// - all outboxes hold more than `budget`, and its own is one of the largest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxLimits {
    /// The soft bound in bytes. Defaults to 1 MiB.
    pub soft: usize,
    /// The hard bound in bytes. Defaults to 16 MiB. A packet for an empty outbox may have any size.
    pub hard: usize,
    /// Bytes for all clients together. Defaults to `None`: a quarter of the memory of the machine or of the process's
    /// control group, but at least 64 MiB. A packet that waits for several clients counts once.
    pub budget: Option<usize>,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self { soft: limits::OUTBOX_SOFT, hard: limits::OUTBOX_HARD, budget: None }
    }
}

impl OutboxLimits {
    /// A soft bound, and a hard bound of sixteen times as much.
    pub fn soft(bytes: usize) -> Self {
        Self { soft: bytes, hard: bytes.saturating_mul(limits::OUTBOX_HARD / limits::OUTBOX_SOFT), budget: None }
    }

    pub(crate) fn bounds(&self, meter: &Arc<Meter>) -> Bounds {
        // An outbox must be crowded before it is full, however small its bounds are.
        let crowded = limits::CROWDED.min(self.soft / 4).min(self.hard / 4);
        Bounds { soft: self.soft, hard: self.hard, crowded, meter: meter.clone() }
    }
}

impl EngineConfig {
    /// Cuts times beyond [`limits::LONGEST`] to it, with a warning.
    pub(crate) fn cut(mut self) -> Self {
        let times = [
            ("ping_interval", &mut self.ping_interval),
            ("ping_timeout", &mut self.ping_timeout),
            ("upgrade_timeout", &mut self.upgrade_timeout),
            ("body_timeout", &mut self.body_timeout),
            ("close_timeout", &mut self.close_timeout),
        ];
        for (name, time) in times {
            *time = cut_time(name, *time);
        }
        self
    }

    pub(crate) fn timing(&self) -> Timing {
        Timing {
            ping_interval: self.ping_interval,
            ping_timeout: self.ping_timeout,
            upgrade_timeout: self.upgrade_timeout,
        }
    }

    /// Whether a request for this path is the engine's.
    pub(crate) fn is_ours(&self, path: &str) -> bool {
        match path.strip_prefix(&self.path) {
            Some(rest) => self.path.ends_with('/') || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    /// Keeps the extension of this type of a session's first request, which a layer in front of the server may have put there:
    /// [`Connection::extension`](crate::Connection::extension). Only what is named here is kept, as some extensions of frameworks hold the
    /// whole request in memory (axum's `OriginalUri`: 8 KB).
    pub fn keep_extension<T: Clone + Send + Sync + 'static>(&mut self) {
        self.keep.push(|from, to| {
            if let Some(value) = from.get::<T>() {
                to.insert(value.clone());
            }
        });
    }

    /// Asks [`EngineConfig::allow_request`].
    pub(crate) async fn allow(&self, request: &Parts) -> Result<(), RequestError> {
        match &self.allow_request {
            Some(allow) => allow(request).await.map_err(RequestError::Forbidden),
            None => Ok(()),
        }
    }

    /// A request is refused: it is counted, logged, and told to [`EngineConfig::on_refused`].
    pub(crate) fn refused<'a>(&self, error: &'a RequestError, request: &Parts) -> &'a RequestError {
        error.tell(request);
        if let Some(told) = &self.on_refused {
            told(error, request);
        }
        error
    }

    /// Adds [`EngineConfig::headers`].
    pub(crate) fn add_headers(&self, request: &Parts, headers: &mut HeaderMap, initial: bool) {
        if let Some(add) = &self.headers {
            add(request, headers, initial);
        }
    }

    pub(crate) fn offers(&self, transport: Transport) -> bool {
        self.transports.contains(&transport)
    }

    /// Whether a session on this transport is offered an upgrade.
    pub(crate) fn offers_upgrade(&self, transport: Transport) -> bool {
        transport == Transport::Polling && self.allow_upgrades && self.offers(Transport::WebSocket)
    }
}

/// The time of an option, cut to [`limits::LONGEST`]. A time that is cut is logged as a warning.
pub fn cut_time(name: &'static str, time: Duration) -> Duration {
    if time > limits::LONGEST {
        tracing::warn!(name, "a time is longer than 12 days: it is cut to 12 days");
    }
    time.min(limits::LONGEST)
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("path", &self.path)
            .field("ping_interval", &self.ping_interval)
            .field("ping_timeout", &self.ping_timeout)
            .field("upgrade_timeout", &self.upgrade_timeout)
            .field("max_payload", &self.max_payload)
            .field("transports", &self.transports)
            .field("allow_upgrades", &self.allow_upgrades)
            .field("cookie", &self.cookie)
            .field("cors", &self.cors)
            .field("outbox", &self.outbox)
            .field("inbox_budget", &self.inbox_budget)
            .field("max_sessions", &self.max_sessions)
            .field("max_unjoined_sessions", &self.max_unjoined_sessions)
            .field("max_polling_sessions", &self.max_polling_sessions)
            .field("body_timeout", &self.body_timeout)
            .field("close_timeout", &self.close_timeout)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("handshakes_per_address", &self.handshakes_per_address)
            .field("per_message_deflate", &self.per_message_deflate)
            .field("http_compression", &self.http_compression)
            .field("client_files", &self.client_files)
            .finish_non_exhaustive()
    }
}

/// A cookie that carries the session's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Defaults to `io`.
    pub name: String,
    /// Defaults to `/`.
    pub path: String,
    /// Defaults to none.
    pub domain: Option<String>,
    /// Its lifetime in seconds. By default it ends with the browser.
    pub max_age: Option<u64>,
    /// When it ends, for all clients at the same time; browsers prefer `max_age`. A header can tell years up to 9999. Defaults to none.
    pub expires: Option<SystemTime>,
    /// Whether it is hidden from scripts. Defaults to `true`.
    pub http_only: bool,
    /// Whether it is sent over TLS only. Defaults to `false`.
    pub secure: bool,
    /// `Lax`, `Strict` or `None`. Defaults to `Lax`.
    pub same_site: &'static str,
    /// Whether each site that embeds the server's pages gets a jar of its own (`Partitioned`, for which browsers ask `secure`). Defaults to
    /// `false`.
    pub partitioned: bool,
    /// `Low`, `Medium` or `High`: which cookies Chromium drops first. Defaults to none.
    pub priority: Option<&'static str>,
}

/// The last second that a header can tell.
fn last_date() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: "io".to_owned(),
            path: "/".to_owned(),
            domain: None,
            max_age: None,
            expires: None,
            http_only: true,
            secure: false,
            same_site: "Lax",
            partitioned: false,
            priority: None,
        }
    }
}

impl Cookie {
    /// The header's value, with its attributes in the order of Node's `cookie` package.
    pub(crate) fn header(&self, sid: &Sid) -> String {
        let mut text = format!("{}={sid}", self.name);
        if let Some(seconds) = self.max_age {
            text.push_str(&format!("; Max-Age={seconds}"));
        }
        if let Some(domain) = &self.domain {
            text.push_str(&format!("; Domain={domain}"));
        }
        text.push_str(&format!("; Path={}", self.path));
        if let Some(end) = self.expires {
            text.push_str(&format!("; Expires={}", httpdate::fmt_http_date(end.clamp(UNIX_EPOCH, last_date()))));
        }
        if self.http_only {
            text.push_str("; HttpOnly");
        }
        if self.secure {
            text.push_str("; Secure");
        }
        if self.partitioned {
            text.push_str("; Partitioned");
        }
        if let Some(priority) = self.priority {
            text.push_str(&format!("; Priority={priority}"));
        }
        text.push_str(&format!("; SameSite={}", self.same_site));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let with = |path: &str| EngineConfig { path: path.to_owned(), ..EngineConfig::default() };
        let below = with("/socket.io/");
        assert!(below.is_ours("/socket.io/") && below.is_ours("/socket.io/foo/bar"));
        assert!(!below.is_ours("/socket.io") && !below.is_ours("/socket.io-admin") && !below.is_ours("/"));
        let exact = with("/socket.io");
        assert!(exact.is_ours("/socket.io") && exact.is_ours("/socket.io/") && !exact.is_ours("/socket.io-admin"));
    }
}

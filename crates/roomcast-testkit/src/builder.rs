//! [`ClientBuilder`]: sets how a client connects.

use crate::connect_error::ConnectError;
use crate::connection::Connection;
use crate::http::Http;
use crate::limits::PATIENCE;
use crate::socket::{ClientSocket, Phase};
use crate::{packed, polling, websocket};
use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use roomcast_protocol::{EngineKind, Packet, Parser};
use roomcast_server::engine::Deflate;
use roomcast_server::{SocketIo, Transport};
use serde::Serialize;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How a client connects. Made by [`Client::builder`](crate::Client::builder), or by
/// [`Client::of`](crate::Client::of) for a further namespace of a connection.
#[derive(Debug, Clone)]
#[must_use = "call `connect`"]
pub struct ClientBuilder {
    pub(crate) options: Options,
    /// The connection to use, for a further namespace of a client.
    pub(crate) connection: Option<Arc<Connection>>,
}

/// What a client is made of, kept so that it can connect again.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) http: Http,
    pub(crate) name: String,
    pub(crate) namespace: String,
    transport: Transport,
    parser: Parser,
    auth: Option<Value>,
    pub(crate) patience: Duration,
}

impl ClientBuilder {
    pub(crate) fn new(io: &SocketIo) -> Self {
        let http = Http {
            service: io.clone().into_service(),
            peer: SocketAddr::from(([127, 0, 0, 1], 50_000)),
            path: "/socket.io/".to_owned(),
            query: String::new(),
            headers: HeaderMap::new(),
            deflate: None,
        };
        let options = Options {
            http,
            name: "client".to_owned(),
            namespace: "/".to_owned(),
            transport: Transport::WebSocket,
            parser: Parser::Default,
            auth: None,
            patience: PATIENCE,
        };
        Self { options, connection: None }
    }

    pub(crate) fn on(options: &Options, connection: Arc<Connection>, namespace: &str) -> Self {
        let options = Options { auth: None, ..options.clone() };
        Self { options, connection: Some(connection) }.namespace(namespace)
    }

    /// What failures call the client. Defaults to `client`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// The namespace to join, whose leading slash may be left out. Defaults to `/`.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.options.namespace = if namespace.starts_with('/') { namespace.into() } else { format!("/{namespace}") };
        self
    }

    /// The auth payload of the CONNECT: a JSON object, such as a struct or `json!({"token": "…"})`. Defaults to none.
    ///
    /// # Panics
    /// If it is not an object.
    #[track_caller]
    pub fn auth(mut self, auth: impl Serialize) -> Self {
        match serde_json::to_value(&auth) {
            Ok(auth @ Value::Object(_)) => self.options.auth = Some(auth),
            other => panic!("the auth payload of a client is a JSON object, and not {other:?}"),
        }
        self
    }

    /// A header of each of its requests, such as a cookie or an origin.
    ///
    /// # Panics
    /// If HTTP does not allow the name or the value.
    #[track_caller]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => drop(self.options.http.headers.append(name, value)),
            _ => panic!("{name}: {value} is no header"),
        }
        self
    }

    /// Further parameters of the query of each of its requests, encoded as in a URL: `tenant=7&theme=dark`.
    pub fn query(mut self, query: &str) -> Self {
        self.options.http.query.push_str(&format!("&{query}"));
        self
    }

    /// How its connection begins. Defaults to a WebSocket. The official client begins with polling, and so can
    /// [`Client::upgrade`](crate::Client::upgrade) follow.
    pub fn transport(mut self, transport: Transport) -> Self {
        self.options.transport = transport;
        self
    }

    /// How packets are written, if [`Builder::parser`](roomcast_server::Builder::parser) changed it. Defaults to
    /// [`Parser::Default`].
    pub fn parser(mut self, parser: Parser) -> Self {
        self.options.parser = parser;
        self
    }

    /// Offers permessage-deflate for its WebSocket, as browsers do. If the server agrees
    /// ([`Builder::per_message_deflate`](roomcast_server::Builder::per_message_deflate)), both compress: the client's own
    /// messages from this threshold on. Defaults to no offer.
    ///
    /// ```
    /// # use roomcast_server::SocketIo;
    /// # use roomcast_testkit::{Client, Deflate};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), roomcast_testkit::ConnectError> {
    /// let io = SocketIo::builder().per_message_deflate(Deflate::default()).build();
    /// let client = Client::builder(&io).per_message_deflate(Deflate::default()).connect().await?;
    /// assert!(client.compression().agreed);
    ///
    /// io.emit("article", "word ".repeat(1_000)).unwrap();
    /// io.compress(false).emit("secret", "word ".repeat(1_000)).unwrap();
    /// assert_eq!(client.next::<String>("article").await.len(), 5_000);
    /// assert_eq!(client.next::<String>("secret").await.len(), 5_000);
    /// assert_eq!(client.compression().received, 1); // the article
    /// # Ok(())
    /// # }
    /// ```
    pub fn per_message_deflate(mut self, deflate: Deflate) -> Self {
        self.options.http.deflate = Some(deflate);
        self
    }

    /// The encodings in which it takes answers to polls: `gzip`, `deflate`, or both in the order of preference, as
    /// `gzip, deflate, br, zstd` of a browser. The server compresses them if
    /// [`Builder::http_compression`](roomcast_server::Builder::http_compression) is set. Defaults to none.
    ///
    /// # Panics
    /// If HTTP does not allow the text in a header.
    #[track_caller]
    pub fn accept_encoding(mut self, encodings: &str) -> Self {
        match HeaderValue::try_from(encodings) {
            Ok(encodings) => drop(self.options.http.headers.insert(ACCEPT_ENCODING, encodings)),
            Err(_) => panic!("{encodings:?} is no list of encodings"),
        }
        self
    }

    /// The path of the server's requests, if [`Builder::path`](roomcast_server::Builder::path) changed it. Defaults to
    /// `/socket.io/`.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.options.http.path = path.into();
        self
    }

    /// The client's address, as the server sees it. Defaults to `127.0.0.1:50000`.
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.options.http.peer = address;
        self
    }

    /// How long it waits for events, answers and the end of its connection. Defaults to 10 s
    /// ([`PATIENCE`](crate::limits::PATIENCE)), which take no time under a paused clock.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.options.patience = patience;
        self
    }
}

impl Options {
    /// Opens a connection.
    pub(crate) async fn open(&self) -> Result<Arc<Connection>, ConnectError> {
        let http = self.http.clone();
        let opened = async {
            match self.transport {
                Transport::Polling => polling::open(http, self.parser, &self.name).await,
                _ => websocket::open(http, self.parser, &self.name).await,
            }
        };
        let patience = self.patience;
        match timeout(patience, opened).await {
            Ok(opened) => opened.map(Arc::new),
            Err(_) => Err(ConnectError::new(&self.name, format!("no answer to the handshake within {patience:?}"))),
        }
    }

    /// Joins the namespace over the socket's connection.
    pub(crate) async fn enter(&self, socket: &Arc<ClientSocket>) -> Result<(), ConnectError> {
        let connection = socket.connection();
        let recovery = socket.state.lock().recovery.clone();
        let added = connection.link.add(&self.namespace, socket);
        assert!(added, "{}: this connection has a socket in the namespace already", socket.name);
        let parser = connection.link.parser;
        match (recovery.payload(self.auth.as_ref()), parser) {
            (Some(json), _) => connection.link.send(parser.connect(&self.namespace, &json)),
            (None, Parser::MessagePack) => connection.link.send(packed::connect(&self.namespace)),
            (None, Parser::Default) if self.namespace == "/" => {
                connection.link.send(Packet::engine(EngineKind::Message, "0"));
            }
            (None, Parser::Default) => {
                connection.link.send(Packet::engine(EngineKind::Message, &format!("0{},", self.namespace)));
            }
        }
        let answered = socket.until(|state| match &state.phase {
            Phase::Connecting => None,
            Phase::Refused(error) => Some(Err(error.clone())),
            Phase::Connected(_) | Phase::Left(_) => Some(Ok(())),
        });
        answered.await.unwrap_or_else(|| {
            let within = socket.patience;
            Err(ConnectError::new(&socket.name, format!("no answer to its CONNECT within {within:?}")))
        })
    }
}

//! [`Handshake`]: what is kept of a session's first request.

use http::request::Parts;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::SystemTime;

/// Address of the peer of a request, as a request extension. [`serve`](crate::serve) sets it; under another server a layer
/// may.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddr(pub SocketAddr);

/// The first request of a session: URL, headers, address and time, as one compact string. Names are found by a walk over it,
/// which is cheaper to keep than a map and asked for seldom.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// `url\nname\rvalue\nname\rvalue…`; neither `\n` nor `\r` can occur in a URL or header.
    text: Box<str>,
    address: Option<SocketAddr>,
    time: SystemTime,
}

impl Handshake {
    /// Keeps what matters of a request.
    pub fn new(request: &Parts) -> Self {
        let url = request.uri.path_and_query().map_or("/", |path| path.as_str());
        let length: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 2).sum();
        let mut text = String::with_capacity(url.len() + length);
        text.push_str(url);
        for (name, value) in &request.headers {
            text.push('\n');
            text.push_str(name.as_str());
            text.push('\r');
            // Bytes outside ASCII are read as Latin-1, as Node does.
            text.extend(value.as_bytes().iter().map(|byte| char::from(*byte)));
        }
        let address = request.extensions.get::<PeerAddr>().map(|peer| peer.0);
        Self { text: text.into_boxed_str(), address, time: SystemTime::now() }
    }

    /// Path and query, as requested.
    pub fn url(&self) -> &str {
        self.text.split('\n').next().unwrap_or_default()
    }

    /// Headers in the order they came, names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.split('\n').skip(1).filter_map(|line| line.split_once('\r'))
    }

    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(header, _)| *header == name).map(|(_, value)| value)
    }

    /// Query parameters in the order they came.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let query = self.url().split_once('?').map_or("", |(_, query)| query);
        form_urlencoded::parse(query.as_bytes())
    }

    /// The peer's address, if the server told it ([`PeerAddr`]).
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// When the request came.
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// Whether a page of another origin may have made the request: it has an Origin header.
    pub fn is_cross_domain(&self) -> bool {
        self.header("origin").is_some()
    }
}

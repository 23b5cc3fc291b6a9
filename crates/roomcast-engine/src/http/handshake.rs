//! [`Handshake`]: what is kept of a session's first request.

use crate::http::header_words::{NAMES, VALUES, lengthen, shorten, value};
use crate::http::trusted_proxies::{TrustedProxies, X_FORWARDED_FOR, nth_address};
use http::header::HeaderValue;
use http::request::Parts;
use http::uri::Scheme;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Address of a request's peer, as a request extension. [`serve`](crate::serve) sets it; with another server a layer
/// may. Without it, no client has an address: [`Handshake::client_address`] returns `None`, and no rate per address
/// applies.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddr(pub SocketAddr);

/// Marks a request that came over TLS, as a request extension. [`serve`](crate::serve) sets it if it speaks TLS itself
/// (`ServeOptions::tls`). If you put the service behind a TLS acceptor, add it with a layer around the service. As in Node, TLS that a proxy
/// terminated does not count. A request whose URI begins with `https` needs no mark.
#[derive(Debug, Clone, Copy)]
pub struct Secure;

/// The first request of a session: URL, headers, address and time. The text is one compact string, which takes less
/// memory than a map; a name is found by a walk over it, as it is rarely asked for.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// `url\nheader\nheader…`. A header is `name\rvalue`. A name of [`NAMES`] is a single character, without the `\r`;
    /// a URL or value of [`VALUES`] is a single character too. URLs and headers contain no control character other than
    /// a tab.
    text: Box<str>,
    ip: Option<IpAddr>,
    port: u16,
    secure: bool,
    /// The entry of `X-Forwarded-For` that names the client, counted from the right and from 1; 0 if the peer is the
    /// client. The address is read from the headers when it is asked for, which takes no memory.
    client: u8,
    /// Nanoseconds since 1970; they fit until 2554.
    time: u64,
}

impl Handshake {
    /// What is kept of this request. The client is the peer.
    pub fn new(request: &Parts) -> Self {
        Self::behind(&TrustedProxies::none(), request)
    }

    /// What is kept of this request, which may have come through one of these proxies.
    pub fn behind(proxies: &TrustedProxies, request: &Parts) -> Self {
        let url = request.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut text = String::with_capacity(512);
        let push = |text: &mut String, value: &str| match shorten(value, &VALUES) {
            Some(short) => text.push(short),
            None => text.push_str(value),
        };
        push(&mut text, url);
        for (name, value) in &request.headers {
            text.push('\n');
            match shorten(name.as_str(), &NAMES) {
                Some(short) => text.push(short),
                None => {
                    text.push_str(name.as_str());
                    text.push('\r');
                }
            }
            match value.to_str() {
                Ok(value) => push(&mut text, value),
                // Bytes outside ASCII are read as Latin-1, as Node does.
                Err(_) => text.extend(value.as_bytes().iter().map(|byte| char::from(*byte))),
            }
        }
        let address = peer(request);
        let client = address.map_or(0, |address| proxies.client_entry(address.ip(), &request.headers));
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            // A copy of the exact size.
            text: Box::from(&*text),
            ip: address.map(|address| address.ip()),
            port: address.map_or(0, |address| address.port()),
            secure: request.extensions.get::<Secure>().is_some() || request.uri.scheme() == Some(&Scheme::HTTPS),
            client,
            time: time.as_nanos() as u64,
        }
    }

    /// Path and query, as requested.
    pub fn url(&self) -> &str {
        value(self.text.split('\n').next().unwrap_or_default())
    }

    /// Headers in the order in which they came, with names in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text.split('\n').skip(1).filter_map(|header| {
            let named = header.bytes().next().and_then(|first| lengthen(first, &NAMES));
            let (name, rest) = match named {
                Some(name) => (name, &header[1..]),
                None => header.split_once('\r')?,
            };
            Some((name, value(rest)))
        })
    }

    /// The first header with this name, which must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(header, _)| *header == name).map(|(_, value)| value)
    }

    /// Query parameters in the order in which they came.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let query = self.url().split_once('?').map_or("", |(_, query)| query);
        form_urlencoded::parse(query.as_bytes())
    }

    /// The peer's address, if the server set it ([`PeerAddr`]), without the scope of an IPv6 address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.port))
    }

    /// The client's address: that of the peer, or if that is a trusted proxy, the one that the proxy names
    /// ([`EngineConfig::trusted_proxies`](crate::EngineConfig::trusted_proxies)). `None` if the server set no
    /// [`PeerAddr`].
    pub fn client_address(&self) -> Option<IpAddr> {
        if self.client > 0 {
            let named = self.headers().filter(|(name, _)| *name == X_FORWARDED_FOR.as_str());
            let values: Vec<&[u8]> = named.map(|(_, value)| value.as_bytes()).collect();
            if let Some(address) = nth_address(values.into_iter().rev(), self.client) {
                return Some(address);
            }
        }
        self.ip.map(|ip| ip.to_canonical())
    }

    /// When the request came.
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.time)
    }

    /// [`Handshake::time`] in nanoseconds since 1970.
    pub(crate) fn nanoseconds(&self) -> u64 {
        self.time
    }

    /// Whether the request came over TLS, as far as the server knows ([`Secure`]).
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether a page of another origin may have made the request, as it has an Origin header.
    pub fn is_cross_domain(&self) -> bool {
        self.header("origin").is_some()
    }
}

fn peer(request: &Parts) -> Option<SocketAddr> {
    request.extensions.get::<PeerAddr>().map(|peer| peer.0)
}

impl TrustedProxies {
    /// The client's address, as [`Handshake::client_address`] will return it: for
    /// [`EngineConfig::allow_request`](crate::EngineConfig::allow_request) and services of your own. `None` if the
    /// request has no [`PeerAddr`].
    pub fn client_address(&self, request: &Parts) -> Option<IpAddr> {
        let peer = peer(request)?.ip();
        let values = request.headers.get_all(X_FORWARDED_FOR).iter().rev().map(HeaderValue::as_bytes);
        nth_address(values, self.client_entry(peer, &request.headers)).or(Some(peer.to_canonical()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(url: &str, headers: &[(&str, &str)]) -> Handshake {
        let mut request = http::Request::builder().uri(url);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Handshake::new(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn abbreviated_headers_are_returned_as_they_came() {
        for url in ["/", "/socket.io/?EIO=4&transport=websocket", "/socket.io/?EIO=4&transport=websocket&t=x", "/?"] {
            assert_eq!(handshake(url, &[]).url(), url);
        }
        let values = ["", "x", "13", "130", "Upgrade", "upgrade", "a\tb", "no-cache, no-store", "é"];
        let names = NAMES.iter().copied().chain(["x-own", "a", "cookie2"]);
        let headers: Vec<_> =
            names.flat_map(|name| VALUES.iter().chain(&values).map(move |value| (name, *value))).collect();
        let kept = handshake("/a", &headers);
        // Bytes outside ASCII are Latin-1.
        let latin = |value: &str| value.bytes().map(char::from).collect::<String>();
        let came: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), latin(value))).collect();
        let mut returned: Vec<_> = kept.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        // The map of `http` keeps values of one name together, in their order.
        returned.sort_by_key(|(name, _)| headers.iter().position(|(other, _)| other == name));
        assert_eq!(returned, came);
        assert_eq!(kept.header("upgrade"), Some(VALUES[0]));
        assert_eq!((kept.header("missing"), kept.url()), (None, "/a"));
    }

    #[test]
    fn a_browsers_handshake_is_kept_in_less_than_it_came_in() {
        let headers = [
            ("host", "chat.example.com"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "AAECAwQFBgcICQoLDA0ODw=="),
            ("origin", "https://chat.example.com"),
        ];
        let kept = handshake(VALUES[0], &headers);
        let values = "chat.example.com".len() + "AAECAwQFBgcICQoLDA0ODw==".len() + "https://chat.example.com".len();
        // A character for each name and each well-known value, and the line feeds.
        assert_eq!(kept.text.len(), 1 + headers.len() * 2 + 3 + values);
    }

    #[test]
    fn the_client_is_the_peer_or_whom_a_trusted_proxy_names() {
        let proxies: TrustedProxies = "10.0.0.0/8".parse().unwrap();
        let long = vec!["10.0.0.2"; 200].join(",");
        for (peer, headers, client) in [
            (None, &[][..], None),
            (None, &["198.51.100.1"], None),
            (Some("192.0.2.1:5"), &["198.51.100.1"], Some("192.0.2.1")),
            (Some("[::ffff:192.0.2.1]:5"), &[], Some("192.0.2.1")),
            (Some("10.0.0.1:5"), &[], Some("10.0.0.1")),
            (Some("10.0.0.1:5"), &["198.51.100.1"], Some("198.51.100.1")),
            (Some("10.0.0.1:5"), &["192.0.2.7", "198.51.100.1,10.0.0.9", "10.0.0.2"], Some("198.51.100.1")),
            (Some("10.0.0.1:5"), &["198.51.100.1, é, 10.0.0.3"], Some("10.0.0.3")),
            (Some("10.0.0.1:5"), &[&long], Some("10.0.0.2")),
        ] {
            let mut request = http::Request::builder();
            for value in headers {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                request = request.header("x-forwarded-for", value).header("cookie", "a=b");
            }
            let (mut request, ()) = request.body(()).unwrap().into_parts();
            let peer: Option<SocketAddr> = peer.map(|peer| peer.parse().unwrap());
            if let Some(peer) = peer {
                request.extensions.insert(PeerAddr(peer));
            }
            let kept = Handshake::behind(&proxies, &request);
            let client = client.map(|client| client.parse::<IpAddr>().unwrap());
            assert_eq!(kept.client_address(), client, "{peer:?} {headers:?}");
            assert_eq!(proxies.client_address(&request), client, "{peer:?} {headers:?}");
            // What Node calls the address does not change.
            assert_eq!(kept.address(), peer);
            assert_eq!(Handshake::new(&request).client_address(), peer.map(|peer| peer.ip().to_canonical()));
        }
        // It must take no more memory: there is one for each session.
        assert_eq!(size_of::<Handshake>(), 48);
    }

    #[test]
    fn address_tls_and_time() {
        for address in ["127.0.0.1:80", "[2001:db8::1]:65535"] {
            let address: SocketAddr = address.parse().unwrap();
            let (mut request, ()) = http::Request::new(()).into_parts();
            request.extensions.insert(PeerAddr(address));
            assert_eq!(Handshake::new(&request).address(), Some(address));
        }
        assert!(!handshake("/", &[]).is_secure() && handshake("https://a/", &[]).is_secure());
        let (mut request, ()) = http::Request::new(()).into_parts();
        request.extensions.insert(Secure);
        assert!(Handshake::new(&request).is_secure());
        let before = SystemTime::now();
        let kept = handshake("/", &[]);
        assert!(before <= kept.time() && kept.time() <= SystemTime::now());
        assert_eq!(kept.address(), None);
    }
}

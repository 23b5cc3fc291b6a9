//! [`Origin`]: a web origin as a browser or an app sends it, and [`Pattern`]: an origin as people write it into a list.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A web origin in normal form: in lower case, with the default port filled in, and with `http` for `ws`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Scheme, host and effective port: without a port, `http` has 80 and `https` 443. Other schemes have no default
    /// port.
    Tuple { scheme: String, host: String, port: Option<u16> },
    /// `null`: pages from files and sandboxed frames, which cannot be distinguished.
    Opaque,
}

/// An entry in a list of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    Exact(Origin),
    /// `https://*.example.com`: one label or more before this host.
    Below {
        scheme: String,
        parent: String,
        port: Option<u16>,
    },
}

impl Origin {
    /// Reads an Origin header, also in the spellings of programs that are not browsers: with a default port, a slash at
    /// its end, in upper case, or with the scheme of a WebSocket. `None` if it is not an origin.
    pub(crate) fn read(text: &str) -> Option<Self> {
        if text == "null" || text.trim_end_matches('/').eq_ignore_ascii_case("file:") {
            return Some(Self::Opaque);
        }
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let scheme = scheme.to_ascii_lowercase();
        let scheme = match &*scheme {
            "ws" => "http".to_owned(),
            "wss" => "https".to_owned(),
            _ => scheme,
        };
        let (host, port) = host_and_port(authority)?;
        let port = port.or(default_port(&scheme));
        Some(Self::Tuple { scheme, host, port })
    }

    /// Whether no browser writes an origin like this: with the scheme of a WebSocket, with the default port, or with a
    /// slash. A program has made it from the URL that it connects to; it proves nothing, and comes with no browser's
    /// cookies.
    pub(crate) fn is_of_a_program(text: &str) -> bool {
        let Some((scheme, rest)) = text.split_once("://") else { return false };
        let written = host_and_port(rest.strip_suffix('/').unwrap_or(rest)).and_then(|(_, port)| port);
        let scheme = scheme.to_ascii_lowercase();
        matches!(&*scheme, "ws" | "wss")
            || (matches!(&*scheme, "http" | "https") && rest.ends_with('/'))
            || (written.is_some() && written == default_port(&scheme))
    }

    /// The origin as browsers write it.
    pub(crate) fn canonical(&self) -> String {
        match self {
            Self::Opaque => "null".to_owned(),
            Self::Tuple { scheme, host, port } => match port.filter(|_| *port != default_port(scheme)) {
                Some(port) => format!("{scheme}://{host}:{port}"),
                None => format!("{scheme}://{host}"),
            },
        }
    }

    /// Whether this Host header names the origin.
    pub(crate) fn is_at(&self, host_header: &str) -> bool {
        let Self::Tuple { scheme, host, port } = self else { return false };
        let Some((named, named_port)) = host_and_port(host_header) else { return false };
        *host == named && *port == named_port.or(default_port(scheme))
    }
}

/// What is wrong with an entry in a list, and what to write instead where that is clear.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) what: &'static str,
    pub(crate) instead: Option<String>,
}

fn wrong<T>(what: &'static str, instead: impl Into<Option<String>>) -> Result<T, Wrong> {
    Err(Wrong { what, instead: instead.into() })
}

impl Pattern {
    /// Reads an entry in a list. An origin that no browser can send is an error.
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        if let Some(bare) = unquoted(text) {
            return wrong("is in quotes", bare.to_owned());
        }
        if let Some(Origin::Opaque) = Origin::read(text) {
            return Ok(Self::Exact(Origin::Opaque));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let host = host_and_port(text.strip_prefix("*.").unwrap_or(text)).map(|(host, _)| host);
            let scheme = |host: String| {
                let is_near = host == "localhost" || host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
                if is_near { "http" } else { "https" }
            };
            return wrong("has no scheme", host.map(|host| format!("{}://{text}", scheme(host))));
        };
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme {
            return wrong("has no scheme that a browser knows", None);
        }
        let (authority, path) = match rest.find(['/', '?', '#', '\\']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if !matches!(path, "" | "/") {
            return wrong("has a path, and an origin has none", format!("{scheme}://{authority}"));
        }
        if let Some((_, host)) = authority.rsplit_once('@') {
            return wrong("has a user, and an origin has none", format!("{scheme}://{host}"));
        }
        let (below, authority) = match authority.strip_prefix("*.") {
            Some(parent) => (true, parent),
            None => (false, authority),
        };
        if authority.contains('*') {
            return wrong("has a * that does not stand for whole labels at the beginning of its host", None);
        }
        if !authority.is_ascii() {
            return wrong("has a host that browsers send as its ASCII form, which begins with xn--", None);
        }
        let Some(Origin::Tuple { scheme, host, port }) = Origin::read(&format!("{scheme}://{authority}")) else {
            return wrong("has no host, or no valid port", None);
        };
        if below {
            return Ok(Self::Below { scheme, parent: host, port });
        }
        Ok(Self::Exact(Origin::Tuple { scheme, host, port }))
    }

    pub(crate) fn matches(&self, origin: &Origin) -> bool {
        match (self, origin) {
            (Self::Exact(exact), origin) => exact == origin,
            (Self::Below { scheme, parent, port }, Origin::Tuple { scheme: its, host, port: its_port }) => {
                let labels = host.strip_suffix(&**parent).and_then(|labels| labels.strip_suffix('.'));
                scheme == its && port == its_port && labels.is_some_and(|labels| !labels.is_empty())
            }
            (Self::Below { .. }, Origin::Opaque) => false,
        }
    }
}

/// The text without its quotes, if it has any.
fn unquoted(text: &str) -> Option<&str> {
    let quotes = ['"', '\'', '`'];
    let bare = text.trim_matches(quotes);
    (bare != text).then_some(bare)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Host in lower case, and the port if one is written.
fn host_and_port(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (format!("[{address}]"), rest)
        }
        None => {
            let at = authority.find(':').unwrap_or(authority.len());
            let (host, rest) = authority.split_at(at);
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if host.is_empty() || !host.bytes().all(legal) {
                return None;
            }
            (host.to_ascii_lowercase(), rest)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => Some(digits.parse().ok()?),
        None if port.is_empty() => None,
        _ => return None,
    };
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, origin: &str) -> bool {
        let pattern = Pattern::parse(pattern).unwrap();
        Origin::read(origin).is_some_and(|origin| pattern.matches(&origin))
    }

    #[test]
    fn one_origin_has_many_spellings() {
        let spellings = [
            "https://app.example",
            "https://app.example/",
            "HTTPS://App.Example",
            "https://app.example:443",
            "wss://app.example",
            "wss://app.example:443/",
        ];
        for written in spellings {
            for sent in spellings {
                assert!(matches(written, sent), "{written} {sent}");
            }
            for other in [
                "http://app.example",
                "https://app.example:8443",
                "https://app.example.evil",
                "https://evil-app.example",
                "https://example",
                "ws://app.example",
                "null",
                "app.example",
                "https://app.example/x",
                "https://app.example, https://app.example",
                "",
            ] {
                assert!(!matches(written, other), "{written} {other}");
            }
        }
        assert!(matches("http://127.0.0.1:3000", "http://127.0.0.1:3000"));
        assert!(matches("http://localhost:80", "ws://localhost"));
        assert!(matches("http://[::1]:3000", "http://[0:0::1]:3000"));
        assert!(!matches("http://[::1]:3000", "http://[::2]:3000"));
    }

    #[test]
    fn apps_have_schemes_of_their_own() {
        for app in
            ["capacitor://localhost", "ionic://localhost", "tauri://localhost", "app://.", "chrome-extension://abc"]
        {
            assert!(matches(app, app) && matches(&format!("{app}/"), app), "{app}");
            assert!(!matches(app, "https://localhost") && !matches(app, "app://other"));
        }
        for opaque in ["null", "file://", "file:///", "FILE://"] {
            for sent in ["null", "file://", "file:///"] {
                assert!(matches(opaque, sent), "{opaque} {sent}");
            }
            assert!(!matches(opaque, "https://null"));
        }
    }

    #[test]
    fn a_star_stands_for_one_label_or_more() {
        let pattern = "https://*.Example.com";
        for inside in ["https://a.example.com", "https://a.b.example.com", "wss://a.example.com:443"] {
            assert!(matches(pattern, inside), "{inside}");
        }
        for outside in [
            "https://example.com",
            "https://.example.com",
            "https://aexample.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://a.example.com.evil",
            "null",
        ] {
            assert!(!matches(pattern, outside), "{outside}");
        }
        assert!(matches("http://*.localhost:3000", "http://a.localhost:3000"));
    }

    #[test]
    fn errors_suggest_what_to_write_instead() {
        let told = |text: &str| Pattern::parse(text).unwrap_err().instead;
        let instead = |text: &str| Some(text.to_owned());
        assert_eq!(told("\"*\""), instead("*"));
        assert_eq!(told("'https://app.example'"), instead("https://app.example"));
        assert_eq!(told("app.example.com"), instead("https://app.example.com"));
        assert_eq!(told("*.example.com"), instead("https://*.example.com"));
        assert_eq!(told("localhost:3000"), instead("http://localhost:3000"));
        assert_eq!(told("https://app.example/chat"), instead("https://app.example"));
        assert_eq!(told("https://app.example?x"), instead("https://app.example"));
        assert_eq!(told("https://user:secret@app.example"), instead("https://app.example"));
        for text in [
            "",
            "*",
            "https://",
            "https://*",
            "https://app.*.com",
            "https://*app.example",
            "*://app.example",
            "https://app.example:*",
            "https://app.example:99999",
            "https://app.example:x",
            "https://bücher.example",
            "https://[::1",
            "https://a b",
            "https:/app.example",
        ] {
            assert_eq!(told(text), None, "{text}");
        }
    }

    #[test]
    fn what_only_programs_send() {
        for text in ["wss://rt.example", "ws://rt.example:80", "https://rt.example:443", "http://rt.example/"] {
            assert!(Origin::is_of_a_program(text), "{text}");
        }
        for text in ["https://rt.example", "http://rt.example:443", "https://rt.example:8443", "null", "app://x/"] {
            assert!(!Origin::is_of_a_program(text), "{text}");
        }
    }

    #[test]
    fn a_host_names_an_origin_with_its_effective_port() {
        let is_at = |origin: &str, host: &str| Origin::read(origin).unwrap().is_at(host);
        for (origin, host) in [
            ("wss://rt.example", "rt.example:443"),
            ("wss://rt.example:443", "RT.example"),
            ("ws://rt.example", "rt.example:80"),
            ("ws://rt.example:3000", "rt.example:3000"),
        ] {
            assert!(is_at(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("wss://rt.example", "rt.example:80"),
            ("ws://rt.example", "rt.example:443"),
            ("wss://rt.example", "rt.example.evil"),
            ("wss://rt.example", ""),
            ("null", "null"),
        ] {
            assert!(!is_at(origin, host), "{origin} {host}");
        }
    }
}

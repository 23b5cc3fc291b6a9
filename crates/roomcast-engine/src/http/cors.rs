//! [`Cors`]: which web origins may connect to the server.

use crate::http::lately::Lately;
use crate::http::origin::{Origin, Pattern, Wrong};
use crate::limits::{REFUSED_ORIGINS, REFUSED_ORIGINS_TIME};
use crate::session::transport::Transport;
use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// Cross-origin rules. Without them no CORS header is sent, and browsers let only pages of the server's own origin read
/// answers.
///
/// A list of origins does more than CORS can: a WebSocket upgrade from an origin outside it is refused, since browsers
/// would let it through with the user's cookies. The list is complete: it must contain the server's own origin if the
/// server's pages are to open WebSockets. Programs that send no `Origin`, or one that no browser writes, are accepted.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Origins,
    credentials: bool,
    methods: HeaderValue,
    headers: Option<HeaderValue>,
    exposed: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    /// The origins that were refused lately. Each is logged once within [`REFUSED_ORIGINS_TIME`].
    refused: Arc<Lately<String>>,
}

#[derive(Clone)]
enum Origins {
    Any,
    List(Vec<Pattern>),
    Matching(Arc<Predicate>),
    Reflect,
}

type Predicate = dyn Fn(&str, &Parts) -> bool + Send + Sync;

/// An origin that no browser can send, or text that is not valid in an HTTP header. The text says how to write it
/// instead, where that is clear.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CorsError(String);

impl Cors {
    /// Every origin (`*`), without credentials.
    pub fn any() -> Self {
        Self::with(Origins::Any)
    }

    /// These origins; `*` alone is every origin. Origins are compared by scheme, host and effective port, so that
    /// `https://app.example`, `https://app.example:443`, `HTTPS://App.Example/` and `wss://app.example` are equal.
    ///
    /// - `https://*.example.com` is every origin below that host, one label or more: `https://a.b.example.com`, and not
    ///   `https://example.com`.
    /// - An app has a scheme of its own: `capacitor://localhost`, `tauri://localhost`.
    /// - `null` or `file://` is a page from a file. Sandboxed frames of any site have that origin too.
    ///
    /// # Errors
    /// [`CorsError`] for what no browser sends: a host without a scheme, a path, quotes, or a `*` elsewhere.
    pub fn origins<T: AsRef<str>>(origins: impl IntoIterator<Item = T>) -> Result<Self, CorsError> {
        let texts: Vec<T> = origins.into_iter().collect();
        if let [only] = &texts[..]
            && only.as_ref().trim() == "*"
        {
            return Ok(Self::any());
        }
        let patterns: Result<Vec<Pattern>, CorsError> =
            texts.iter().map(|text| pattern(text.as_ref().trim())).collect();
        Ok(Self::with(Origins::List(patterns?)))
    }

    /// The origins for which `allows` returns `true`. It is given the `Origin` header as it came, and the request. It
    /// is called for each request with such a header, so it should be quick.
    pub fn matching(allows: impl Fn(&str, &Parts) -> bool + Send + Sync + 'static) -> Self {
        Self::with(Origins::Matching(Arc::new(allows)))
    }

    /// Every origin, by name. With [`Cors::credentials`] every web page may use the user's cookies: think twice.
    pub fn reflect() -> Self {
        Self::with(Origins::Reflect)
    }

    /// Lets browsers send cookies.
    #[must_use]
    pub fn credentials(mut self, credentials: bool) -> Self {
        self.credentials = credentials;
        self
    }

    /// Request headers that are allowed, comma separated. Defaults to those that a preflight asks for.
    ///
    /// # Errors
    /// [`CorsError`] if the text is not valid in a header.
    pub fn allowed_headers(mut self, headers: &str) -> Result<Self, CorsError> {
        self.headers = Some(value(headers)?);
        Ok(self)
    }

    /// Headers of answers that pages may read, comma separated. Defaults to none beside those that browsers always show.
    ///
    /// # Errors
    /// [`CorsError`] if the text is not valid in a header.
    pub fn exposed_headers(mut self, headers: &str) -> Result<Self, CorsError> {
        self.exposed = Some(value(headers)?);
        Ok(self)
    }

    /// Methods that a preflight's answer names, comma separated. Defaults to `GET,HEAD,PUT,PATCH,POST,DELETE`, as in Node. The server uses
    /// GET and POST.
    ///
    /// # Errors
    /// [`CorsError`] if the text is not valid in a header.
    pub fn methods(mut self, methods: &str) -> Result<Self, CorsError> {
        self.methods = value(methods)?;
        Ok(self)
    }

    /// Seconds for which a browser may keep a preflight's answer.
    #[must_use]
    pub fn max_age(mut self, seconds: u32) -> Self {
        self.max_age = Some(HeaderValue::from(seconds));
        self
    }

    fn with(origins: Origins) -> Self {
        let methods = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE");
        let refused = Arc::new(Lately::new(REFUSED_ORIGINS, REFUSED_ORIGINS_TIME));
        Self { origins, credentials: false, methods, headers: None, exposed: None, max_age: None, refused }
    }

    /// Adds the headers of any answer. A refusal to an origin that is not allowed does not name an origin that is.
    pub(crate) fn apply<B>(&self, request: &Parts, answer: &mut Response<B>) {
        let origin = request.headers.get(header::ORIGIN).filter(|_| self.lists(request));
        let allowed = match (&self.origins, origin) {
            (Origins::Any, _) => Some(HeaderValue::from_static("*")),
            // As it came, since a browser compares it with its own spelling.
            (_, Some(origin)) => Some(origin.clone()),
            // As Node, which names a single origin to every client.
            (Origins::List(list), None) if !answer.status().is_client_error() => match &list[..] {
                [Pattern::Exact(one)] => HeaderValue::try_from(one.canonical()).ok(),
                _ => None,
            },
            (_, None) => None,
        };
        let answer = answer.headers_mut();
        if let Some(allowed) = allowed {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
        if !matches!(self.origins, Origins::Any) {
            vary(answer, &header::ORIGIN);
        }
        if self.credentials {
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(exposed) = &self.exposed {
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }

    /// Adds the further headers of a preflight's answer.
    pub(crate) fn apply_preflight(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        if let Some(headers) = &self.headers {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        } else if let Some(headers) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            vary(answer, &header::ACCESS_CONTROL_REQUEST_HEADERS);
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        }
        if let Some(max_age) = &self.max_age {
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
    }

    /// Whether a session may be opened. Programs may open one that send no Origin, or make one from the server's own
    /// name (docs/decisions/0016-origins.md). A refusal is logged for the operator.
    pub(crate) fn allows(&self, request: &Parts, transport: Transport) -> bool {
        let Some(origin) = request.headers.get(header::ORIGIN) else { return true };
        if self.lists(request) || self.is_own_program(request) {
            return true;
        }
        let text = |value: Option<&HeaderValue>| {
            let text = String::from_utf8_lossy(value.map_or(b"", HeaderValue::as_bytes)).into_owned();
            // Nothing that a client sent is logged whole.
            text.chars().take(100).collect::<String>()
        };
        let (origin, host) = (text(Some(origin)), text(request.headers.get(header::HOST)));
        if self.refused.is_new(origin.clone(), Instant::now()) {
            let transport = transport.as_str();
            tracing::warn!(
                origin,
                host,
                transport,
                "an origin that is not allowed wants to connect: its WebSockets are refused, and browsers do not let it read its polls. If it is yours, add it to the allowed origins: APP_URL of the program, `Cors::origins` in code"
            );
        }
        false
    }

    /// Whether the request's origin is allowed.
    fn lists(&self, request: &Parts) -> bool {
        if let Origins::Any | Origins::Reflect = self.origins {
            return true;
        }
        let Some(origin) = one_origin(&request.headers) else { return false };
        match &self.origins {
            Origins::Any | Origins::Reflect => true,
            Origins::List(list) => {
                Origin::read(origin).is_some_and(|origin| list.iter().any(|pattern| pattern.matches(&origin)))
            }
            Origins::Matching(allows) => allows(origin, request),
        }
    }

    /// Whether a program made the Origin from the URL that it connects to, in a spelling that no browser uses.
    fn is_own_program(&self, request: &Parts) -> bool {
        let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let (Origins::List(_), Some(origin), Some(host)) = (&self.origins, one_origin(&request.headers), host) else {
            return false;
        };
        Origin::is_of_a_program(origin) && Origin::read(origin).is_some_and(|origin| origin.is_at(host))
    }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("Any"),
            Self::List(list) => f.debug_tuple("List").field(list).finish(),
            Self::Matching(_) => f.write_str("Matching"),
            Self::Reflect => f.write_str("Reflect"),
        }
    }
}

fn value(text: &str) -> Result<HeaderValue, CorsError> {
    HeaderValue::from_str(text.trim()).map_err(|_| CorsError(format!("{text:?} is not valid in an HTTP header")))
}

/// The Origin header, if there is exactly one.
fn one_origin(headers: &HeaderMap) -> Option<&str> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = origins.next()?.to_str().ok()?;
    if origins.next().is_none() { Some(origin) } else { None }
}

fn pattern(text: &str) -> Result<Pattern, CorsError> {
    if text == "*" {
        return Err(CorsError("\"*\" is every origin: give it alone".to_owned()));
    }
    Pattern::parse(text).map_err(|Wrong { what, instead }| {
        let instead = instead.map(|instead| format!("; write {instead:?}")).unwrap_or_default();
        CorsError(format!("{text:?} {what}: no browser sends it as its origin{instead}"))
    })
}

fn vary(answer: &mut HeaderMap, name: &HeaderName) {
    let name = match name {
        name if *name == header::ORIGIN => "Origin",
        _ => "Access-Control-Request-Headers",
    };
    let joined = answer.get(header::VARY).and_then(|vary| vary.to_str().ok()).map(|vary| format!("{vary}, {name}"));
    let joined = joined.and_then(|vary| HeaderValue::from_str(&vary).ok());
    answer.insert(header::VARY, joined.unwrap_or(HeaderValue::from_static(name)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::new(()).into_parts().0;
        for (name, value) in headers {
            request.headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        request
    }

    fn allowed(cors: &Cors, origin: &str, host: &str) -> bool {
        cors.allows(&request(&[("host", host), ("origin", origin)]), Transport::WebSocket)
    }

    #[test]
    fn a_list_is_complete() {
        let cors = Cors::origins(["https://app.example"]).unwrap();
        assert!(allowed(&cors, "https://app.example", "rt.example"));
        assert!(cors.allows(&request(&[("host", "rt.example")]), Transport::WebSocket));
        for (origin, host) in [
            ("https://evil.example", "rt.example"),
            ("https://app.example.evil", "rt.example"),
            ("null", "rt.example"),
            // A page over plain HTTP, which anyone on the way may have written, though it has the same host.
            ("http://app.example", "app.example"),
            // A name that leads to this machine (DNS rebinding).
            ("http://evil.example:3000", "evil.example:3000"),
            ("https://rt.example", "rt.example"),
            // An origin that an app made from the URL that it connects to, for another host.
            ("wss://evil.example", "rt.example"),
            ("wss://rt.example:8443", "rt.example"),
        ] {
            assert!(!allowed(&cors, origin, host), "{origin} {host}");
        }
        // Programs that make an Origin from the URL that they connect to.
        for (origin, host) in [
            ("wss://rt.example", "rt.example:443"),
            ("ws://rt.example", "rt.example:80"),
            ("https://rt.example:443", "rt.example"),
            ("https://rt.example/", "rt.example"),
        ] {
            assert!(allowed(&cors, origin, host), "{origin} {host}");
        }
        assert!(allowed(&Cors::any(), "https://evil.example", "rt.example"));
        let twice = [("origin", "https://app.example"), ("origin", "https://evil.example")];
        assert!(!cors.allows(&request(&twice), Transport::WebSocket));
    }

    #[test]
    fn a_predicate_sees_origin_and_request() {
        let cors = Cors::matching(|origin, request| {
            origin.ends_with(".example") && request.headers.get("host").is_some_and(|host| host == "rt.example")
        });
        assert!(allowed(&cors, "https://App.example", "rt.example"));
        assert!(!allowed(&cors, "https://app.example", "other.example"));
        assert!(!allowed(&cors, "https://evil", "rt.example"));
        assert!(cors.allows(&request(&[]), Transport::WebSocket));
    }

    #[test]
    fn errors_say_how_to_write_it() {
        let error = |list: &[&str]| Cors::origins(list).unwrap_err().to_string();
        assert_eq!(
            error(&["app.example.com"]),
            r#""app.example.com" has no scheme: no browser sends it as its origin; write "https://app.example.com""#
        );
        assert_eq!(error(&["\"*\""]), r#""\"*\"" is in quotes: no browser sends it as its origin; write "*""#);
        assert_eq!(error(&["https://a.example", "*"]), r#""*" is every origin: give it alone"#);
        assert!(error(&[""]).starts_with(r#""" has no scheme"#));
        assert!(Cors::origins(["*"]).is_ok() && Cors::origins([" https://*.a.example "]).is_ok());
    }
}

//! [`Cors`]: which web origins may talk to the server.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Cross-origin rules. Without them no CORS header is sent and browsers let only the server's own origin read.
///
/// A list of origins does more than CORS can: a WebSocket upgrade from an origin outside it is refused, since browsers
/// would let it through with the user's cookies.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Origins,
    credentials: bool,
    methods: HeaderValue,
    headers: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
}

#[derive(Debug, Clone)]
enum Origins {
    Any,
    One(HeaderValue),
    List(Vec<HeaderValue>),
    Reflect,
}

/// An origin or header list that cannot stand in an HTTP header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot stand in an HTTP header")]
pub struct CorsError(String);

impl Cors {
    /// Every origin (`*`), without credentials.
    pub fn any() -> Self {
        Self::with(Origins::Any)
    }

    /// These origins, such as `https://app.example.com`; `*` alone is every origin.
    ///
    /// # Errors
    /// [`CorsError`] for text that cannot be an origin.
    pub fn origins<T: AsRef<str>>(origins: impl IntoIterator<Item = T>) -> Result<Self, CorsError> {
        let values: Result<Vec<HeaderValue>, CorsError> =
            origins.into_iter().map(|origin| value(origin.as_ref())).collect();
        let mut values = values?;
        Ok(Self::with(match values.len() {
            1 if values[0] == "*" => Origins::Any,
            1 => Origins::One(values.remove(0)),
            _ => Origins::List(values),
        }))
    }

    /// Whatever origin asks. With [`Cors::credentials`] that gives every web page the user's cookies: think twice.
    pub fn reflect() -> Self {
        Self::with(Origins::Reflect)
    }

    /// Lets browsers send cookies.
    #[must_use]
    pub fn credentials(mut self, credentials: bool) -> Self {
        self.credentials = credentials;
        self
    }

    /// Request headers that are allowed, comma separated. By default those that a preflight asks for.
    ///
    /// # Errors
    /// [`CorsError`].
    pub fn allowed_headers(mut self, headers: &str) -> Result<Self, CorsError> {
        self.headers = Some(value(headers)?);
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
        Self { origins, credentials: false, methods, headers: None, max_age: None }
    }

    /// The headers of any answer.
    pub(crate) fn apply(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let origin = request.get(header::ORIGIN);
        let allowed = match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::One(one) => Some(one.clone()),
            Origins::List(list) => origin.filter(|origin| list.contains(origin)).cloned(),
            Origins::Reflect => origin.cloned(),
        };
        if let Some(allowed) = allowed {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
        if !matches!(self.origins, Origins::Any) {
            vary(answer, &header::ORIGIN);
        }
        if self.credentials {
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// The further headers of a preflight's answer.
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

    /// Whether a WebSocket may be opened. Programs that are no browser send no Origin and may, and so may pages that this
    /// server itself serves: their origin is the host of the request.
    pub(crate) fn allows_upgrade(&self, request: &HeaderMap) -> bool {
        let Some(origin) = request.get(header::ORIGIN) else { return true };
        let listed = match &self.origins {
            Origins::Any | Origins::Reflect => true,
            Origins::One(one) => origin == one,
            Origins::List(list) => list.contains(origin),
        };
        listed || is_own(origin, request.get(header::HOST))
    }
}

/// Whether an origin such as `https://example.com:8080` is that of the host.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, authority)| authority);
    let host = host.and_then(|host| host.to_str().ok());
    matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
}

fn value(text: &str) -> Result<HeaderValue, CorsError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(CorsError(text.to_owned()));
    }
    HeaderValue::from_str(text).map_err(|_| CorsError(text.to_owned()))
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

    fn allowed(cors: &Cors, origin: Option<&'static str>, host: &'static str) -> bool {
        let mut request = HeaderMap::new();
        request.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            request.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        cors.allows_upgrade(&request)
    }

    #[test]
    fn a_list_of_origins_lets_in_those_its_own_pages_and_programs() {
        let cors = Cors::origins(["https://app.example"]).unwrap();
        assert!(allowed(&cors, Some("https://app.example"), "rt.example"));
        assert!(allowed(&cors, Some("https://RT.example"), "rt.example"));
        assert!(allowed(&cors, Some("http://127.0.0.1:3000"), "127.0.0.1:3000"));
        assert!(allowed(&cors, None, "rt.example"));
        for origin in ["https://evil.example", "https://app.example.evil", "null", "https://rt.example:8443"] {
            assert!(!allowed(&cors, Some(origin), "rt.example"), "{origin}");
        }
        assert!(allowed(&Cors::any(), Some("https://evil.example"), "rt.example"));
    }
}

//! What is kept of a handshake, namely its URL and headers as they came; and the headers of a WebSocket handshake.

use crate::input::Input;
use crate::novelty::{seen, size};
use http::{HeaderName, HeaderValue, Request, Uri};
use roomcast_engine::Handshake;
use roomcast_protocol::websocket::{accept_key, first_subprotocol, is_valid_key};

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let url = input.piece();
    let Ok(uri) = Uri::try_from(url) else { return };
    let (mut request, ()) = Request::builder().uri(uri).body(()).unwrap().into_parts();
    while !input.is_empty() {
        let name = HeaderName::from_bytes(input.piece());
        let value = HeaderValue::from_bytes(input.piece());
        if let (Ok(name), Ok(value)) = (name, value)
            && request.headers.len() < 100
        {
            request.headers.append(name, value);
        }
    }
    let kept = Handshake::new(&request);
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    assert_eq!(kept.url(), path);
    // Bytes outside ASCII are Latin-1.
    let latin = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect::<String>();
    let came = request.headers.iter().map(|(name, value)| (name.as_str().to_owned(), latin(value)));
    let told = kept.headers().map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(came.eq(told), "{:?} is kept as {kept:?}", request.headers);
    assert_eq!(kept.is_cross_domain(), request.headers.contains_key("origin"));
    let parameters = kept.query().count();
    seen((size(path.len()), size(request.headers.len()), size(parameters)));

    for value in request.headers.values() {
        let key = value.as_bytes();
        let valid = is_valid_key(key);
        assert!(!valid || key.len() == 24);
        assert_eq!(accept_key(key).len(), 28);
        let offered = value.to_str().ok();
        let first = offered.and_then(first_subprotocol);
        if let (Some(offered), Some(first)) = (offered, first) {
            assert!(!first.is_empty() && !first.contains([',', ' ', '\t', '"']), "{first:?} of {offered:?}");
            assert!(offered.contains(first));
        }
        seen((valid, first.is_some(), size(key.len())));
    }
}

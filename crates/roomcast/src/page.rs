//! [`Page`]: the chat page.

use crate::one_path::Answer;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};
use roomcast_server::engine::Body;

static PAGE: &str = include_str!("chat.html");

/// The chat page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page;

impl Answer for Page {
    async fn answer(self) -> Response<Body> {
        let mut response = Response::new(Body::from(Bytes::from_static(PAGE.as_bytes())));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

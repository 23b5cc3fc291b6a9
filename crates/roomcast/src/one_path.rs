//! [`OnePath`]: a service that answers `GET` and `HEAD` of one path, and 404 to every other path.

use http::header::ALLOW;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use roomcast_server::engine::{Body, NotFound};
use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_service::Service;

/// Makes the answer to `GET` and `HEAD`. hyper leaves out the body of the answer to `HEAD`.
pub(crate) trait Answer: Clone + Send + 'static {
    fn answer(self) -> impl Future<Output = Response<Body>> + Send;
}

/// The path, and what answers it. `OPTIONS` is answered with 204, as HAProxy's default health check is `OPTIONS /`, and other methods with
/// 405; both with `Allow`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnePath<A>(pub(crate) &'static str, pub(crate) A);

impl<A: Answer, B> Service<Request<B>> for OnePath<A> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self(path, answer) = self;
        if request.uri().path() != *path {
            return NotFound.call(request);
        }
        let status = match *request.method() {
            Method::GET | Method::HEAD => {
                let answer = answer.clone();
                return Box::pin(async move { Ok(answer.answer().await) });
            }
            Method::OPTIONS => StatusCode::NO_CONTENT,
            _ => StatusCode::METHOD_NOT_ALLOWED,
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
        Box::pin(ready(Ok(response)))
    }
}

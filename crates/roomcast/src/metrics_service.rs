//! [`MetricsService`]: answers `GET /metrics` of Prometheus, and 404 to everything else.

use crate::exporter::Exporter;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use roomcast_server::engine::{Body, NotFound};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_service::Service;

/// What the internal listener serves besides the health checks.
#[derive(Clone)]
pub(crate) struct MetricsService(pub(crate) Exporter);

impl<B> Service<Request<B>> for MetricsService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if request.uri().path() != "/metrics" {
            return NotFound.call(request);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Box::pin(async move { Ok(response) });
        }
        let exporter = self.0.clone();
        Box::pin(async move {
            let mut response = Response::new(Body::from(Bytes::from(exporter.scrape().await)));
            let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, text);
            Ok(response)
        })
    }
}

//! [`HealthService`]: answers the health checks of load balancers and orchestrators.

use crate::health::Health;
use crate::io::SocketIo;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Either;
use roomcast_engine::Body;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_service::Service;

/// A tower service with two paths; other requests go to `others`.
///
/// | path | status |
/// |---|---|
/// | `/healthz` | 200 as long as the process answers. A failure is a reason to restart it |
/// | `/readyz` | 200 if [`Health::is_ready`], else 503. A failure is a reason to send clients elsewhere |
///
/// Both answer GET with the JSON of [`Health`], and HEAD and OPTIONS (HAProxy's default) with the same status and no body. Other
/// methods get 405. The answers are not to be cached (`Cache-Control: no-store`).
#[derive(Clone)]
pub struct HealthService<S> {
    io: SocketIo,
    others: S,
}

impl SocketIo {
    /// Answers health checks on `/healthz` and `/readyz`, and passes other requests to `others`.
    ///
    /// ```no_run
    /// # use roomcast_server::{SocketIo, engine::NotFound};
    /// # async fn run() -> std::io::Result<()> {
    /// let io = SocketIo::builder().build();
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    /// io.serve_with(listener, io.health_service(NotFound), std::future::pending()).await
    /// # }
    /// ```
    ///
    /// In an axum router: `.route_service("/readyz", io.health_service(NotFound))`.
    pub fn health_service<S>(&self, others: S) -> HealthService<S> {
        HealthService { io: self.clone(), others }
    }
}

impl<S, B, R> Service<Request<B>> for HealthService<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
    R: 'static,
{
    type Response = Response<Either<Body, R>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.others.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let health = || self.io.health();
        let response = match request.uri().path() {
            "/healthz" => answer(request.method(), StatusCode::OK, &health()),
            "/readyz" => {
                let health = health();
                let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                answer(request.method(), status, &health)
            }
            _ => {
                let answer = self.others.call(request);
                return Box::pin(async move { Ok(answer.await?.map(Either::Right)) });
            }
        };
        Box::pin(async move { Ok(response.map(Either::Left)) })
    }
}

fn answer(method: &Method, status: StatusCode, health: &Health) -> Response<Body> {
    let is_options = *method == Method::OPTIONS;
    let body = match *method {
        // hyper answers HEAD with the length of this body, and without the body.
        Method::GET | Method::HEAD => Body::from(Bytes::from(health.to_json())),
        _ => Body::empty(),
    };
    let is_allowed = matches!(*method, Method::GET | Method::HEAD) || is_options;
    let mut response = Response::new(body);
    *response.status_mut() = if is_allowed { status } else { StatusCode::METHOD_NOT_ALLOWED };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if is_options || !is_allowed {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    } else {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

impl<S> fmt::Debug for HealthService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthService").finish_non_exhaustive()
    }
}

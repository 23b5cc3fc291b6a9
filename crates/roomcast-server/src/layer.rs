//! [`SocketIoLayer`]: the server in front of another service.

use crate::io::SocketIo;
use roomcast_engine::EngineService;
use tower_layer::Layer;

/// Puts the server in front of a service: requests of the server's path are its own, all others go on. [`SocketIo::into_layer`] makes it.
#[derive(Debug, Clone)]
pub struct SocketIoLayer(SocketIo);

impl<S> Layer<S> for SocketIoLayer {
    type Service = EngineService<S>;

    fn layer(&self, inner: S) -> EngineService<S> {
        self.0.clone().into_service_with(inner)
    }
}

impl SocketIo {
    /// The server as a tower layer. Requests for other paths go to the service below.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    ///
    /// let io = roomcast_server::SocketIo::builder().build();
    /// let app: Router = Router::new().route("/hello", get(async || "hello")).layer(io.into_layer());
    /// ```
    pub fn into_layer(self) -> SocketIoLayer {
        SocketIoLayer(self)
    }
}

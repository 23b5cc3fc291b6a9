//! Health checks: what they answer to each method, and how they follow the cluster and the server's close.

use crate::common::until;
use crate::common::wire::{Answer, Wire, request};
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryBroker, MemoryNetwork, ServerId};
use roomcast_server::engine::NotFound;
use roomcast_server::{Check, SocketIo};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

struct Server {
    io: SocketIo,
    address: SocketAddr,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn new(io: SocketIo) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = io.clone();
        let task = tokio::spawn(async move {
            server.serve_with(listener, server.health_service(NotFound), std::future::pending()).await
        });
        Self { io, address, task }
    }

    async fn ask(&self, method: &str, path: &str) -> Answer {
        let mut wire = Wire::connect(self.address).await;
        wire.send(request(method, path, &[], "")).await;
        wire.answer(method).await
    }

    async fn ready(&self) -> (u16, Value) {
        let answer = self.ask("GET", "/readyz").await;
        (answer.status(), serde_json::from_str(&answer.text()).unwrap())
    }

    async fn finish(self) {
        self.io.close().await;
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn each_method_is_answered_as_health_checks_send_it() {
    let server = Server::new(SocketIo::builder().build()).await;
    let ready = json!({ "ready": true, "checks": {
        "server": { "ok": true, "required": true, "reason": "accepts clients" },
    } });
    for path in ["/healthz", "/readyz"] {
        let answer = server.ask("GET", path).await;
        assert_eq!((answer.status(), answer.header("content-type")), (200, Some("application/json")));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(serde_json::from_str::<Value>(&answer.text()).unwrap(), ready);
        let length = answer.header("content-length").map(str::to_owned);
        let head = server.ask("HEAD", path).await;
        assert_eq!((head.status(), head.header("content-length").map(str::to_owned)), (200, length));
        let options = server.ask("OPTIONS", path).await;
        assert_eq!((options.status(), options.header("allow")), (200, Some("GET, HEAD, OPTIONS")));
        assert_eq!(options.text(), "");
        let post = server.ask("POST", path).await;
        assert_eq!((post.status(), post.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    }
    assert_eq!(server.ask("GET", "/readyz/").await.status(), 404, "others get the other requests");
    assert_eq!(server.ask("GET", "/readyz?now").await.status(), 200);
    server.finish().await;
}

fn join(broker: Arc<MemoryBroker>, name: &str) -> Cluster {
    Cluster::with_id(ServerId::from(name), broker, ClusterOptions::default())
}

/// On a network that can be cut, a server is ready while it reaches the others, or always if the cluster is not required.
#[tokio::test]
async fn readiness_follows_the_cluster() {
    let network = MemoryNetwork::new();
    let (broker, other) = (network.broker(), network.broker());
    let (cluster, _other) = (join(broker.clone(), "a"), join(other, "b"));
    let server = Server::new(SocketIo::builder().cluster(&cluster).build()).await;
    let tolerant = SocketIo::builder().cluster(&cluster).require_cluster(false).build();
    until("the servers know each other", || cluster.state().borrow().peers == 1 && server.io.health().is_ready()).await;
    let (status, health) = server.ready().await;
    let reason = health["checks"]["cluster"]["reason"].as_str().unwrap();
    assert!(status == 200 && reason.ends_with("with 1 other roomcast servers"), "{health}");

    network.cut_off(&broker, true);
    until("the server knows that it is cut off", || !server.io.health().is_ready()).await;
    let (status, health) = server.ready().await;
    assert_eq!((status, &health["ready"]), (503, &json!(false)));
    let reason = health["checks"]["cluster"]["reason"].as_str().unwrap();
    assert!(reason.contains("no message of other servers arrives"), "{health}");
    assert_eq!(server.ask("OPTIONS", "/readyz").await.status(), 503);
    assert_eq!(server.ask("GET", "/healthz").await.status(), 200, "a restart would not help");
    assert!(tolerant.health().is_ready() && !tolerant.health().cluster.unwrap().ok);

    network.cut_off(&broker, false);
    until("the server is ready again", || server.io.health().is_ready()).await;
    server.finish().await;
}

/// What an application adds is shown, in order, and decides only if it is required.
#[tokio::test]
async fn checks_of_the_application() {
    let required_ok = Arc::new(AtomicBool::new(true));
    let state = required_ok.clone();
    let io = SocketIo::builder()
        .health_check("redis", || Check::optional(true, "replaced below"))
        .health_check("disk", move || Check::required(state.load(Ordering::Relaxed), "7 GB are free"))
        .health_check("redis", || Check::optional(false, "used 1.9 of 2.0 GiB"))
        .health_check("broken", || panic!("a fault of the check"))
        .health_check("server", || Check::required(false, "a name that is taken"))
        .health_check("cluster", || Check::required(false, "a name that is taken"))
        .build();
    let names: Vec<&str> = io.health().others.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["disk", "redis", "broken"]);
    let server = Server::new(io).await;
    let (status, health) = server.ready().await;
    assert_eq!(status, 200, "{health}");
    let check = |ok, required, reason| json!({ "ok": ok, "required": required, "reason": reason });
    assert_eq!(health["checks"]["disk"], check(true, true, "7 GB are free"));
    assert_eq!(health["checks"]["redis"], check(false, false, "used 1.9 of 2.0 GiB"));
    assert_eq!(health["checks"]["broken"], check(false, false, "this check panicked; see the log"));
    assert_eq!(health["checks"]["server"], check(true, true, "accepts clients"));
    required_ok.store(false, Ordering::Relaxed);
    assert_eq!(server.ready().await.0, 503);
    assert_eq!(server.ask("GET", "/healthz").await.status(), 200, "a restart would not help");
    server.finish().await;
}

#[tokio::test]
async fn a_closed_server_is_not_ready() {
    let io = SocketIo::builder().build();
    assert!(io.health().is_ready());
    io.close().await;
    assert_eq!(io.health().server.reason, "closed: accepts no clients");
    assert!(!io.health().is_ready());
}

/// In a router of axum, beside the Socket.IO server itself.
#[tokio::test]
async fn a_router_has_it_in_one_line() {
    let io = SocketIo::builder().build();
    let router = axum::Router::new()
        .route_service("/readyz", io.health_service(NotFound))
        .fallback_service(io.clone().into_service());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut wire = Wire::connect(address).await;
    wire.send(request("GET", "/readyz", &[], "")).await;
    let answer = wire.answer("GET").await;
    assert!(answer.status() == 200 && answer.text().starts_with("{\"checks\":"), "{answer:?}");
    io.close().await;
    task.abort();
}

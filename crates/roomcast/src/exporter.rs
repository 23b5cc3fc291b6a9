//! [`Exporter`]: what the server counts, in the text format of Prometheus.

use crate::one_path::Answer;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use roomcast_adapter::cluster::Cluster;
use roomcast_server::SocketIo;
use roomcast_server::engine::Body;

/// The counters of all crates, with what each counts. `docs/operations.md` says what an operator should conclude.
pub(crate) const COUNTERS: &[(&str, &str)] = &[
    ("roomcast_acks_refused_total", "Requests for an acknowledgement that a limit refused"),
    ("roomcast_cluster_answers_dropped_total", "Answers to other servers that were dropped from the queue"),
    ("roomcast_cluster_answers_refused_total", "Answers to other servers that were too large or too late"),
    ("roomcast_cluster_doubles_total", "Messages of other servers that arrived twice and were dropped once"),
    ("roomcast_cluster_dropped_total", "Messages of this server that were never published"),
    ("roomcast_cluster_interrupted_milliseconds_total", "Time in which namespaces received nothing of other servers"),
    ("roomcast_cluster_interruptions_total", "Interruptions of what namespaces receive of other servers"),
    ("roomcast_cluster_lost_total", "Messages of other roomcast servers that never arrived"),
    ("roomcast_cluster_malformed_total", "Input from the message system that is not a message"),
    ("roomcast_cluster_requests_refused_total", "Questions of other servers that a limit refused"),
    ("roomcast_cluster_unknown_total", "Messages of servers beyond those whose losses are counted"),
    ("roomcast_connections_rate_limited_total", "TCP connections beyond the rate of their address"),
    ("roomcast_connections_refused_total", "TCP connections beyond the limit"),
    ("roomcast_events_malformed_total", "Events whose arguments do not fit the handler"),
    ("roomcast_events_unhandled_total", "Events without a handler"),
    ("roomcast_handler_errors_total", "Handlers that returned an error"),
    ("roomcast_handler_panics_total", "Handlers that panicked"),
    ("roomcast_handlers_dropped_total", "Handlers that had to wait where there was no runtime"),
    ("roomcast_http_connections_late_total", "HTTP connections that were closed at a deadline"),
    ("roomcast_joins_refused_total", "Joins that a limit refused"),
    (
        "roomcast_namespaces_refused_total",
        "Clients that were refused because too many namespaces of patterns are in use",
    ),
    ("roomcast_packets_late_total", "Packets for a namespace that the server had just disconnected the client from"),
    ("roomcast_packets_malformed_total", "Packets that cannot be decoded"),
    ("roomcast_packets_over_rate_total", "Packets of clients that exceed a rate limit"),
    ("roomcast_packets_unexpected_total", "Packets that the client was not allowed to send"),
    ("roomcast_proxy_headers_refused_total", "Connections without the header of the PROXY protocol"),
    ("roomcast_redis_connects_total", "Connections to Redis that subscribe"),
    ("roomcast_redis_denied_total", "Messages whose channel Redis forbids"),
    ("roomcast_redis_rooms_interrupted_total", "Rooms whose sharded channel was lost for a while"),
    ("roomcast_redis_subscriptions_denied_total", "Subscriptions that Redis forbids"),
    ("roomcast_requests_refused_total", "HTTP requests that were refused"),
    ("roomcast_server_events_dropped_total", "Events of other servers beyond those that may wait"),
    ("roomcast_server_events_malformed_total", "Events of other servers that do not begin with a name"),
    ("roomcast_sessions_closed_total", "Sessions that ended"),
    ("roomcast_sessions_crowded_out_total", "Sessions without a namespace that made room for new ones"),
    ("roomcast_sessions_opened_total", "Sessions that were opened"),
    ("roomcast_slow_consumers_total", "Clients that were disconnected because they did not read"),
    ("roomcast_sockets_connected_total", "Sockets that have connected to a namespace"),
    ("roomcast_tls_handshakes_failed_total", "TLS handshakes of clients that failed"),
    (
        "roomcast_unfinished_messages_dropped_total",
        "Clients that were disconnected because unfinished messages held too much",
    ),
    ("roomcast_upgrades_total", "Sessions that were upgraded to WebSocket"),
    ("roomcast_volatile_dropped_total", "Volatile packets that were dropped"),
];

/// What is measured at each scrape.
pub(crate) const GAUGES: &[(&str, &str)] = &[
    ("roomcast_build_info", "1; the version is a label"),
    ("roomcast_cluster_peers", "Other roomcast servers that are alive"),
    ("roomcast_cluster_publishing", "Whether messages go out to other servers: 1 or 0"),
    ("roomcast_cluster_queue_bytes", "Bytes of messages that wait for other servers"),
    ("roomcast_cluster_queue_messages", "Messages that wait for other servers"),
    ("roomcast_cluster_receiving", "Whether messages of other servers arrive: 1 or 0"),
    ("roomcast_namespaces", "Namespaces that exist"),
    ("roomcast_ready", "Whether the server is ready for clients, as /readyz says: 1 or 0"),
    ("roomcast_redis_answers", "Whether a Redis server told its state when it was asked last: 1 or 0"),
    ("roomcast_redis_clients", "Clients of a Redis server, of all programs"),
    ("roomcast_redis_clients_max", "Clients that a Redis server accepts (maxclients)"),
    ("roomcast_redis_clients_rejected", "Connections that a Redis server has refused because of maxclients"),
    ("roomcast_redis_is_primary", "Whether a Redis server is a primary: 1 or 0"),
    ("roomcast_redis_keys_evicted", "Keys that a Redis server has evicted because of maxmemory"),
    (
        "roomcast_redis_memory_max_bytes",
        "Memory that a Redis server may use (maxmemory); infinite if there is no limit",
    ),
    ("roomcast_redis_memory_used_bytes", "Memory that a Redis server uses"),
    ("roomcast_redis_output_buffer_bytes", "What waits in Redis for this server's connection that subscribes"),
    ("roomcast_redis_replicas", "Replicas of a Redis server"),
    ("roomcast_sessions", "Open sessions, that is, connected clients"),
    ("roomcast_sockets", "Sockets in the namespace / of this server"),
];

/// Counters that have labels. All others are exported from the start as 0, so that their first increase is seen.
const LABELLED: &[&str] = &[
    "roomcast_cluster_dropped_total",
    "roomcast_handler_panics_total",
    "roomcast_handlers_dropped_total",
    "roomcast_packets_over_rate_total",
    "roomcast_proxy_headers_refused_total",
    "roomcast_requests_refused_total",
    "roomcast_sessions_opened_total",
];

/// Collects what all crates count.
#[derive(Clone)]
pub(crate) struct Exporter {
    handle: PrometheusHandle,
    io: SocketIo,
    cluster: Option<Cluster>,
}

impl Exporter {
    /// Collects from now on.
    ///
    /// # Errors
    /// Another part of the process collects already.
    pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
        let handle = PrometheusBuilder::new().install_recorder()?;
        for (name, help) in COUNTERS {
            describe_counter!(*name, *help);
            if !LABELLED.contains(name) {
                counter!(*name).increment(0);
            }
        }
        for why in ["closed", "full", "old", "overtaken", "refused", "volatile"] {
            counter!("roomcast_cluster_dropped_total", "why" => why).increment(0);
        }
        for why in ["late", "malformed", "untrusted"] {
            counter!("roomcast_proxy_headers_refused_total", "why" => why).increment(0);
        }
        for transport in ["polling", "websocket"] {
            counter!("roomcast_sessions_opened_total", "transport" => transport).increment(0);
        }
        for (name, help) in GAUGES {
            describe_gauge!(*name, *help);
        }
        gauge!("roomcast_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(handle)
    }

    pub(crate) fn new(handle: PrometheusHandle, io: SocketIo, cluster: Option<Cluster>) -> Self {
        Self { handle, io, cluster }
    }

    /// The text of a scrape.
    async fn scrape(&self) -> String {
        gauge!("roomcast_sessions").set(self.io.connections() as f64);
        gauge!("roomcast_namespaces").set(self.io.namespaces() as f64);
        gauge!("roomcast_sockets").set(self.io.of("/").local().count().await.value as f64);
        gauge!("roomcast_ready").set(number(self.io.health().is_ready()));
        if let Some(cluster) = &self.cluster {
            let state = *cluster.state().borrow();
            gauge!("roomcast_cluster_receiving").set(number(state.hears));
            gauge!("roomcast_cluster_publishing").set(number(state.publishes));
            gauge!("roomcast_cluster_peers").set(state.peers as f64);
            gauge!("roomcast_cluster_queue_messages").set(state.queued as f64);
            gauge!("roomcast_cluster_queue_bytes").set(state.queued_bytes as f64);
        }
        self.handle.render()
    }

    /// Does the exporter's housekeeping from time to time, for as long as it is polled.
    pub(crate) async fn keep(&self) {
        const UPKEEP: std::time::Duration = std::time::Duration::from_secs(5);
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.handle.run_upkeep();
        }
    }
}

impl Answer for Exporter {
    async fn answer(self) -> Response<Body> {
        let mut response = Response::new(Body::from(Bytes::from(self.scrape().await)));
        let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        response
    }
}

fn number(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[cfg(test)]
mod tests {
    use super::{COUNTERS, GAUGES};
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Names in a text that begin with `roomcast_` and end as metrics do.
    fn names(text: &str, quoted: &str) -> BTreeSet<String> {
        let parts = text.split(quoted).skip(1);
        let name =
            |part: &str| part.split(|end: char| !end.is_ascii_lowercase() && end != '_').next().unwrap().to_owned();
        parts.map(name).filter(|name| name.starts_with("roomcast_")).collect()
    }

    fn sources(folder: &Path, text: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn every_counter_of_the_crates_is_described() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut text = String::new();
        for name in ["adapter", "engine", "redis", "server"] {
            sources(&crates.join(format!("roomcast-{name}")).join("src"), &mut text);
        }
        let described: BTreeSet<String> = COUNTERS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&text, "counter!(\""), described);
        assert_eq!(described.len(), COUNTERS.len());
    }

    #[test]
    fn the_document_has_every_metric_and_no_other() {
        let document = include_str!("../../../docs/operations.md");
        let documented: BTreeSet<String> =
            names(document, "`").into_iter().filter(|name| !name.starts_with("roomcast_engine")).collect();
        let exported: BTreeSet<String> = COUNTERS.iter().chain(GAUGES).map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(documented, exported);
    }
}

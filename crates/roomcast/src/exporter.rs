//! [`Exporter`]: what the server counts, in the text format of Prometheus.

mod process;

use crate::one_path::Answer;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use roomcast_adapter::cluster::Cluster;
use roomcast_server::engine::{Body, RequestError};
use roomcast_server::{CloseReason, SocketIo, Statistics, measure_durations};

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
    ("roomcast_compressed_bytes_after_total", "Bytes of what was compressed, after it"),
    ("roomcast_compressed_bytes_before_total", "Bytes of what was compressed, before it"),
    ("roomcast_compressed_total", "Messages, answers to polls and files that were compressed"),
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
    ("roomcast_recoveries_total", "Clients that came back for their session"),
    ("roomcast_recovery_sessions_ended_total", "Sessions that were kept for clients that did not come back in time"),
    ("roomcast_recovery_superseded_total", "Connections whose client had come back over another one"),
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
    ("roomcast_sockets_refused_total", "Sockets that a middleware refused"),
    ("roomcast_events_refused_total", "Events that a middleware of events refused"),
    ("roomcast_room_events_missed_total", "Changes of rooms that were not told, as a handler was too slow"),
    ("roomcast_tls_handshakes_failed_total", "TLS handshakes of clients that failed"),
    (
        "roomcast_unfinished_messages_dropped_total",
        "Clients that were disconnected because unfinished messages held too much",
    ),
    ("roomcast_upgrades_total", "Sessions that were upgraded to WebSocket"),
    ("roomcast_volatile_dropped_total", "Volatile packets that were dropped"),
];

/// Counters that the crates keep themselves, because they count for every event or write. They are read at each scrape.
pub(crate) const TALLIES: &[(&str, &str)] = &[
    ("roomcast_events_received_total", "Events that clients have sent"),
    ("roomcast_packets_delivered_total", "Packets that were written to clients"),
    ("roomcast_received_bytes_total", "Bytes of messages that were read from clients"),
    ("roomcast_sent_bytes_total", "Bytes of packets that were written to clients"),
];

/// How long things take, with the bounds of the buckets in seconds.
pub(crate) const HISTOGRAMS: &[(&str, &str, &[f64])] = &[
    (
        "roomcast_broadcast_duration_seconds",
        "The part of a broadcast that its sender waits for; one of 16 is timed",
        &[1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0],
    ),
    (
        "roomcast_cluster_delivery_lag_seconds",
        "From an announcement of this server until it has come back through Redis",
        &[5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0],
    ),
    ("roomcast_connect_duration_seconds", "From a CONNECT until it is answered; the middlewares run meanwhile", WORK),
    ("roomcast_handler_duration_seconds", "From the call of an event's handler to its end; one of 16 is timed", WORK),
    (
        "roomcast_ping_rtt_seconds",
        "From a heartbeat's ping, queued for the client, to its pong",
        &[1e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0],
    ),
    (
        "roomcast_redis_rtt_seconds",
        "From a batch of messages sent to Redis to its answers",
        &[1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0],
    ),
];

/// Buckets for what the application does.
const WORK: &[f64] = &[1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Of so many handlers and broadcasts one is timed (docs/decisions/0026-metrics.md).
const TIMED_ONE_IN: u32 = 16;

/// What is measured at each scrape.
pub(crate) const GAUGES: &[(&str, &str)] = &[
    ("roomcast_build_info", "1; the version is a label"),
    ("roomcast_cluster_peers", "Other roomcast servers that are alive"),
    ("roomcast_cluster_publishing", "Whether messages go out to other servers: 1 or 0"),
    ("roomcast_cluster_queue_bytes", "Bytes of messages that wait for other servers"),
    ("roomcast_cluster_queue_oldest_seconds", "For how long the oldest of these messages has waited"),
    ("roomcast_cluster_queue_messages", "Messages that wait for other servers"),
    ("roomcast_cluster_receiving", "Whether messages of other servers arrive: 1 or 0"),
    ("roomcast_namespaces", "Namespaces that exist"),
    ("roomcast_outbox_budget_bytes", "Most bytes that may wait for clients that are slow"),
    ("roomcast_outbox_budget_used_bytes", "Bytes that wait for clients that are slow, each packet counted once"),
    ("roomcast_outbox_bytes", "Bytes that wait in the outboxes of all clients, and 128 for each packet"),
    ("roomcast_outbox_clients", "Clients for which something waits"),
    ("roomcast_outbox_largest_bytes", "Bytes that wait in the fullest outbox"),
    ("roomcast_outbox_packets", "Packets that wait in the outboxes of all clients"),
    ("roomcast_ready", "Whether the server is ready for clients, as /readyz says: 1 or 0"),
    ("roomcast_recovery_log_bytes", "Bytes of events that are kept for clients that come back"),
    ("roomcast_recovery_session_bytes", "Bytes of sessions that are kept for clients that come back"),
    ("roomcast_recovery_sessions", "Sessions that are kept for clients that come back"),
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
    ("roomcast_redis_subscriptions", "Channels and patterns that are subscribed at Redis"),
    ("roomcast_redis_up", "Whether messages come from Redis and go to it: 1 or 0"),
    ("roomcast_rooms", "Rooms with members on this server, without the private room of each socket"),
    ("roomcast_sessions", "Open sessions, that is, connected clients"),
    ("roomcast_sessions_max", "Most sessions at once"),
    ("roomcast_sockets", "Sockets of this server"),
];

/// Counters that have labels. All others are exported from the start as 0, so that their first increase is seen.
const LABELLED: &[&str] = &[
    "roomcast_cluster_dropped_total",
    "roomcast_handler_panics_total",
    "roomcast_handlers_dropped_total",
    "roomcast_packets_over_rate_total",
    "roomcast_proxy_headers_refused_total",
    "roomcast_requests_refused_total",
    "roomcast_sessions_closed_total",
    "roomcast_sessions_opened_total",
];

/// What the server may have called when it panicked.
const HANDLERS: [&str; 8] = [
    "connection",
    "disconnect",
    "disconnecting",
    "end of a socket",
    "event",
    "middleware",
    "namespace pattern",
    "server event",
];

/// All reasons for the end of a session.
const CLOSE_REASONS: [CloseReason; 9] = [
    CloseReason::PingTimeout,
    CloseReason::TransportError,
    CloseReason::TransportClose,
    CloseReason::ParseError,
    CloseReason::ForcedClose,
    CloseReason::ForcedServerClose,
    CloseReason::RateLimit,
    CloseReason::ServerShutdown,
    CloseReason::SlowConsumer,
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
        let mut builder = PrometheusBuilder::new();
        for (name, _, buckets) in HISTOGRAMS {
            builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)?;
        }
        let handle = builder.install_recorder()?;
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
            for reason in CLOSE_REASONS {
                let reason = reason.as_str();
                counter!("roomcast_sessions_closed_total", "reason" => reason, "transport" => transport).increment(0);
            }
        }
        for handler in HANDLERS {
            counter!("roomcast_handler_panics_total", "handler" => handler).increment(0);
            counter!("roomcast_handlers_dropped_total", "handler" => handler).increment(0);
        }
        // The alert on refused clients asks for its increase; the other errors are the clients' own.
        counter!("roomcast_requests_refused_total", "error" => RequestError::Busy.name()).increment(0);
        for (name, help) in TALLIES {
            describe_counter!(*name, *help);
        }
        for (name, help, _) in HISTOGRAMS {
            describe_histogram!(*name, Unit::Seconds, *help);
        }
        // Those without labels are there from the start.
        drop(histogram!("roomcast_broadcast_duration_seconds"));
        drop(histogram!("roomcast_ping_rtt_seconds"));
        measure_durations(TIMED_ONE_IN);
        for (name, help) in GAUGES {
            describe_gauge!(*name, *help);
        }
        gauge!("roomcast_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(handle)
    }

    pub(crate) fn new(handle: PrometheusHandle, io: SocketIo, cluster: Option<Cluster>) -> Self {
        if cluster.is_some() {
            drop(histogram!("roomcast_cluster_delivery_lag_seconds"));
            drop(histogram!("roomcast_redis_rtt_seconds"));
        }
        Self { handle, io, cluster }
    }

    /// The text of a scrape.
    async fn scrape(&self) -> String {
        let Statistics { engine, namespaces, recovery, .. } = self.io.statistics();
        gauge!("roomcast_recovery_sessions").set(recovery.sessions as f64);
        gauge!("roomcast_recovery_session_bytes").set(recovery.session_bytes as f64);
        gauge!("roomcast_recovery_log_bytes").set(recovery.log_bytes as f64);
        for (transport, of) in [("polling", engine.polling), ("websocket", engine.websocket)] {
            gauge!("roomcast_sessions", "transport" => transport).set(of.sessions as f64);
            counter!("roomcast_packets_delivered_total", "transport" => transport).absolute(of.packets_sent);
            counter!("roomcast_sent_bytes_total", "transport" => transport).absolute(of.bytes_sent);
            counter!("roomcast_received_bytes_total", "transport" => transport).absolute(of.bytes_received);
        }
        gauge!("roomcast_sessions_max").set(engine.max_sessions as f64);
        gauge!("roomcast_outbox_budget_bytes").set(engine.budget as f64);
        gauge!("roomcast_outbox_budget_used_bytes").set(engine.budget_used as f64);
        gauge!("roomcast_namespaces").set(self.io.namespaces() as f64);
        for (namespace, of) in namespaces {
            gauge!("roomcast_sockets", "namespace" => namespace.clone()).set(of.sockets as f64);
            gauge!("roomcast_rooms", "namespace" => namespace.clone()).set(of.rooms as f64);
            counter!("roomcast_events_received_total", "namespace" => namespace).absolute(of.events_received);
        }
        let outboxes = self.io.outboxes().await;
        gauge!("roomcast_outbox_packets").set(outboxes.packets as f64);
        gauge!("roomcast_outbox_bytes").set(outboxes.bytes as f64);
        gauge!("roomcast_outbox_largest_bytes").set(outboxes.largest_bytes as f64);
        gauge!("roomcast_outbox_clients").set(outboxes.clients as f64);
        gauge!("roomcast_ready").set(number(self.io.health().is_ready()));
        if let Some(cluster) = &self.cluster {
            let state = *cluster.state().borrow();
            gauge!("roomcast_cluster_receiving").set(number(state.hears));
            gauge!("roomcast_cluster_publishing").set(number(state.publishes));
            gauge!("roomcast_redis_up").set(number(state.hears && state.publishes));
            gauge!("roomcast_cluster_peers").set(state.peers as f64);
            let queue = cluster.queue();
            gauge!("roomcast_cluster_queue_messages").set(queue.messages as f64);
            gauge!("roomcast_cluster_queue_bytes").set(queue.bytes as f64);
            gauge!("roomcast_cluster_queue_oldest_seconds").set(queue.oldest.as_secs_f64());
        }
        self.handle.render() + &process::metrics()
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
    use super::*;
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

    /// Everything that is exported, without what the process itself reports.
    fn exported() -> BTreeSet<String> {
        let counters = COUNTERS.iter().chain(TALLIES).chain(GAUGES).map(|(name, _)| (*name).to_owned());
        counters.chain(HISTOGRAMS.iter().map(|(name, _, _)| (*name).to_owned())).collect()
    }

    #[test]
    fn every_metric_of_the_crates_is_described() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut text = String::new();
        for name in ["adapter", "engine", "redis", "server"] {
            sources(&crates.join(format!("roomcast-{name}")).join("src"), &mut text);
        }
        let described: BTreeSet<String> = COUNTERS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(&text, "counter!(\""), described);
        let described: BTreeSet<String> = HISTOGRAMS.iter().map(|(name, _, _)| (*name).to_owned()).collect();
        assert_eq!(names(&text, "histogram!(\""), described);
        let described: BTreeSet<String> = GAUGES.iter().map(|(name, _)| (*name).to_owned()).collect();
        let measured = names(&text, "gauge!(\"");
        assert!(measured.is_subset(&described), "{measured:?}");
        assert_eq!(
            exported().len(),
            COUNTERS.len() + TALLIES.len() + GAUGES.len() + HISTOGRAMS.len(),
            "a name is twice"
        );
    }

    #[test]
    fn buckets_ascend() {
        for (name, _, buckets) in HISTOGRAMS {
            assert!(buckets.is_sorted_by(|a, b| a < b) && buckets.len() <= 16, "{name}");
        }
    }

    #[test]
    fn the_document_has_every_metric_and_no_other() {
        let document = include_str!("../../../docs/operations.md");
        let crates = ["roomcast_engine", "roomcast_server"];
        let documented: BTreeSet<String> =
            names(document, "`").into_iter().filter(|name| !crates.contains(&&**name)).collect();
        assert_eq!(documented, exported());
    }

    /// Words of a text that may be names of metrics.
    fn words(text: &str) -> BTreeSet<&str> {
        text.split(|end: char| !end.is_ascii_alphanumeric() && end != '_').collect()
    }

    const RULES: &str = include_str!("../../../deploy/prometheus/alerts.yml");

    #[test]
    fn dashboard_and_rules_use_metrics_that_exist() {
        let mut known = exported();
        for (name, _, _) in HISTOGRAMS {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        }
        known.extend(process::NAMES.map(str::to_owned));
        for (file, text) in [
            ("roomcast.json", include_str!("../../../deploy/grafana/roomcast.json")),
            ("alerts.yml", RULES),
            ("alerts.test.yml", include_str!("../../../deploy/prometheus/alerts.test.yml")),
        ] {
            let is_metric = |word: &&str| word.starts_with("roomcast_") || word.starts_with("process_");
            let metrics: Vec<&str> = words(text).into_iter().filter(is_metric).collect();
            let unknown: Vec<&&str> = metrics.iter().filter(|word| !known.contains(**word)).collect();
            assert!(unknown.is_empty(), "{file} uses {unknown:?}");
            assert!(metrics.len() > 10, "{file}");
        }
    }

    #[test]
    fn every_alert_has_a_row_in_the_document_and_two_tests() {
        let document = include_str!("../../../docs/operations.md");
        let tests = include_str!("../../../deploy/prometheus/alerts.test.yml");
        let alerts: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
        assert!(alerts.len() > 10);
        for alert in &alerts {
            assert!(document.contains(&format!("| `{alert}` | ")), "{alert} has no row");
            for test in ["fires", "does not"] {
                assert!(tests.contains(&format!("- name: {alert} {test}")), "{alert}: {test}");
            }
        }
        assert_eq!(RULES.matches("runbook: \"docs/operations.md#alerts\"").count(), alerts.len());
        assert!(document.contains("\n### Alerts\n"), "the section that the runbooks name");
    }
}

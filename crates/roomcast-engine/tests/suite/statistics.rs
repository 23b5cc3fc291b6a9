//! An engine in numbers: traffic and sessions by transport, and the round trips of pings.

use crate::common::Server;
use crate::common::streams::over_streams;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use parking_lot::Mutex;
use roomcast_engine::TransportStatistics;
use std::sync::Arc;
use std::time::Duration;

async fn traffic_is_counted_by_transport() {
    let server = Server::start().await;
    let mut wire = server.websocket().await;
    wire.assert_alive("x").await;
    let TransportStatistics { sessions, packets_sent, bytes_received, bytes_sent, .. } =
        server.engine.statistics().websocket;
    // The open packet and the answer. A masked frame has six bytes before its two, an answer two.
    assert_eq!((sessions, packets_sent, bytes_received), (1, 2, 8));
    assert!(bytes_sent > 50 + 4, "{bytes_sent}");
    assert_eq!(server.engine.statistics().polling, TransportStatistics::default());

    let opened = server.get("EIO=4&transport=polling").await;
    let sid = opened.sid();
    server.post(&sid, "4ab").await.assert_ok();
    server.poll(&sid).await.assert_payload("4ab");
    let polling = server.engine.statistics().polling;
    assert_eq!((polling.sessions, polling.packets_sent, polling.bytes_received), (1, 2, 3));
    assert_eq!(polling.bytes_sent, opened.body.len() as u64 + 3);
    assert_eq!(server.engine.statistics().websocket.packets_sent, packets_sent, "polling does not concern it");
    let statistics = server.engine.statistics();
    assert_eq!(statistics.max_sessions, server.engine.config().max_sessions);
    assert_eq!(statistics.budget_used, 0);
    server.finish().await;
}

/// What is recorded as the histogram `roomcast_ping_rtt_seconds`.
#[derive(Clone, Default)]
struct RoundTrips(Arc<Mutex<Vec<f64>>>);

impl HistogramFn for RoundTrips {
    fn record(&self, value: f64) {
        self.0.lock().push(value);
    }
}

impl Recorder for RoundTrips {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        assert_eq!(key.name(), "roomcast_ping_rtt_seconds");
        Histogram::from_arc(Arc::new(self.clone()))
    }
}

async fn round_trips_of_pings_are_recorded_by_both_transports() {
    let recorded = RoundTrips::default();
    // Everything runs on this thread.
    let _recording = metrics::set_default_local_recorder(&recorded);
    let server = Server::with(|config| config.ping_interval = Duration::from_millis(50)).await;
    let mut wire = server.websocket().await;
    assert_eq!(wire.text().await, "2");
    wire.say("3").await;
    // The next ping comes after the pong. Before its own pong another message comes.
    assert_eq!(wire.text().await, "2");
    wire.say("4x").await;
    assert_eq!(wire.text().await, "4x");
    wire.say("3").await;
    assert_eq!(wire.text().await, "2");
    assert_eq!(recorded.0.lock().len(), 1);

    let sid = server.handshake().await;
    server.hold(&sid).await.answer().await.assert_payload("2");
    server.post(&sid, "3").await.assert_ok();
    let round_trips = recorded.0.lock().clone();
    assert_eq!(round_trips.len(), 2);
    assert!(round_trips.iter().all(|seconds| (0.0..20.0).contains(seconds)), "{round_trips:?}");
    server.finish().await;
}

over_streams! {
    [serve, awkward, tls, axum]
    { current_thread: traffic_is_counted_by_transport, round_trips_of_pings_are_recorded_by_both_transports; }
}

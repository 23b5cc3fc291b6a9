//! [`EngineStatistics`] and [`Outboxes`]: an engine in numbers, for metrics.

use crate::connections::connection::Connection;
use crate::connections::traffic::Sums;
use crate::engine::Engine;
use crate::limits::SESSIONS_PER_STEP;
use crate::session::transport::Transport;
use std::sync::Arc;

/// An engine in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineStatistics {
    /// Sessions by long-polling.
    pub polling: TransportStatistics,
    /// Sessions by WebSocket.
    pub websocket: TransportStatistics,
    /// Most sessions at once ([`EngineConfig::max_sessions`](crate::EngineConfig::max_sessions)).
    pub max_sessions: usize,
    /// Bytes that wait for clients that could not take them at once. A packet counts once, however many clients wait
    /// for it.
    pub budget_used: usize,
    /// Most bytes that may wait so ([`OutboxLimits::budget`](crate::OutboxLimits::budget)).
    pub budget: usize,
}

/// The sessions of one transport, in numbers. What was sent and received is summed since the start, and includes the
/// packets and frames of Engine.IO itself, but not HTTP and TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransportStatistics {
    /// Open sessions.
    pub sessions: usize,
    /// Packets that were written to clients.
    pub packets_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Bytes that were read from clients.
    pub bytes_received: u64,
}

/// What waits in the outboxes of all clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outboxes {
    /// Packets, including those that are being written.
    pub packets: usize,
    /// Their bytes, plus 128 for each of them. A packet counts once for each client that it waits for.
    pub bytes: usize,
    /// The bytes of the fullest outbox.
    pub largest_bytes: usize,
    /// Clients for which something waits.
    pub clients: usize,
}

impl Outboxes {
    fn add(&mut self, connection: &Connection) {
        let waiting = connection.outstanding();
        self.packets += waiting.packets;
        self.bytes += waiting.bytes;
        self.largest_bytes = self.largest_bytes.max(waiting.bytes);
        self.clients += usize::from(waiting.packets > 0);
    }
}

impl Engine {
    /// The engine in numbers. It is cheap to ask, however many sessions there are.
    pub fn statistics(&self) -> EngineStatistics {
        let (polling, websocket) = self.sessions.counts();
        let of = |sessions, transport| {
            let Sums { packets_sent, bytes_sent, bytes_received } = self.sessions.traffic.sums(transport);
            TransportStatistics { sessions, packets_sent, bytes_sent, bytes_received }
        };
        EngineStatistics {
            polling: of(polling, Transport::Polling),
            websocket: of(websocket, Transport::WebSocket),
            max_sessions: self.sessions.config.max_sessions,
            budget_used: self.sessions.budget.meter().used(),
            budget: self.sessions.budget.limit(),
        }
    }

    /// Looks at the outboxes of all sessions, [`SESSIONS_PER_STEP`] at a time, and lets other tasks run in between.
    /// Sessions that open or close meanwhile may be missed, and one that is upgraded may be seen twice.
    pub async fn outboxes(&self) -> Outboxes {
        let mut sum = Outboxes::default();
        for transport in [Transport::Polling, Transport::WebSocket] {
            let mut from = 0;
            loop {
                let (some, more): (Vec<Arc<Connection>>, _) = self.sessions.some(transport, from, SESSIONS_PER_STEP);
                some.iter().for_each(|connection| sum.add(connection));
                drop(some);
                if !more {
                    break;
                }
                from += SESSIONS_PER_STEP;
                tokio::task::yield_now().await;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Nobody;
    use crate::config::EngineConfig;

    /// Each of these has its `open` packet in the outbox. The numbers fill a table of one step, and of more.
    #[tokio::test]
    async fn every_session_is_looked_at_once_in_however_many_steps() {
        for (polling, websocket) in [(0, 0), (1, 2), (SESSIONS_PER_STEP / 2, 1), (2 * SESSIONS_PER_STEP, 3_000)] {
            let engine = Engine::new(EngineConfig::default(), Nobody);
            let (request, ()) = http::Request::new(()).into_parts();
            let open = |transport| engine.open(&request, transport).unwrap();
            let mut open_sessions: Vec<_> = (0..polling).map(|_| open(Transport::Polling)).collect();
            open_sessions.extend((0..websocket).map(|_| open(Transport::WebSocket)));
            let costs: Vec<usize> = open_sessions.iter().map(|session| session.outstanding().bytes).collect();
            let clients = polling + websocket;
            let largest_bytes = costs.iter().copied().max().unwrap_or_default();
            let expected = Outboxes { packets: clients, bytes: costs.iter().sum(), largest_bytes, clients };
            assert_eq!(engine.outboxes().await, expected);
            let statistics = engine.statistics();
            assert_eq!((statistics.polling.sessions, statistics.websocket.sessions), (polling, websocket));
        }
    }
}

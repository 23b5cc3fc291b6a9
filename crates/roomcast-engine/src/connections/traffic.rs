//! [`Traffic`]: how much has gone to the clients and come from them, by transport.

use crate::session::transport::Transport;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Threads that count share this many places. A write to a client is counted once, and threads that counted in one place
/// would take its cache line from one another for each of them.
const PLACES: usize = 16;

/// The first thread counts in the first place, and so on.
static NEXT_PLACE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: Cell<usize> = Cell::new(NEXT_PLACE.fetch_add(1, Ordering::Relaxed) % PLACES);
}

/// Counts what was written and read. Nothing is counted twice, and a sum is at most a few operations behind.
#[derive(Debug, Default)]
pub(crate) struct Traffic([Place; PLACES]);

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Place {
    polling: Counts,
    websocket: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    packets_sent: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

/// A client has answered a ping after this time, if it can be told.
pub(crate) fn count_round_trip(round_trip: Option<Duration>) {
    if let Some(round_trip) = round_trip {
        metrics::histogram!("roomcast_ping_rtt_seconds").record(round_trip);
    }
}

/// A sum over all places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) packets_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
}

impl Traffic {
    fn here(&self, transport: Transport) -> Option<&Counts> {
        let place = PLACE.try_with(Cell::get).unwrap_or_default();
        self.0.get(place).map(|place| place.of(transport))
    }

    pub(crate) fn sent(&self, transport: Transport, packets: usize, bytes: usize) {
        if let Some(counts) = self.here(transport) {
            counts.packets_sent.fetch_add(packets as u64, Ordering::Relaxed);
            counts.bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn received(&self, transport: Transport, bytes: usize) {
        if let Some(counts) = self.here(transport) {
            counts.bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn sums(&self, transport: Transport) -> Sums {
        let mut sums = Sums::default();
        for counts in self.0.iter().map(|place| place.of(transport)) {
            sums.packets_sent += counts.packets_sent.load(Ordering::Relaxed);
            sums.bytes_sent += counts.bytes_sent.load(Ordering::Relaxed);
            sums.bytes_received += counts.bytes_received.load(Ordering::Relaxed);
        }
        sums
    }
}

impl Place {
    fn of(&self, transport: Transport) -> &Counts {
        match transport {
            Transport::Polling => &self.polling,
            Transport::WebSocket => &self.websocket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_beyond_the_places_count_too_and_the_sums_are_exact() {
        let traffic = Traffic::default();
        std::thread::scope(|scope| {
            for _ in 0..PLACES + 1 {
                scope.spawn(|| {
                    traffic.sent(Transport::WebSocket, 2, 30);
                    traffic.received(Transport::Polling, 7);
                });
            }
        });
        let threads = PLACES as u64 + 1;
        let websocket = Sums { packets_sent: 2 * threads, bytes_sent: 30 * threads, bytes_received: 0 };
        assert_eq!(traffic.sums(Transport::WebSocket), websocket);
        assert_eq!(traffic.sums(Transport::Polling), Sums { bytes_received: 7 * threads, ..Sums::default() });
        assert_eq!(std::mem::size_of::<Place>(), 64);
    }
}

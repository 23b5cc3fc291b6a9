//! [`Meter`]: how much memory is held by packets that wait for clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts bytes. A packet that is charged to a meter counts until it is dropped, and only once, however many clients
/// wait for it.
#[derive(Debug, Default)]
pub struct Meter(AtomicUsize);

impl Meter {
    /// Bytes that are charged now.
    pub fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts `bytes` until the [`Charge`] is dropped.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Charge { meter: self.clone(), bytes }
    }
}

/// An amount on a meter, until it is dropped.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct Charge {
    meter: Arc<Meter>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;

    #[test]
    fn a_packet_counts_once_and_until_it_is_dropped() {
        let meter = Arc::<Meter>::default();
        let packet = Arc::new(Packet::binary(&[0; 10]).unwrap());
        assert_eq!(meter.used(), 0);
        let again = packet.clone();
        packet.charge(&meter, 140);
        again.charge(&meter, 140);
        assert_eq!(meter.used(), 140);
        drop(packet);
        assert_eq!(meter.used(), 140);
        drop(again);
        assert_eq!(meter.used(), 0);
    }
}

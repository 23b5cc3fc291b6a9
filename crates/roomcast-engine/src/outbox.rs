//! [`Outbox`]: the packets that wait for one client, bounded by bytes and count.

use crate::limits::{CROWDED_BYTES, CROWDED_PACKETS};
use roomcast_protocol::Packet;
use std::collections::VecDeque;
use std::sync::Arc;

/// A small queue. The first packet sits in it, so that a quiet connection owns no heap for it; a longer queue's storage is
/// given back at a heartbeat. Packets that are being written still count.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    first: Option<Arc<Packet>>,
    rest: Option<Box<Rest>>,
    /// Packets that wait or are being written.
    packets: usize,
    /// Their bytes.
    bytes: usize,
}

/// All but the first packet.
type Rest = VecDeque<Arc<Packet>>;

/// The outbox is full: the client does not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Outbox {
    /// Adds a packet. Empty, it takes any.
    pub(crate) fn push(&mut self, packet: &Arc<Packet>, max_packets: usize, max_bytes: usize) -> Result<(), Full> {
        let bytes = self.bytes.saturating_add(packet.size());
        if self.packets > 0 && (self.packets >= max_packets || bytes > max_bytes) {
            return Err(Full);
        }
        self.packets += 1;
        self.bytes = bytes;
        if self.is_drained() {
            self.first = Some(packet.clone());
        } else {
            self.rest.get_or_insert_default().push_back(packet.clone());
        }
        Ok(())
    }

    /// Whether nothing waits and nothing is being written.
    pub(crate) fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// Whether so much waits that it should not wait for more.
    pub(crate) fn is_crowded(&self) -> bool {
        self.packets >= CROWDED_PACKETS || self.bytes >= CROWDED_BYTES
    }

    /// Whether nothing waits to be taken.
    pub(crate) fn is_drained(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(|rest| rest.is_empty())
    }

    /// Takes the packet that waits, if it is the only one. It counts as with [`Outbox::take`].
    pub(crate) fn take_only(&mut self) -> Option<Arc<Packet>> {
        if self.rest.as_ref().is_none_or(|rest| rest.is_empty()) { self.first.take() } else { None }
    }

    /// Moves up to `most` packets into `batch`. They count until [`Outbox::written`] or [`Outbox::put_back`].
    pub(crate) fn take(&mut self, batch: &mut Vec<Arc<Packet>>, most: usize) {
        batch.extend(self.first.take());
        if let Some(rest) = &mut self.rest {
            let more = rest.len().min(most.saturating_sub(batch.len()));
            batch.extend(rest.drain(..more));
        }
    }

    /// Packets that were taken have left.
    pub(crate) fn written(&mut self, packets: usize, bytes: usize) {
        self.packets = self.packets.saturating_sub(packets);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Packets that were taken could not leave: they come first again.
    pub(crate) fn put_back(&mut self, mut batch: impl DoubleEndedIterator<Item = Arc<Packet>>) {
        // Most writes take all: then nothing is moved, and no storage is needed for what came meanwhile.
        let Some(first) = batch.next() else { return };
        if let Some(waiting) = self.first.replace(first) {
            self.rest.get_or_insert_default().push_front(waiting);
        }
        for packet in batch.rev() {
            self.rest.get_or_insert_default().push_front(packet);
        }
    }

    /// Puts what waits in `first` before everything here.
    pub(crate) fn prepend(&mut self, mut first: Self) {
        let mut batch = Vec::with_capacity(first.packets);
        first.take(&mut batch, usize::MAX);
        self.packets += first.packets;
        self.bytes = self.bytes.saturating_add(first.bytes);
        self.put_back(batch.into_iter());
    }

    /// Gives back the storage of a queue that is empty now.
    pub(crate) fn shrink(&mut self) {
        self.rest.take_if(|rest| rest.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: usize) -> Arc<Packet> {
        // A binary frame of up to 125 bytes has a header of two.
        Arc::new(Packet::binary(&vec![0; bytes - 2]).unwrap())
    }

    #[test]
    fn bytes_at_the_limit_and_one_past_it() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&packet(60), 10, 100), Ok(()));
        assert_eq!(outbox.push(&packet(41), 10, 100), Err(Full));
        assert_eq!(outbox.push(&packet(40), 10, 100), Ok(()));
        assert_eq!(outbox.push(&packet(2), 10, 100), Err(Full));
    }

    #[test]
    fn packets_at_the_limit_and_one_past_it() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            assert_eq!(outbox.push(&packet(2), 3, 100), Ok(()));
        }
        assert_eq!(outbox.push(&packet(2), 3, 100), Err(Full));
    }

    #[test]
    fn crowded_at_the_limit_and_one_below() {
        let mut outbox = Outbox::default();
        for _ in 0..CROWDED_PACKETS {
            assert!(!outbox.is_crowded());
            outbox.push(&packet(2), usize::MAX, usize::MAX).unwrap();
        }
        assert!(outbox.is_crowded());
        let crowded = |bytes: usize| {
            let mut outbox = Outbox::default();
            outbox.push(&Arc::new(Packet::control(vec![0; bytes])), usize::MAX, usize::MAX).unwrap();
            (outbox.bytes, outbox.is_crowded())
        };
        assert_eq!(crowded(CROWDED_BYTES - 1), (CROWDED_BYTES - 1, false));
        assert_eq!(crowded(CROWDED_BYTES), (CROWDED_BYTES, true));
    }

    #[test]
    fn empty_it_takes_any_packet() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&packet(100), 1, 10), Ok(()));
        assert_eq!(outbox.push(&packet(2), 1, 10), Err(Full));
    }

    #[test]
    fn what_is_being_written_counts_and_order_is_kept() {
        let mut outbox = Outbox::default();
        let sizes = |batch: &[Arc<Packet>]| batch.iter().map(|packet| packet.size()).collect::<Vec<_>>();
        for size in 2..7 {
            outbox.push(&packet(size), 5, 100).unwrap();
        }
        let mut batch = Vec::new();
        outbox.take(&mut batch, 3);
        assert_eq!(sizes(&batch), [2, 3, 4]);
        assert_eq!(outbox.push(&packet(9), 5, 100), Err(Full));
        outbox.written(1, 2);
        outbox.push(&packet(9), 5, 100).unwrap();
        outbox.put_back(batch.drain(1..));
        batch.clear();
        outbox.take(&mut batch, 64);
        assert_eq!(sizes(&batch), [3, 4, 5, 6, 9]);
        assert!(outbox.is_drained() && !outbox.is_empty());
        outbox.written(5, 27);
        assert!(outbox.is_empty());
        outbox.shrink();
        assert!(outbox.rest.is_none());
    }
}

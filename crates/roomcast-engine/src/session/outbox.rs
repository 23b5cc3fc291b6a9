//! [`Outbox`]: the packets that wait for one client, bounded by the memory that they hold.

use crate::limits::PACKET_COST;
use roomcast_protocol::{Meter, Packet};
use std::collections::VecDeque;
use std::sync::Arc;

/// A small queue. It stores its first packet inline, so that a quiet connection needs no heap for it; the storage of a
/// longer queue is released at a heartbeat. Packets that are being written still count.
///
/// A packet costs its bytes plus [`PACKET_COST`].
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    first: Option<Arc<Packet>>,
    rest: Option<Box<Rest>>,
    /// Packets that wait or are being written.
    packets: u32,
    /// The cost of these packets.
    cost: usize,
    /// Of that, the cost of the first one, which is being written or will be next. A packet has 64 MiB at most.
    front: u32,
}

/// All but the first packet.
type Rest = VecDeque<Arc<Packet>>;

/// The outbox is full: the client does not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What a packet costs in an outbox.
pub(crate) fn cost(packet: &Packet) -> usize {
    packet.size().saturating_add(PACKET_COST)
}

/// A number as `u32`, for sizes that no packet exceeds.
pub(crate) fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Outbox {
    /// Adds a packet, unless more than `hard` would wait behind the first one. An empty outbox accepts any packet.
    pub(crate) fn push(&mut self, packet: &Arc<Packet>, hard: usize) -> Result<(), Full> {
        let cost = cost(packet);
        if self.packets == 0 {
            self.front = to_u32(cost);
        } else if self.cost.saturating_sub(self.front as usize).saturating_add(cost) > hard {
            return Err(Full);
        }
        self.packets += 1;
        self.cost = self.cost.saturating_add(cost);
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

    /// Packets that wait or are being written.
    pub(crate) fn packets(&self) -> usize {
        self.packets as usize
    }

    /// The cost of these packets.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// Whether nothing waits to be taken.
    pub(crate) fn is_drained(&self) -> bool {
        self.first.is_none() && self.rest.as_ref().is_none_or(|rest| rest.is_empty())
    }

    /// Takes the packet that waits, if it is the only one and stored inline. It counts until [`Outbox::written`].
    pub(crate) fn take_only(&mut self) -> Option<Arc<Packet>> {
        if self.rest.as_ref().is_none_or(|rest| rest.is_empty()) { self.first.take() } else { None }
    }

    /// Moves up to `most` packets into `batch`. They count until [`Outbox::written`].
    pub(crate) fn take(&mut self, batch: &mut Vec<Arc<Packet>>, most: usize) {
        batch.extend(self.first.take());
        if let Some(rest) = &mut self.rest {
            let more = rest.len().min(most.saturating_sub(batch.len()));
            batch.extend(rest.drain(..more));
        }
    }

    /// Of the packets that were taken, some have left. `left` have not, and are put back in front.
    pub(crate) fn written(
        &mut self,
        packets: usize,
        cost: usize,
        mut left: impl DoubleEndedIterator<Item = Arc<Packet>>,
    ) {
        self.packets = self.packets.saturating_sub(to_u32(packets));
        self.cost = self.cost.saturating_sub(cost);
        // Most writes take all packets. Then nothing is moved, and what came meanwhile needs no storage.
        if let Some(first) = left.next() {
            if let Some(waiting) = self.first.replace(first) {
                self.rest.get_or_insert_default().push_front(waiting);
            }
            for packet in left.rev() {
                self.rest.get_or_insert_default().push_front(packet);
            }
        }
        self.front =
            if self.packets == 0 { 0 } else { self.waiting().next().map_or(0, |packet| to_u32(self::cost(packet))) };
    }

    /// Puts what waits in `first` in front of everything here.
    pub(crate) fn prepend(&mut self, mut first: Self) {
        let mut batch = Vec::with_capacity(first.packets());
        first.take(&mut batch, usize::MAX);
        self.packets += first.packets;
        self.cost = self.cost.saturating_add(first.cost);
        self.written(0, 0, batch.into_iter());
    }

    /// Charges all that waits to a meter, as it did not leave at once.
    pub(crate) fn charge(&self, meter: &Arc<Meter>) {
        for packet in self.waiting() {
            packet.charge(meter, self::cost(packet));
        }
    }

    /// Takes everything out, to be dropped outside the lock. The counts stay, so that they can be reported afterwards.
    pub(crate) fn clear(&mut self) -> impl Sized + use<> {
        (self.first.take(), self.rest.take())
    }

    /// Releases the storage of a queue that is empty now.
    pub(crate) fn shrink(&mut self) {
        self.rest.take_if(|rest| rest.is_empty());
    }

    /// The packets that wait to be taken, in order.
    fn waiting(&self) -> impl Iterator<Item = &Arc<Packet>> {
        self.first.iter().chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A packet of this cost.
    fn packet(cost: usize) -> Arc<Packet> {
        Arc::new(Packet::control(vec![0; cost - PACKET_COST]))
    }

    #[test]
    fn the_hard_bound_and_one_past_it() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.push(&packet(5_000), 1_000), Ok(()), "empty it takes any packet");
        assert_eq!(outbox.push(&packet(1_001), 1_000), Err(Full));
        assert_eq!(
            outbox.push(&packet(1_000), 1_000),
            Ok(()),
            "behind the first packet there is room for all of the bound"
        );
        assert_eq!(outbox.push(&packet(PACKET_COST), 1_000), Err(Full));
        assert_eq!((outbox.packets(), outbox.cost()), (2, 6_000));
    }

    #[test]
    fn what_is_cleared_is_still_counted() {
        let mut outbox = Outbox::default();
        let held = packet(300);
        outbox.push(&held, 1_000).unwrap();
        outbox.push(&held, 1_000).unwrap();
        drop(outbox.clear());
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!((outbox.packets(), outbox.cost()), (2, 600));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize),
        TakeOnly,
        Take(usize),
        /// This many of those that were taken have left.
        Written(usize),
        Prepend(Vec<usize>),
        Shrink,
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = PACKET_COST..400_usize;
        prop_oneof![
            4 => size.clone().prop_map(Step::Push),
            1 => Just(Step::TakeOnly),
            2 => (1..5_usize).prop_map(Step::Take),
            2 => (0..5_usize).prop_map(Step::Written),
            1 => vec(size, 0..3).prop_map(Step::Prepend),
            1 => Just(Step::Shrink),
        ]
    }

    proptest! {
        /// The model is two plain lists: what waits, and what was taken to be written.
        #[test]
        fn random_walks_agree_with_lists(steps in vec(step(), 0..60)) {
            const HARD: usize = 1_500;
            let mut outbox = Outbox::default();
            let (mut waiting, mut taken) = (Vec::<Arc<Packet>>::new(), Vec::<Arc<Packet>>::new());
            for step in steps {
                match step {
                    Step::Push(size) => {
                        let packet = packet(size);
                        let behind: usize = taken.iter().chain(&waiting).skip(1).map(|packet| cost(packet)).sum();
                        let fits = taken.len() + waiting.len() == 0 || behind + size <= HARD;
                        prop_assert_eq!(outbox.push(&packet, HARD).is_ok(), fits);
                        if fits {
                            waiting.push(packet);
                        }
                    }
                    // There is one writer, and it takes again only when what it took is written or put back.
                    Step::TakeOnly if taken.is_empty() => {
                        let only = outbox.take_only();
                        prop_assert!(only.is_none() || waiting.len() == 1);
                        if let Some(only) = only {
                            prop_assert!(Arc::ptr_eq(&only, &waiting.remove(0)));
                            taken.push(only);
                        }
                    }
                    Step::Take(most) if taken.is_empty() => {
                        outbox.take(&mut taken, most);
                        let expected: Vec<_> = waiting.drain(..most.min(waiting.len())).collect();
                        prop_assert_eq!(taken.len(), expected.len());
                        prop_assert!(taken.iter().zip(&expected).all(|(left, right)| Arc::ptr_eq(left, right)));
                    }
                    Step::Written(count) => {
                        let gone: Vec<_> = taken.drain(..count.min(taken.len())).collect();
                        outbox.written(gone.len(), gone.iter().map(|packet| cost(packet)).sum(), taken.iter().cloned());
                        waiting.splice(0..0, taken.drain(..));
                    }
                    Step::Prepend(sizes) if taken.is_empty() => {
                        let mut first = Outbox::default();
                        let packets: Vec<_> = sizes.into_iter().map(packet).collect();
                        for packet in &packets {
                            first.push(packet, usize::MAX).unwrap();
                        }
                        outbox.prepend(first);
                        waiting.splice(0..0, packets);
                    }
                    Step::Shrink => outbox.shrink(),
                    _ => {}
                }
                prop_assert_eq!(outbox.packets(), taken.len() + waiting.len());
                prop_assert_eq!(outbox.cost(), taken.iter().chain(&waiting).map(|packet| cost(packet)).sum::<usize>());
                prop_assert_eq!(outbox.front as usize, taken.iter().chain(&waiting).next().map_or(0, |packet| cost(packet)));
                prop_assert_eq!(outbox.is_drained(), waiting.is_empty());
                prop_assert_eq!(outbox.is_empty(), taken.is_empty() && waiting.is_empty());
            }
        }
    }
}

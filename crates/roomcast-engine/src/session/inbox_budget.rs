//! [`InboxBudget`]: the memory that unfinished messages of all clients may hold together.

use crate::limits::{INBOX_BUDGET_LEAST, INBOX_SHARE};
use crate::session::memory;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// Counts what clients have sent of messages that are not complete. Beyond the limit those whose messages began first
/// have to end: a client that sends at a usual speed is done before.
#[derive(Debug)]
pub(crate) struct InboxBudget<T> {
    limit: usize,
    holders: Mutex<Holders<T>>,
}

#[derive(Debug)]
struct Holders<T> {
    used: usize,
    next: u64,
    /// By ticket, and so by age.
    by_ticket: BTreeMap<u64, Holder<T>>,
}

#[derive(Debug)]
struct Holder<T> {
    owner: Weak<T>,
    bytes: usize,
}

impl<T> InboxBudget<T> {
    /// `limit` is in bytes. Defaults to an eighth of the memory that there is. It has room for two of the largest messages,
    /// so that one can always be sent.
    pub(crate) fn new(limit: Option<usize>, max_payload: usize) -> Self {
        let limit = limit.unwrap_or_else(|| (memory::available() / INBOX_SHARE).max(INBOX_BUDGET_LEAST));
        let limit = limit.max(max_payload.saturating_mul(2));
        let holders = Holders { used: 0, next: 0, by_ticket: BTreeMap::new() };
        Self { limit, holders: Mutex::new(holders) }
    }

    /// A message begins to hold memory. Returns its ticket.
    pub(crate) fn begin(&self, owner: &Arc<T>) -> u64 {
        let mut holders = self.holders.lock();
        let ticket = holders.next;
        holders.next += 1;
        holders.by_ticket.insert(ticket, Holder { owner: Arc::downgrade(owner), bytes: 0 });
        ticket
    }

    /// A message holds so many bytes now. Returns the owners that have to end; they do not count any more.
    pub(crate) fn set(&self, ticket: u64, bytes: usize) -> Vec<Arc<T>> {
        let mut holders = self.holders.lock();
        let Holders { used, by_ticket, .. } = &mut *holders;
        let Some(holder) = by_ticket.get_mut(&ticket) else { return Vec::new() };
        *used = *used - holder.bytes + bytes;
        holder.bytes = bytes;
        if *used <= self.limit {
            return Vec::new();
        }
        let enough = self.limit / 10 * 9;
        let mut ended = Vec::new();
        while *used > enough
            && let Some((_, holder)) = by_ticket.pop_first()
        {
            *used -= holder.bytes;
            ended.extend(holder.owner.upgrade());
        }
        ended
    }

    /// A message is complete, or is given up.
    pub(crate) fn end(&self, ticket: u64) {
        let mut holders = self.holders.lock();
        if let Some(holder) = holders.by_ticket.remove(&ticket) {
            holders.used -= holder.bytes;
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that count now.
    pub(crate) fn used(&self) -> usize {
        self.holders.lock().used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_and_one_past_it() {
        let budget = InboxBudget::new(Some(1_000), 100);
        let owners: Vec<_> = (0..4).map(Arc::new).collect();
        let tickets: Vec<_> = owners.iter().map(|owner| budget.begin(owner)).collect();
        for ticket in &tickets[..3] {
            assert!(budget.set(*ticket, 300).is_empty());
        }
        assert!(budget.set(tickets[3], 100).is_empty(), "the limit itself");
        // One more byte: the oldest ends, and that is enough.
        assert_eq!(budget.set(tickets[3], 101), [owners[0].clone()]);
        assert_eq!(budget.used(), 701);
        // It was counted out already.
        budget.end(tickets[0]);
        assert!(budget.set(tickets[0], 500).is_empty());
        assert_eq!(budget.used(), 701);
        budget.end(tickets[1]);
        assert_eq!(budget.used(), 401);
        // One that is gone without a word makes room too.
        let [second, third, fourth] = [1, 2, 3].map(|at| owners[at].clone());
        drop(owners);
        drop(third);
        assert_eq!(budget.set(tickets[3], 800), [] as [Arc<i32>; 0]);
        assert_eq!((budget.used(), Arc::strong_count(&second), Arc::strong_count(&fourth)), (800, 1, 1));
    }

    #[test]
    fn there_is_room_for_two_messages() {
        assert_eq!(InboxBudget::<()>::new(Some(10), 100).limit(), 200);
        assert!(InboxBudget::<()>::new(None, 100).limit() >= INBOX_BUDGET_LEAST);
    }

    /// Beside a plain model: after each step what counts is the sum of what is held, and never more than the limit.
    #[test]
    fn random_messages_stay_within_the_limit() {
        let mut state = 3_u64;
        let mut draw = move |most: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % most
        };
        let budget = InboxBudget::new(Some(10_000), 1_000);
        let mut held: Vec<(Arc<u64>, u64, usize)> = Vec::new();
        for step in 0..50_000 {
            match draw(4) {
                0 if held.len() < 50 => {
                    let owner = Arc::new(step);
                    let ticket = budget.begin(&owner);
                    held.push((owner, ticket, 0));
                }
                1 if !held.is_empty() => {
                    let (_, ticket, _) = held.remove(draw(held.len() as u64) as usize);
                    budget.end(ticket);
                }
                _ if !held.is_empty() => {
                    let at = draw(held.len() as u64) as usize;
                    let bytes = held[at].2.max(draw(1_000) as usize);
                    let ticket = held[at].1;
                    held[at].2 = bytes;
                    let ended = budget.set(ticket, bytes);
                    // The oldest, in their order.
                    let oldest: Vec<_> = held.iter().take(ended.len()).map(|(owner, ..)| owner.clone()).collect();
                    assert_eq!(ended, oldest);
                    held.drain(..ended.len());
                }
                _ => {}
            }
            let sum: usize = held.iter().map(|(.., bytes)| bytes).sum();
            assert_eq!(budget.used(), sum);
            assert!(sum <= 10_000);
        }
    }
}

//! Answers in parts: brokers limit the size of a message, so roomcast servers split large answers.

use crate::cluster::seam::ids::ServerId;
use crate::cluster::seam::message::{Body, ENVELOPE, room_bytes, socket_bytes};
use std::collections::BTreeMap;

/// Most bytes of a part; half of the broker's limit if that is less, as sizes are estimates.
pub(crate) const PART_BYTES: usize = 1_000_000;

/// Most bytes of an answer to another roomcast server. A larger answer is refused, which the asker is told.
pub(crate) const MAX_ANSWER_BYTES: usize = 32_000_000;

/// Most bytes of an answer to a server of other software, which takes it in one message. A larger answer is not given,
/// so the asker knows that its result is incomplete.
pub(crate) const MAX_FOREIGN_ANSWER_BYTES: usize = 8_000_000;

/// Splits an answer for a broker that takes messages of up to `largest` bytes.
///
/// # Errors
/// The answer's size, if it is too large altogether.
pub(crate) fn divide(answer: Body, largest: usize) -> Result<Vec<Body>, usize> {
    let (size, most) = (answer.size(), PART_BYTES.min(largest / 2));
    if size > MAX_ANSWER_BYTES {
        return Err(size);
    }
    if size <= most {
        return Ok(vec![answer]);
    }
    Ok(match answer {
        Body::Sockets { request, sockets, .. } => parts(sockets, socket_bytes, most, |sockets, parts| {
            let request = request.clone();
            Body::Sockets { request, sockets, parts }
        }),
        Body::Rooms { request, rooms, .. } => parts(rooms, room_bytes, most, |rooms, parts| {
            let request = request.clone();
            Body::Rooms { request, rooms, parts }
        }),
        // A single value: it goes out as it is, or does not.
        other => vec![other],
    })
}

fn parts<T>(all: Vec<T>, bytes_of: fn(&T) -> usize, most: usize, body: impl Fn(Vec<T>, u64) -> Body) -> Vec<Body> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut left = 0;
    for item in all {
        let bytes = bytes_of(&item);
        match parts.last_mut().filter(|_| bytes <= left) {
            Some(part) => {
                left -= bytes;
                part.push(item);
            }
            // An item that is larger than a part has a part of its own.
            None => {
                left = most.saturating_sub(ENVELOPE + bytes);
                parts.push(vec![item]);
            }
        }
    }
    let count = parts.len() as u64;
    parts.into_iter().map(|part| body(part, count)).collect()
}

/// How many parts of their answers servers have sent.
#[derive(Debug, Default)]
pub(crate) struct PartsSeen(BTreeMap<ServerId, u64>);

impl PartsSeen {
    /// Notes a part. Returns whether it completes the answer.
    pub(crate) fn is_last(&mut self, sender: Option<&ServerId>, parts: u64) -> bool {
        let Some(sender) = sender.filter(|_| parts > 1) else { return true };
        let seen = self.0.entry(sender.clone()).or_default();
        *seen += 1;
        *seen >= parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::seam::ids::RequestId;
    use crate::seam::recipient::{Details, SocketDetails};
    use crate::seam::room::Room;

    fn socket(bytes: usize) -> SocketDetails {
        let details = Details { handshake: "{}".to_owned(), data: format!("\"{}\"", "x".repeat(bytes)) };
        SocketDetails { id: "i".repeat(20), rooms: vec!["room".into()], details }
    }

    fn sockets(sizes: &[usize]) -> Body {
        let sockets = sizes.iter().map(|bytes| socket(*bytes)).collect();
        Body::Sockets { request: RequestId("r".into()), sockets, parts: 1 }
    }

    fn divided(answer: Body, largest: usize) -> Vec<(usize, u64, usize)> {
        let told = |body: Body| {
            let size = body.size();
            match body {
                Body::Sockets { sockets, parts, .. } => (sockets.len(), parts, size),
                Body::Rooms { rooms, parts, .. } => (rooms.len(), parts, size),
                other => panic!("{other:?}"),
            }
        };
        divide(answer, largest).unwrap().into_iter().map(told).collect()
    }

    #[test]
    fn an_answer_that_fits_one_message_is_not_split() {
        let small = sockets(&[10, 10]);
        let size = small.size();
        assert_eq!(divided(small.clone(), usize::MAX), [(2, 1, size)]);
        assert_eq!(divided(small.clone(), 2 * size), [(2, 1, size)], "at the limit");
        let parts = divided(small, 2 * size - 2);
        assert_eq!(parts.iter().map(|(sockets, parts, _)| (*sockets, *parts)).collect::<Vec<_>>(), [(1, 2), (1, 2)]);
    }

    #[test]
    fn parts_keep_to_the_limit_and_together_hold_everything() {
        let parts = divided(sockets(&[300_000; 10]), usize::MAX);
        assert!(parts.iter().all(|(_, count, size)| *count == parts.len() as u64 && *size <= PART_BYTES), "{parts:?}");
        assert_eq!(parts.iter().map(|(sockets, ..)| sockets).sum::<usize>(), 10);
        let rooms: Vec<Room> = (0..100_000).map(|room| room.to_string().as_str().into()).collect();
        let parts = divided(Body::Rooms { request: RequestId("r".into()), rooms, parts: 1 }, 16_000);
        assert!(parts.iter().all(|(.., size)| *size <= 8_000), "{parts:?}");
        assert_eq!(parts.iter().map(|(rooms, ..)| rooms).sum::<usize>(), 100_000);
        // An item that fits no part has one of its own; the broker decides what becomes of it.
        assert_eq!(divided(sockets(&[10, 2_000_000, 10]), usize::MAX).len(), 3);
    }

    #[test]
    fn answers_are_bounded() {
        let mut sizes = vec![1_000_000; 31];
        let more = MAX_ANSWER_BYTES - sockets(&sizes).size() - socket_bytes(&socket(0));
        sizes.push(more);
        assert_eq!(sockets(&sizes).size(), MAX_ANSWER_BYTES);
        assert_eq!(divided(sockets(&sizes), usize::MAX).len(), 32);
        sizes[31] += 1;
        assert_eq!(divide(sockets(&sizes), usize::MAX), Err(MAX_ANSWER_BYTES + 1));
    }

    #[test]
    fn an_answer_is_complete_with_its_last_part() {
        let (mut seen, a, b) = (PartsSeen::default(), ServerId::from("a"), ServerId::from("b"));
        let last: Vec<bool> = [(&a, 3), (&b, 2), (&a, 3), (&b, 2), (&a, 3)]
            .into_iter()
            .map(|(sender, parts)| seen.is_last(Some(sender), parts))
            .collect();
        assert_eq!(last, [false, false, false, true, true]);
        // A server without a name answers in one message. So does one that says so, or that says 0.
        assert!(seen.is_last(None, 5) && seen.is_last(Some(&a), 1) && seen.is_last(Some(&a), 0));
    }
}

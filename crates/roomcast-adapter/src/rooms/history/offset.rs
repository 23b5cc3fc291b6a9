//! [`Offsets`]: positions in a log as the text that a client keeps and reports.

use roomcast_protocol::SocketId;

/// An offset is `EPOCH.DIGITS`: four random characters that stand for one log, and a position in it. Clients of Node's
/// server take any string for an offset; a text of the application is not mistaken for one of ours.
#[derive(Debug)]
pub(crate) struct Offsets {
    epoch: [u8; EPOCH_BYTES],
}

const EPOCH_BYTES: usize = 4;
/// More digits than any position has: 64^10 events are 30,000 years at a million a second.
const MAX_DIGITS: usize = 10;
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";

/// What an offset says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A position in this log.
    At(u64),
    /// A position in another log: that of another server, or of this one before it was restarted.
    Elsewhere,
}

impl Offsets {
    pub(crate) fn new() -> Self {
        // Without random bytes, offsets of another log could be taken for ours, but only with a private id of ours.
        let id = SocketId::random().ok();
        let epoch = id.as_ref().and_then(|id| id.as_str().as_bytes().first_chunk()).copied();
        Self { epoch: epoch.unwrap_or(*b"0000") }
    }

    /// The offset as a JSON value.
    pub(crate) fn item(&self, position: u64) -> String {
        let mut digits = [0; MAX_DIGITS];
        let (mut rest, mut count) = (position, 0);
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS.get((rest % 64) as usize).copied().unwrap_or_default();
            (rest, count) = (rest / 64, count + 1);
            if rest == 0 {
                break;
            }
        }
        let mut item = String::with_capacity(EPOCH_BYTES + count + 3);
        item.push('"');
        item.extend(self.epoch.iter().map(|byte| char::from(*byte)));
        item.push('.');
        item.extend(digits.iter().skip(MAX_DIGITS - count).map(|byte| char::from(*byte)));
        item.push('"');
        item
    }

    /// What an offset says; `None` if it is not an offset of any log of ours.
    pub(crate) fn read(&self, offset: &str) -> Option<Place> {
        let (epoch, digits) = offset.as_bytes().split_first_chunk::<EPOCH_BYTES>()?;
        let digits = digits.strip_prefix(b".")?;
        if digits.is_empty() || digits.len() > MAX_DIGITS || epoch.iter().any(|byte| !DIGITS.contains(byte)) {
            return None;
        }
        let value = |byte: &u8| DIGITS.iter().position(|digit| digit == byte);
        let position = digits.iter().try_fold(0, |sum, byte| Some(sum * 64 + value(byte)? as u64))?;
        Some(if *epoch == self.epoch { Place::At(position) } else { Place::Elsewhere })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_back_by_their_own_log_alone() {
        let (ours, theirs) = (Offsets { epoch: *b"aB-_" }, Offsets { epoch: *b"0000" });
        for position in [0, 1, 63, 64, 4_095, 4_096, 123_456_789, (1 << 60) - 1] {
            let item = ours.item(position);
            let text: String = serde_json::from_str(&item).unwrap();
            assert_eq!(ours.read(&text), Some(Place::At(position)), "{text}");
            assert_eq!(theirs.read(&text), Some(Place::Elsewhere), "{text}");
        }
        assert_eq!(ours.item(4_097), r#""aB-_.101""#);
    }

    #[test]
    fn other_texts_are_no_offsets() {
        let ours = Offsets::new();
        for text in [
            "",
            "abc",
            "Q8BWHfJ",
            "Q8BWHfJ.1",
            "hello world",
            "abcd.",
            "abcd.!",
            "ab\"d.1",
            "abcd.00000000000",
            "äbc.1",
        ] {
            assert_eq!(ours.read(text), None, "{text}");
        }
    }
}

//! Polling payloads: packets in one HTTP body, with record separators between them.

use crate::engineio::packet::{EngineError, EnginePacket};
use crate::limits::MAX_PACKETS_PER_PAYLOAD;

/// Separates the packets of a payload.
pub const SEPARATOR: u8 = 0x1e;

/// Why a payload could not be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// A part is empty or begins with an unknown character.
    #[error(transparent)]
    Packet(#[from] EngineError),
    /// More than [`MAX_PACKETS_PER_PAYLOAD`] packets.
    #[error("more than {MAX_PACKETS_PER_PAYLOAD} packets in one payload")]
    TooManyPackets,
}

/// The packets of a payload, in order. The first error is the last item: packets before it count, those after it do not
/// (as in engine.io-parser).
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    parts: std::str::Split<'a, char>,
    left: usize,
    ended: bool,
}

impl<'a> Payload<'a> {
    /// Reads `body`, the body of a POST.
    pub fn new(body: &'a str) -> Self {
        Self { parts: body.split(SEPARATOR as char), left: MAX_PACKETS_PER_PAYLOAD, ended: false }
    }
}

impl<'a> Iterator for Payload<'a> {
    type Item = Result<EnginePacket<'a>, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let part = self.parts.next()?;
        let packet = match self.left.checked_sub(1) {
            None => Err(PayloadError::TooManyPackets),
            Some(left) => {
                self.left = left;
                EnginePacket::from_text(part).map_err(PayloadError::from)
            }
        };
        self.ended = packet.is_err();
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_per_payload_at_the_limit_and_one_past_it() {
        let body = |packets: usize| vec!["4"; packets].join("\u{1e}");
        let at = body(MAX_PACKETS_PER_PAYLOAD);
        assert_eq!(Payload::new(&at).filter(Result::is_ok).count(), MAX_PACKETS_PER_PAYLOAD);
        assert!(Payload::new(&at).all(|packet| packet.is_ok()));
        let past = body(MAX_PACKETS_PER_PAYLOAD + 1);
        assert_eq!(Payload::new(&past).last(), Some(Err(PayloadError::TooManyPackets)));
    }
}

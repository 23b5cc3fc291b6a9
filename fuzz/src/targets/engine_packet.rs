//! Engine.IO packets as text, and polling payloads of them.

use crate::heap;
use crate::novelty::{seen, size};
use roomcast_protocol::limits::MAX_PACKETS_PER_PAYLOAD;
use roomcast_protocol::{EngineData, EnginePacket, Packet, Payload, PayloadError};

pub(super) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let packets: Vec<_> = heap::within(1_024 + 64 * text.len(), || Payload::new(text).collect());
    assert!(packets.len() <= MAX_PACKETS_PER_PAYLOAD + 1);
    let parts = text.split('\u{1e}');
    for (at, (packet, part)) in packets.iter().zip(parts).enumerate() {
        assert_eq!(*packet, EnginePacket::from_text(part).map_err(PayloadError::from));
        let Ok(packet) = packet else {
            assert_eq!(at + 1, packets.len(), "something follows an error");
            seen("error");
            continue;
        };
        match &packet.data {
            EngineData::Text(rest) => {
                let again = Packet::engine(packet.kind, rest).unwrap();
                assert_eq!(again.text(), Some(part));
                seen((packet.kind as u8, size(rest.len()), size(at)));
            }
            EngineData::Binary(bytes) => {
                assert!(bytes.len() * 4 <= part.len() * 3, "more bytes than base64 has room for");
                // As our server would send them.
                let mut sent = Vec::new();
                Packet::binary(bytes).unwrap().push_polling(&mut sent);
                let sent = String::from_utf8(sent).unwrap();
                assert_eq!(EnginePacket::from_text(&sent).unwrap(), *packet);
                seen((size(bytes.len()), bytes.len() % 3, sent == part, size(at)));
            }
        }
    }
}

//! [`Slots`]: which node of a Cluster has a channel.

use crate::bus::topology::cluster_nodes;
use crate::layout::{at, is_tls};
use redis::ConnectionInfo;
use std::fmt;
use std::sync::Arc;

/// Slots of a Cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// A Redis server that has channels.
pub(super) struct Node {
    /// Host and port: what it is known by here.
    pub(super) address: Arc<str>,
    pub(super) info: ConnectionInfo,
}

impl Node {
    pub(super) fn new(info: ConnectionInfo) -> Arc<Self> {
        Arc::new(Self { address: info.addr().to_string().into(), info })
    }
}

/// The same server, whatever the login.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.address).finish()
    }
}

/// The node of each slot. Without a Cluster one server has them all. Cloning is cheap.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Slots(Arc<Vec<(u16, u16, Arc<Node>)>>);

impl Slots {
    /// All slots are one server's.
    pub(super) fn all_of(node: Arc<Node>) -> Self {
        Self(Arc::new(vec![(0, SLOTS - 1, node)]))
    }

    /// As an answer to CLUSTER NODES has them: the slots of primaries that are not failed. `asked`: the node that answered.
    pub(super) fn read(text: &str, asked: &ConnectionInfo) -> Self {
        let mut slots = Vec::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (Some(flags), Some(ranges)) = (fields.get(2), fields.get(8..)) else { continue };
            let has = |flag: &str| flags.split(',').any(|it| it == flag);
            if !has("master") {
                continue;
            }
            let node = match cluster_nodes(line, is_tls(asked)).next() {
                Some((host, port)) => Node::new(at(asked, host, port)),
                // One that never met another does not know its own address.
                None if has("myself") => Node::new(asked.clone()),
                None => continue,
            };
            for range in ranges {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                // What is on its way from or to another node stands in brackets; it is here until it has moved.
                if let (Ok(first), Ok(last)) = (first.parse(), last.parse()) {
                    slots.push((first, last, node.clone()));
                }
            }
        }
        Self(Arc::new(slots))
    }

    /// Who has a slot.
    pub(super) fn of(&self, slot: u16) -> Option<&Arc<Node>> {
        self.0.iter().rev().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(_, _, node)| node)
    }

    /// A number for the node that has a slot, which a node that takes its place has too: its lowest slot. 0 if nobody has it.
    pub(super) fn road(&self, slot: u16) -> u16 {
        let Some(node) = self.of(slot) else { return 0 };
        self.0.iter().filter(|(_, _, it)| it == node).map(|(first, _, _)| *first).min().unwrap_or_default()
    }

    /// A slot has moved, as another node says. It counts until all is asked anew.
    pub(super) fn moved(&mut self, slot: u16, host: &str, port: u16) {
        let Some((_, _, like)) = self.0.first() else { return };
        let info = at(&like.info, host, port);
        let known = self.0.iter().find(|(_, _, node)| node.info.addr() == info.addr()).map(|(_, _, node)| node.clone());
        let slots = Arc::make_mut(&mut self.0);
        slots.retain(|(first, last, _)| (*first, *last) != (slot, slot));
        slots.push((slot, slot, known.unwrap_or_else(|| Node::new(info))));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a refusal says of where a channel is: `MOVED 3999 127.0.0.1:6381`. The host may be missing: it is that of who says so.
pub(super) fn moved(error: &str) -> Option<(u16, &str, u16)> {
    let (slot, address) = error.strip_prefix("MOVED ")?.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    Some((slot.parse().ok()?, host, port.parse().ok()?))
}

/// The slot of a channel: CRC16 of its name, or of what stands in its first braces, if something does.
pub(super) fn slot(channel: &str) -> u16 {
    let name = channel.as_bytes();
    let tag = channel.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag.as_bytes());
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(name)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc: u16, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::IntoConnectionInfo;

    #[test]
    fn slots_of_channels() {
        assert_eq!(crc16(b"123456789"), 0x31c3, "the check value of the specification");
        // Measured: `CLUSTER KEYSLOT`, see vectors/redis-cluster.json.
        assert_eq!(slot("socket.io#/#"), 13_868);
        assert_eq!(slot("socket.io-request#/#"), 12_937);
        assert_eq!(slot("a{user}b"), slot("user"));
        assert_eq!(slot("a{user}{x}"), slot("user"));
        assert_eq!(slot("{}user"), crc16(b"{}user") % SLOTS);
        assert_eq!(slot("a}{user"), crc16(b"a}{user") % SLOTS);
        assert_eq!(slot("a{b"), crc16(b"a{b") % SLOTS);
    }

    #[test]
    fn who_has_a_slot() {
        let text = "a 127.0.0.1:30004@31004 slave e 0 1426238317239 4 connected\n\
                    b 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922 7\n\
                    c 127.0.0.1:30003@31003 master,fail - 0 1 3 disconnected 10923-16383\n\
                    e :30001@31001 myself,master - 0 0 1 connected 0-6 8-5460 [93->-b]\n\nrubbish\n";
        let asked = "redis://:secret@10.0.0.1:30001".into_connection_info().unwrap();
        let mut slots = Slots::read(text, &asked);
        let of = |slots: &Slots, slot| slots.of(slot).map(|node| node.address.to_string());
        let b = || Some("127.0.0.1:30002".to_owned());
        assert_eq!(
            (of(&slots, 0), of(&slots, 93)),
            (Some("10.0.0.1:30001".to_owned()), Some("10.0.0.1:30001".to_owned()))
        );
        assert_eq!((of(&slots, 7), of(&slots, 5461), of(&slots, 10_922)), (b(), b(), b()));
        assert_eq!(of(&slots, 10_923), None, "its node is failed");
        assert_eq!([0, 93, 7, 5_461, 10_922, 10_923].map(|slot| slots.road(slot)), [0, 0, 7, 7, 7, 0]);
        for _ in 0..3 {
            slots.moved(93, "127.0.0.1", 30_002);
            slots.moved(94, "127.0.0.1", 9);
        }
        assert_eq!((of(&slots, 93), of(&slots, 94)), (b(), Some("127.0.0.1:9".to_owned())));
        let info = &slots.of(94).unwrap().info;
        assert_eq!(info.redis_settings().password(), Some("secret"));
        assert!(
            Slots::default().is_empty() && !slots.is_empty() && slots.0.len() == 6,
            "what is told again takes no more"
        );
    }

    #[test]
    fn refusals_that_tell_where() {
        assert_eq!(moved("MOVED 3999 127.0.0.1:6381"), Some((3_999, "127.0.0.1", 6_381)));
        assert_eq!(moved("MOVED 1 ::1:6381"), Some((1, "::1", 6_381)));
        assert_eq!(moved("MOVED 1 :6381"), Some((1, "", 6_381)));
        for other in ["ASK 1 a:1", "MOVED", "MOVED x a:1", "MOVED 1 a", "MOVED 1 a:99999"] {
            assert_eq!(moved(other), None, "{other}");
        }
    }
}

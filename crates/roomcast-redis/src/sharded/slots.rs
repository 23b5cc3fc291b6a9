//! [`Slots`]: which node of a Cluster has which channel.

use super::node::Node;
use crate::config::layout::{at, is_tls};
use crate::topology::cluster_nodes::cluster_nodes;
use redis::ConnectionInfo;
use std::sync::Arc;

pub(crate) const SLOTS: u16 = 16_384;

/// The node of each slot. Without a Cluster one server has them all. Cloning is cheap.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Slots(Arc<Vec<(u16, u16, Arc<Node>)>>);

impl Slots {
    pub(super) fn all_of(node: Arc<Node>) -> Self {
        Self(Arc::new(vec![(0, SLOTS - 1, node)]))
    }

    /// Reads an answer to CLUSTER NODES: the slots of primaries that have not failed. `asked`: the node that answered.
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
                // A node that never met another one does not know its own address.
                None if has("myself") => Node::new(asked.clone()),
                None => continue,
            };
            for range in ranges {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                // A slot that is moving to or from another node stands in brackets, and does not parse. It stays where
                // it is listed until it has moved.
                if let (Ok(first), Ok(last)) = (first.parse(), last.parse()) {
                    slots.push((first, last, node.clone()));
                }
            }
        }
        Self(Arc::new(slots))
    }

    pub(super) fn of(&self, slot: u16) -> Option<&Arc<Node>> {
        self.0.iter().rev().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(_, _, node)| node)
    }

    /// A number for the node that has a slot: the node's lowest slot, so that a node which takes its place gets the
    /// same number. 0 if no node has the slot.
    pub(super) fn road(&self, slot: u16) -> u16 {
        self.of(slot).and_then(|node| self.road_of(node)).unwrap_or_default()
    }

    /// The number of a node; `None` if it has no slots.
    pub(super) fn road_of(&self, node: &Node) -> Option<u16> {
        self.0.iter().filter(|(_, _, it)| **it == *node).map(|(first, _, _)| *first).min()
    }

    /// A node says that a slot has moved. This holds until the slots are read anew.
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

/// Reads slot, host and port from a refusal such as `MOVED 3999 127.0.0.1:6381`. An empty host stands for the node that
/// refused.
pub(super) fn moved(error: &str) -> Option<(u16, &str, u16)> {
    let (slot, address) = error.strip_prefix("MOVED ")?.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    Some((slot.parse().ok()?, host, port.parse().ok()?))
}

/// The slot of a channel: CRC16 of its name, or of the text in its first braces if there is any.
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
    fn the_node_of_a_slot() {
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
        assert_eq!(of(&slots, 10_923), None, "its node has failed");
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
            "repeated moves take no more space"
        );
    }

    #[test]
    fn refusals_that_name_the_node() {
        assert_eq!(moved("MOVED 3999 127.0.0.1:6381"), Some((3_999, "127.0.0.1", 6_381)));
        assert_eq!(moved("MOVED 1 ::1:6381"), Some((1, "::1", 6_381)));
        assert_eq!(moved("MOVED 1 :6381"), Some((1, "", 6_381)));
        for other in ["ASK 1 a:1", "MOVED", "MOVED x a:1", "MOVED 1 a", "MOVED 1 a:99999"] {
            assert_eq!(moved(other), None, "{other}");
        }
    }
}

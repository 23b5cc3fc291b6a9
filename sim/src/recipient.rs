//! [`Double`]: stands in for a socket, records what it gets, and answers as the seed says.

use crate::got::Got;
use crate::habits::Client;
use crate::mark::WELCOME;
use crate::network::Sim;
use crate::random::mix;
use roomcast_adapter::{Details, Recipient, Wakes};
use roomcast_protocol::Packet;
use std::sync::{Arc, Weak};

/// The double of a socket.
#[derive(Debug)]
pub(crate) struct Double {
    sim: Weak<Sim>,
    seed: u64,
    socket: usize,
    got: Arc<Got>,
    /// Whether it keeps offsets.
    recovers: bool,
}

impl Double {
    pub(crate) fn new(sim: &Arc<Sim>, seed: u64, socket: usize, got: Arc<Got>) -> Arc<Self> {
        let recovers = sim.setup.recovery.is_some();
        Arc::new(Self { sim: Arc::downgrade(sim), seed, socket, got, recovers })
    }
}

/// The number of the event, and the id to answer to.
fn read(packet: &Packet) -> Option<(u64, Option<u64>)> {
    let text = packet.text()?;
    if text.starts_with("40") {
        return Some((WELCOME, None));
    }
    let (head, event) = text.split_once('[')?;
    let n = event.trim_end_matches(']').split(',').nth(1)?.parse().ok()?;
    let ack = head.rsplit(',').next()?;
    let ack = if head.contains(',') { ack } else { ack.strip_prefix("42")? };
    Some((n, ack.parse().ok()))
}

/// The first packet of a connection to a namespace.
pub(crate) fn welcome(namespace: &str) -> Option<Arc<Packet>> {
    Packet::connect(namespace, "{}").ok().map(Arc::new)
}

/// The last argument of an event, if it is a string.
fn last_string(packet: &Packet) -> Option<String> {
    let text = packet.text()?.strip_suffix("\"]")?;
    text.rsplit_once('"').map(|(_, last)| last.to_owned())
}

impl Recipient for Double {
    fn deliver(&self, packet: &Arc<Packet>, _: &mut Wakes) {
        // A packet that cannot be read gets a number that no event has.
        let (n, ack) = read(packet).unwrap_or((u64::MAX, None));
        // The last argument of an event that wants an answer is a function.
        let offset = if self.recovers && ack.is_none() { last_string(packet) } else { None };
        self.got.event(n, offset);
        let (Some(ack), Some(sim)) = (ack, self.sim.upgrade()) else { return };
        let client = Client::of(self.seed, n, self.socket);
        if client != Client::Silent {
            tokio::spawn(sim.client(self.socket, ack, n, client));
        }
    }

    fn disconnect(&self, _: bool) {
        self.got.disconnect();
    }

    fn supersede(&self) {
        if let Some(sim) = self.sim.upgrade() {
            sim.lose(self.socket, mix(&[self.seed, self.socket as u64, 11]) % 3 * 30);
        }
    }

    fn details(&self) -> Details {
        Details::default()
    }
}

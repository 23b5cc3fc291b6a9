//! [`Double`]: stands in for a socket, records what it gets, and answers as the seed says.

use crate::got::Got;
use crate::habits::Client;
use crate::network::Sim;
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
}

impl Double {
    pub(crate) fn new(sim: &Arc<Sim>, seed: u64, socket: usize, got: Arc<Got>) -> Arc<Self> {
        Arc::new(Self { sim: Arc::downgrade(sim), seed, socket, got })
    }
}

/// The number of the event, and the id to answer to.
fn read(packet: &Packet) -> Option<(u64, Option<u64>)> {
    let (head, event) = packet.text()?.split_once('[')?;
    let n = event.trim_end_matches(']').split(',').nth(1)?.parse().ok()?;
    let ack = head.rsplit(',').next()?;
    let ack = if head.contains(',') { ack } else { ack.strip_prefix("42")? };
    Some((n, ack.parse().ok()))
}

impl Recipient for Double {
    fn deliver(&self, packet: &Arc<Packet>, _: &mut Wakes) {
        // A packet that cannot be read gets a number that no event has.
        let (n, ack) = read(packet).unwrap_or((u64::MAX, None));
        self.got.event(n);
        let (Some(ack), Some(sim)) = (ack, self.sim.upgrade()) else { return };
        let client = Client::of(self.seed, n, self.socket);
        if client != Client::Silent {
            tokio::spawn(sim.client(self.socket, ack, n, client));
        }
    }

    fn disconnect(&self, _: bool) {
        self.got.disconnect();
    }

    fn details(&self) -> Details {
        Details::default()
    }
}

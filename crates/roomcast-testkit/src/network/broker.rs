//! [`FaultyBroker`]: a server's connection to the network, which fails on command.

use crate::network::faults::Faults;
use crate::network::gate::Gate;
use parking_lot::Mutex;
use roomcast_adapter::async_trait;
use roomcast_adapter::cluster::{
    Broker, BrokerError, Count, Inbox, MemoryBroker, MemoryNetwork, Outcome, Outgoing, SERVERS, ServerId,
};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A broker in memory behind the [`Faults`] of one server.
pub(crate) struct FaultyBroker {
    network: MemoryNetwork,
    broker: Arc<MemoryBroker>,
    pub(crate) faults: Arc<Faults>,
    /// By namespace.
    gates: Mutex<HashMap<String, Arc<Gate>>>,
}

impl FaultyBroker {
    pub(crate) fn new(network: &MemoryNetwork) -> Arc<Self> {
        let (network, broker) = (network.clone(), network.broker());
        Arc::new(Self { network, broker, faults: Arc::default(), gates: Mutex::default() })
    }

    /// Cuts the server off from the others, or reconnects it.
    pub(crate) fn cut(&self, cut: bool) {
        self.network.cut_off(&self.broker, cut);
    }
}

#[async_trait]
impl Broker for FaultyBroker {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        let gate = {
            let mut gates = self.gates.lock();
            if gates.contains_key(&**namespace) {
                return;
            }
            let gate = Arc::new(Gate::new(inbox, &self.faults));
            gates.insert(namespace.to_string(), gate.clone());
            gate
        };
        self.broker.open(namespace, id, gate);
    }

    async fn close(&self, namespace: &str) {
        self.broker.close(namespace).await;
        let gate = self.gates.lock().remove(namespace);
        if let Some(gate) = gate {
            gate.close();
        }
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        self.faults.thawed().await;
        // What servers tell one another is not for clients, and a server tells it again.
        let loses = |outgoing: &Outgoing| &*outgoing.namespace != SERVERS && self.faults.loses();
        let lost: Vec<bool> = batch.iter().map(loses).collect();
        let kept = batch.iter().zip(&lost).filter(|(_, lost)| !**lost);
        let kept: Vec<Outgoing> = kept.map(|(outgoing, _)| outgoing.clone()).collect();
        let mut outcomes = self.broker.publish(&kept).await.into_iter();
        // The server is told that a lost message went out.
        lost.iter().map_while(|lost| if *lost { Some(Outcome::Sent) } else { outcomes.next() }).collect()
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        self.broker.count(namespace).await
    }
}

impl fmt::Debug for FaultyBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyBroker").field("faults", &self.faults).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_adapter::testkit::{Brokers, broker_contract};
    use std::time::Duration;

    fn brokers(count: usize, delay: Duration) -> Brokers {
        let network = MemoryNetwork::new();
        let brokers: Vec<_> = (0..count).map(|_| FaultyBroker::new(&network)).collect();
        brokers.iter().for_each(|broker| broker.faults.set_delay(delay));
        let all = brokers.clone();
        Brokers::new(brokers).cut_off(move |broker, cut| {
            all[broker].cut(cut);
            std::future::ready(())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_contract_of_brokers() {
        broker_contract(async |count| brokers(count, Duration::ZERO)).await;
        broker_contract(async |count| brokers(count, Duration::from_millis(30))).await;
    }
}

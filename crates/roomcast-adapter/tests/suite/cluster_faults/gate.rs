//! [`Gate`]: a broker whose publishing and receiving the test controls.

use super::stage::Server;
use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{
    Arrival, Body, Broker, BrokerError, ClusterOptions, Count, Inbox, MemoryBroker, MemoryNetwork, Outcome, Outgoing,
    SERVERS, ServerId,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What [`Gate`] does to the next batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publish {
    Through,
    /// Nothing goes out, not even announcements.
    Nothing,
    /// The batch goes out, but the publisher never gets its outcome.
    Hang,
    /// The first so many messages go out, and the outcome says that none did.
    Part(usize),
    /// The broker returns more outcomes than there were messages.
    TooMany,
    /// The broker returns no outcomes.
    Silence,
    /// Every second message goes out, and the others do not.
    Every2nd,
    /// Broadcasts and answers of this many bytes or more are refused for good.
    Refuse(usize),
}

/// A broker whose publishing and receiving the test controls, independently of each other. Announcements always go out,
/// except with [`Publish::Nothing`].
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) inner: Arc<MemoryBroker>,
    pub(crate) publish: Mutex<Publish>,
    pub(crate) keeps_history: bool,
    pub(crate) largest: usize,
    /// What it returns when it is asked to count servers.
    pub(crate) counts: Mutex<Option<Result<Count, BrokerError>>>,
    /// How long counting takes.
    pub(crate) counting_takes: Mutex<Duration>,
    /// Inboxes are not told that messages arrive before [`Gate::tell`], though they do and the server is counted, as
    /// happens in Redis for a moment.
    pub(crate) late: bool,
    /// How long questions may arrive after a namespace was closed.
    pub(crate) lingers: Duration,
    /// How long publishing a batch takes.
    pub(crate) takes: Duration,
    pub(crate) opened: Mutex<Vec<Opened>>,
}

#[derive(Clone)]
pub(crate) struct Opened {
    namespace: Arc<str>,
    id: ServerId,
    inbox: Arc<dyn Inbox>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.namespace.fmt(f)
    }
}

impl Gate {
    pub(crate) fn new(network: &MemoryNetwork) -> Self {
        let publish = Mutex::new(Publish::Through);
        Self {
            inner: network.broker(),
            publish,
            keeps_history: false,
            largest: usize::MAX,
            counts: Mutex::default(),
            counting_takes: Mutex::default(),
            late: false,
            lingers: Duration::ZERO,
            takes: Duration::ZERO,
            opened: Mutex::default(),
        }
    }

    /// A server behind it.
    pub(crate) fn server(self, name: &str) -> (Arc<Self>, Server) {
        let gate = Arc::new(self);
        let server = Server::over(gate.inner.clone(), gate.clone(), name, ClusterOptions::default());
        (gate, server)
    }

    /// Tells every inbox that messages arrive.
    pub(crate) fn tell(&self) {
        self.inboxes().iter().for_each(|inbox| inbox.connected());
    }

    /// Breaks the connection, though its subscriptions are still counted.
    pub(crate) fn lose(&self) {
        self.inboxes().iter().for_each(|inbox| inbox.lost());
    }

    /// Unsubscribes from the servers' announcements.
    pub(crate) async fn deafen(&self) {
        self.inner.close(SERVERS).await;
        self.inbox(SERVERS).lost();
    }

    /// Subscribes to the servers' announcements again.
    pub(crate) fn hear(&self) {
        let Opened { namespace, id, inbox } = self.opened(SERVERS);
        self.inner.open(&namespace, &id, inbox.clone());
        inbox.lost();
        inbox.connected();
    }

    pub(crate) fn inbox(&self, namespace: &str) -> Arc<dyn Inbox> {
        self.opened(namespace).inbox
    }

    fn opened(&self, namespace: &str) -> Opened {
        self.opened.lock().iter().find(|opened| *opened.namespace == *namespace).unwrap().clone()
    }

    fn inboxes(&self) -> Vec<Arc<dyn Inbox>> {
        self.opened.lock().iter().map(|opened| opened.inbox.clone()).collect()
    }

    pub(crate) fn set(&self, publish: Publish) {
        *self.publish.lock() = publish;
    }
}

#[async_trait]
impl Broker for Gate {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        self.opened.lock().push(Opened { namespace: namespace.clone(), id: id.clone(), inbox: inbox.clone() });
        self.inner.open(namespace, id, if self.late { Arc::new(SilentInbox(inbox)) } else { inbox });
    }

    async fn close(&self, namespace: &str) {
        self.inner.close(namespace).await;
    }

    fn lingers(&self) -> Duration {
        self.lingers
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        tokio::time::sleep(self.takes).await;
        let again = || Outcome::Again("the test wants it".to_owned());
        let how = *self.publish.lock();
        let text = |outgoing: &Outgoing| match &outgoing.message.body {
            Body::Broadcast { data, .. } => data.items().len(),
            Body::Sockets { .. } => outgoing.message.body.size(),
            _ => 0,
        };
        match how {
            Publish::Nothing => vec![again()],
            _ if batch.iter().all(|outgoing| &*outgoing.namespace == SERVERS) => self.inner.publish(batch).await,
            Publish::Through => self.inner.publish(batch).await,
            Publish::Hang => {
                self.inner.publish(batch).await;
                std::future::pending().await
            }
            Publish::Part(count) => {
                self.inner.publish(&batch[..count.min(batch.len())]).await;
                vec![again(); batch.len()]
            }
            Publish::TooMany => {
                let mut outcomes = self.inner.publish(batch).await;
                outcomes.push(Outcome::Never("of nothing".to_owned()));
                outcomes
            }
            Publish::Silence => {
                self.inner.publish(batch).await;
                Vec::new()
            }
            Publish::Every2nd => {
                let mut outcomes = Vec::new();
                for (number, outgoing) in batch.iter().enumerate() {
                    let goes = number % 2 == 1;
                    outcomes.push(if goes { Outcome::Sent } else { again() });
                    if goes {
                        self.inner.publish(std::slice::from_ref(outgoing)).await;
                    }
                }
                outcomes
            }
            Publish::Refuse(bytes) => {
                let mut outcomes = Vec::new();
                for outgoing in batch {
                    let refused = text(outgoing) >= bytes;
                    outcomes.extend(if refused {
                        vec![Outcome::Never("too long".to_owned())]
                    } else {
                        self.inner.publish(std::slice::from_ref(outgoing)).await
                    });
                }
                outcomes
            }
        }
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        let takes = *self.counting_takes.lock();
        tokio::time::sleep(takes).await;
        let said = self.counts.lock().clone();
        match said {
            Some(said) => said.map(Some),
            None => self.inner.count(namespace).await,
        }
    }

    fn largest(&self) -> usize {
        self.largest
    }

    fn keeps_history(&self) -> bool {
        self.keeps_history
    }
}

/// An inbox that is not told that messages arrive.
struct SilentInbox(Arc<dyn Inbox>);

impl Inbox for SilentInbox {
    fn wants(&self, room: &str) -> bool {
        self.0.wants(room)
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        self.0.receive(arrivals);
    }

    fn connected(&self) {}

    fn lost(&self) {
        self.0.lost();
    }
}

//! [`Gate`]: a broker whose publishing and hearing are in the test's hands.

use crate::stage::Server;
use async_trait::async_trait;
use parking_lot::Mutex;
use roomcast_adapter::cluster::{
    Body, Broker, BrokerError, ClusterOptions, Inbox, MemoryBroker, MemoryNetwork, Message, Outgoing, PublishError,
    SERVERS, ServerId,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What [`Gate`] does to the next batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publish {
    Through,
    /// Nothing goes out, announcements neither.
    Nothing,
    /// The batch goes out, and whoever published it never hears of it.
    Hang,
    /// The first so many go out, and the failure says that none did.
    Part(usize),
    /// The broker says that more went out than there were.
    TooMany,
    /// Broadcasts of this many bytes of text or more are refused for ever.
    Refuse(usize),
}

/// A broker whose publishing and hearing are in the test's hands, the one without the other. But for [`Publish::Nothing`],
/// announcements always go out.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) inner: Arc<MemoryBroker>,
    pub(crate) publish: Mutex<Publish>,
    pub(crate) max_age: Option<Duration>,
    /// Each room has a channel, as in the sharded dialect.
    pub(crate) channel_per_room: bool,
    /// Inboxes are not told that messages come before [`Gate::tell`], though they do and the server is counted, as in Redis for a
    /// moment.
    pub(crate) late: bool,
    /// How long questions may come after a namespace was closed.
    pub(crate) lingers: Duration,
    /// How long a batch takes to go out.
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
        let (publish, max_age) = (Mutex::new(Publish::Through), Some(Duration::MAX));
        Self {
            inner: network.broker(),
            publish,
            max_age,
            channel_per_room: false,
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

    /// Every inbox is told that messages come.
    pub(crate) fn tell(&self) {
        self.inboxes().iter().for_each(|inbox| inbox.connected());
    }

    /// The connection broke, and what was subscribed on it is still counted.
    pub(crate) fn lose(&self) {
        self.inboxes().iter().for_each(|inbox| inbox.lost());
    }

    /// Hears no servers any more.
    pub(crate) async fn deafen(&self) {
        self.inner.close(SERVERS).await;
        self.inbox(SERVERS).lost();
    }

    /// Hears the servers again.
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
        self.inner.open(namespace, id, if self.late { Arc::new(Untold(inbox)) } else { inbox });
    }

    async fn close(&self, namespace: &str) {
        self.inner.close(namespace).await;
    }

    fn lingers(&self) -> Duration {
        self.lingers
    }

    async fn publish(&self, batch: &[Outgoing]) -> Result<(), PublishError> {
        tokio::time::sleep(self.takes).await;
        let failure = |sent, permanent| Err(PublishError { sent, reason: "the test wants it".to_owned(), permanent });
        let how = *self.publish.lock();
        let text = |outgoing: &Outgoing| match &outgoing.message.body {
            Body::Broadcast { data, .. } => data.items().len(),
            _ => 0,
        };
        match how {
            Publish::Nothing => failure(0, false),
            _ if batch.iter().all(|outgoing| &*outgoing.namespace == SERVERS) => self.inner.publish(batch).await,
            Publish::Through => self.inner.publish(batch).await,
            Publish::Hang => {
                self.inner.publish(batch).await?;
                std::future::pending().await
            }
            Publish::Part(count) => {
                self.inner.publish(&batch[..count.min(batch.len())]).await?;
                failure(0, false)
            }
            Publish::TooMany => {
                self.inner.publish(batch).await?;
                failure(batch.len() + 1, true)
            }
            Publish::Refuse(bytes) => match batch.iter().position(|outgoing| text(outgoing) >= bytes) {
                Some(position) => {
                    self.inner.publish(&batch[..position]).await?;
                    failure(position, true)
                }
                None => self.inner.publish(batch).await,
            },
        }
    }

    fn channel_of(&self, outgoing: &Outgoing) -> Arc<str> {
        match &outgoing.message.body {
            Body::Broadcast { target, .. } if self.channel_per_room && target.rooms.len() == 1 => {
                format!("{}#{}", outgoing.namespace, target.rooms[0]).into()
            }
            _ => self.inner.channel_of(outgoing),
        }
    }

    async fn peers(&self, namespace: &str) -> Result<usize, BrokerError> {
        self.inner.peers(namespace).await
    }

    fn max_age(&self) -> Option<Duration> {
        self.max_age
    }
}

/// An inbox that is not told that messages come.
struct Untold(Arc<dyn Inbox>);

impl Inbox for Untold {
    fn wants(&self, room: &str) -> bool {
        self.0.wants(room)
    }

    fn receive(&self, message: Message) {
        self.0.receive(message);
    }

    fn malformed(&self, error: &str) {
        self.0.malformed(error);
    }

    fn connected(&self) {}

    fn lost(&self) {
        self.0.lost();
    }
}

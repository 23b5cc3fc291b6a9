//! [`Cluster`]: the cluster as one server sees it.

use crate::cluster::member::Member;
use crate::cluster::membership::directory::Directory;
use crate::cluster::membership::losses::{Losses, Lost};
use crate::cluster::namespace::adapter::ClusterAdapter;
use crate::cluster::namespace::inbox::NamespaceInbox;
use crate::cluster::namespace::place::Place;
use crate::cluster::options::ClusterOptions;
use crate::cluster::seam::broker::{Broker, SERVERS};
use crate::cluster::seam::ids::ServerId;
use crate::cluster::seam::series::Series;
use crate::cluster::sending::queue::Queue;
use crate::cluster::servers_inbox::ServersInbox;
use crate::cluster::state::{ClusterState, Queued};
use crate::seam::adapter::{Adapter, AdapterContext, AdapterFactory};
use parking_lot::Mutex;
use roomcast_protocol::SocketId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use tokio::sync::watch;
use tokio::time::Instant;

/// A server's view of the cluster: its id, its queue, its namespaces' adapters, and the other servers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cluster(Arc<ClusterInner>);

#[derive(Debug)]
struct ClusterInner {
    member: Arc<Member>,
    /// One inbox for each namespace that has or had an adapter here.
    inboxes: Mutex<HashMap<Arc<str>, Weak<NamespaceInbox>>>,
}

impl Cluster {
    /// Joins a cluster: announces this server, and publishes what is queued on a task of the current runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(broker: Arc<dyn Broker>, options: ClusterOptions) -> Self {
        // 16 hexadecimal digits, as in the newest of Node's dialects. Without a random source, the process id is used;
        // sockets cannot be created then anyway.
        let id = SocketId::random().map_or_else(
            |_| format!("{:016x}", std::process::id()),
            |id| id.as_str().bytes().take(8).map(|byte| format!("{byte:02x}")).collect(),
        );
        Self::with_id(ServerId::from(id.as_str()), broker, options)
    }

    /// As [`Cluster::new`], with an id of the caller's choice, such as a host name. No two servers of the cluster may
    /// have the same id at the same time. A server that comes back under its old id counts as a new one.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn with_id(id: ServerId, broker: Arc<dyn Broker>, options: ClusterOptions) -> Self {
        let hears = [Series::Main, Series::Rooms].map(|series| broker.hears(series));
        let directory = Arc::new(Mutex::new(Directory::new(hears)));
        let queue = Queue::new(broker.clone(), id.clone(), options, directory.clone());
        tokio::spawn(queue.clone().drain());
        let inbox = ServersInbox { directory: directory.clone(), queue: queue.clone() };
        broker.open(&SERVERS.into(), &id, Arc::new(inbox));
        let member = Arc::new(Member { id, broker, queue, directory });
        Self(Arc::new(ClusterInner { member, inboxes: Mutex::default() }))
    }

    /// This server's id.
    pub fn id(&self) -> &ServerId {
        &self.0.member.id
    }

    /// A factory for the adapters of the server's namespaces.
    pub fn factory(&self) -> AdapterFactory {
        let cluster = self.clone();
        Arc::new(move |context| cluster.adapter(context) as Arc<dyn Adapter>)
    }

    /// A new adapter of a namespace. From now on it takes what other servers send to the namespace; an earlier adapter,
    /// which the server may still be closing, gets nothing more.
    pub fn adapter(&self, context: AdapterContext) -> Arc<ClusterAdapter> {
        let inbox = self.inbox(&context.namespace);
        let (subscription, current) = (inbox.subscription.clone(), inbox.current.clone());
        let place = Place::open(context, self.0.member.clone(), subscription, current, inbox);
        Arc::new(ClusterAdapter::new(place))
    }

    fn inbox(&self, namespace: &Arc<str>) -> Arc<NamespaceInbox> {
        let mut inboxes = self.0.inboxes.lock();
        if let Some(inbox) = inboxes.get(namespace).and_then(Weak::upgrade) {
            return inbox;
        }
        inboxes.retain(|_, inbox| inbox.strong_count() > 0);
        let inbox = Arc::new(NamespaceInbox::default());
        inboxes.insert(namespace.clone(), Arc::downgrade(&inbox));
        inbox
    }

    /// The other roomcast servers that are alive.
    pub fn servers(&self) -> Vec<ServerId> {
        self.0.member.directory.lock().servers(Instant::now()).cloned().collect()
    }

    /// The other roomcast servers that have a namespace, and so are asked its questions.
    pub fn members(&self, namespace: &str) -> Vec<ServerId> {
        self.0.member.directory.lock().members(namespace, Instant::now()).into_keys().collect()
    }

    /// This server's connection to the cluster, now and whenever it changes. The numbers of peers and queued messages
    /// are updated once in each interval of announcements (a second with up to 100 servers).
    pub fn state(&self) -> watch::Receiver<ClusterState> {
        self.0.member.queue.watched()
    }

    /// Calls `hook` when messages of another server were lost, with that server and the number of messages. It is
    /// called on a task of this cluster, for each sender at most once in each interval of announcements, and should
    /// return soon. A panic in it is logged and changes nothing else.
    pub fn on_lost(&self, hook: impl Fn(&Lost) + Send + Sync + 'static) {
        self.0.member.queue.on_lost(Arc::new(hook));
    }

    /// What was lost so far.
    pub fn losses(&self) -> Losses {
        let ((lost, doubles), interrupted) = {
            let directory = self.0.member.directory.lock();
            (directory.losses(), directory.interrupted())
        };
        Losses { lost, doubles, dropped: self.0.member.queue.dropped(), interrupted }
    }

    /// The number of series whose messages are numbered: two for each namespace that is open here and was published in.
    pub fn numbered(&self) -> usize {
        self.0.member.queue.numbered()
    }

    /// What waits to be published now.
    pub fn queue(&self) -> Queued {
        self.0.member.queue.queued()
    }

    /// The number of messages that wait to be published.
    pub fn queued(&self) -> usize {
        self.0.member.queue.len()
    }

    /// Leaves the cluster. Open adapters leave their namespaces first, as other servers would wait for their answers;
    /// then what is queued goes out, if possible, and the other servers are told. Resolves when nothing is in flight
    /// any more. Without this call, the other servers are told when the last clone and the last adapter are dropped.
    pub async fn close(&self) {
        let inboxes: BTreeMap<_, _> = {
            let inboxes = self.0.inboxes.lock();
            inboxes.iter().filter_map(|(name, inbox)| Some((name.clone(), inbox.upgrade()?))).collect()
        };
        // Concurrently: each may wait for a moment.
        let close = |place: Arc<Place>| tokio::spawn(async move { place.close().await });
        let closing: Vec<_> = inboxes.values().filter_map(|inbox| inbox.current.get()).map(close).collect();
        for closed in closing {
            let _ = closed.await;
        }
        self.0.member.queue.close();
        self.0.member.queue.ended().await;
    }
}

//! Recovery in a cluster: a client comes back to the server that had it, and misses nothing of what the others emitted.

use crate::recovery::{Client, emit, event, missed};
use parking_lot::Mutex;
use roomcast_adapter::async_trait;
use roomcast_adapter::cluster::{
    Broker, BrokerError, Cluster, ClusterOptions, Count, Inbox, Looked, MemoryBroker, MemoryNetwork, Outcome, Outgoing,
    ServerId,
};
use roomcast_adapter::testkit::FakeRecipient;
use roomcast_adapter::{
    Action, Adapter, AdapterContext, Emit, NotRecovered, Recovery, RecoveryBounds, RecoverySpace, Room, Target,
};
use roomcast_protocol::SocketId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep as pass};

/// The time in which servers find each other.
const ACQUAINTED: Duration = Duration::from_millis(2_100);

#[tokio::test(start_paused = true)]
async fn what_other_servers_emitted_meanwhile_is_not_missed() {
    let network = MemoryNetwork::new();
    let space = RecoverySpace::new(RecoveryBounds::default());
    let clusters = [0, 1].map(|_| Cluster::new(network.broker(), ClusterOptions::default()));
    let context = || AdapterContext::new("/", mpsc::channel(8).0);
    let here = clusters[0].adapter(context().with_recovery(Some(space.clone())));
    let there = clusters[1].adapter(context());
    assert!(here.recovery().is_some() && there.recovery().is_none());
    let listener = FakeRecipient::new();
    there.insert(SocketId::random().unwrap(), listener.clone(), &[], None).unwrap();
    pass(ACQUAINTED).await;

    let mut client = Client::enter(&*here, &["room".into()]);
    emit(&*there, &Target::room("room"), 1);
    pass(Duration::from_millis(100)).await;
    assert_eq!(client.receive(9), [1]);
    assert!(here.save(client.id, "{}"));
    // Nobody is in the room any more, but what is for it is still heard.
    emit(&*there, &Target::room("room"), 2);
    emit(&*there, &Target::room("other"), 3);
    emit(&*there, &Target::room(client.id), 4);
    emit(&*here, &Target::everyone(), 5);
    assert!(here.emit_to(client.id, Emit::of(&event(6))).unwrap());
    pass(Duration::from_millis(100)).await;
    client.come_back(&*here).await.unwrap();
    let mut all = missed(&mut client);
    all.sort_unstable();
    assert_eq!(all, [2, 4, 5, 6]);

    // Other servers get what they would get without recovery: no offset, and no event for one socket of this server.
    let events = listener.events();
    let of_here: Vec<String> = events.iter().map(|event| event.args.items().to_owned()).collect();
    assert_eq!(of_here, ["5"]);

    // They know nothing of the session.
    assert!(there.local().recovery().is_none());
    assert_eq!(there.local().find(client.pid, None).await.unwrap_err(), NotRecovered::Unknown);

    // When a session ends, its rooms are no longer heard.
    assert!(here.save(client.id, "{}") && here.local().has_room("room"));
    pass(RecoveryBounds::default().max_disconnection).await;
    assert_eq!(here.sweep(Instant::now()).ended.len(), 1);
    assert!(!here.local().has_room("room"));
    here.apply(&Target::room(Room::from("room")), Action::emit(&event(7))).unwrap();
    pass(Duration::from_millis(100)).await;
    assert_eq!(space.sessions(), 0);
}

/// A broker with a channel for each room, which notes the rooms that it is told to look at.
#[derive(Debug)]
struct Looking {
    broker: Arc<MemoryBroker>,
    looked: Mutex<Vec<Room>>,
}

#[async_trait]
impl Broker for Looking {
    fn open(&self, namespace: &Arc<str>, id: &ServerId, inbox: Arc<dyn Inbox>) {
        self.broker.open(namespace, id, inbox);
    }

    async fn close(&self, namespace: &str) {
        self.broker.close(namespace).await;
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        self.broker.publish(batch).await
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        self.broker.count(namespace).await
    }

    fn looks(&self) -> bool {
        true
    }

    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        self.looked.lock().push(room.clone());
        self.broker.look(namespace, room)
    }
}

/// Otherwise the broker would stay subscribed to them: nobody looks when the sessions end, as their adapter takes part no more.
#[tokio::test(start_paused = true)]
async fn rooms_of_sessions_are_given_up_when_another_adapter_goes_on() {
    let network = MemoryNetwork::new();
    network.exact_rooms();
    let broker = Arc::new(Looking { broker: network.broker(), looked: Mutex::default() });
    let cluster = Cluster::new(broker.clone(), ClusterOptions::default());
    let space = RecoverySpace::new(RecoveryBounds::default());
    let adapter = || cluster.adapter(AdapterContext::new("/", mpsc::channel(8).0).with_recovery(Some(space.clone())));
    let looked = || {
        let mut looked = std::mem::take(&mut *broker.looked.lock());
        looked.sort();
        looked
    };
    for closed in [true, false] {
        let former = adapter();
        let client = Client::enter(&*former, &["room".into()]);
        assert!(former.save(client.id, "{}") && former.local().has_room("room"));
        let latter = adapter();
        looked();
        if closed {
            former.close().await;
        } else {
            drop(former);
        }
        let mut rooms = vec![Room::from("room"), Room::from(client.id)];
        rooms.sort();
        assert_eq!(looked(), rooms, "closed: {closed}");
        latter.close().await;
    }
}

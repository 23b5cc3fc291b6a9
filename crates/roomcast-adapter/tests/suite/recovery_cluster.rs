//! Recovery in a cluster: a client comes back to the server that had it, and misses nothing of what the others emitted.

use crate::recovery::{Client, emit, event, missed};
use roomcast_adapter::cluster::{Cluster, ClusterOptions, MemoryNetwork};
use roomcast_adapter::testkit::FakeRecipient;
use roomcast_adapter::{
    Action, Adapter, AdapterContext, Emit, NotRecovered, Recovery, RecoveryBounds, RecoverySpace, Room, Target,
};
use roomcast_protocol::SocketId;
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

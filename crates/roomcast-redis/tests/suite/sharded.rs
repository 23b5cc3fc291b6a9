//! The sharded dialect over one real Redis: the contract of brokers in each mode, emitters, rights, a Redis that is too
//! old.

use crate::common::contract_wire::{Wire, key};
use crate::common::fault_proxy::{FaultProxy, Which};
use crate::common::redis_process::{RedisProcess, Sentinels, wait_until};
use crate::common::sharded_stage::{
    MODES, RecordingInbox, broadcast, broker_at, broker_on, dialect, numbers, open, publish_until_received,
};
use roomcast_adapter::cluster::{Body, Broker, Cluster, ClusterOptions, Emitter, Hears, Inbox, Outcome, Series};
use roomcast_adapter::testkit::{Servers, adapter_contract, broker_contract};
use roomcast_adapter::{Adapter, Room, Target};
use roomcast_redis::{Credentials, RedisConfig, RedisError, ShardedMode};
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_keeps_the_contract_in_each_mode() {
    let wire = Wire::start("SPUBLISH").await;
    for mode in MODES {
        broker_contract(async |count| wire.brokers(count, dialect(), |url, key| broker_at(url, key, mode)).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_keep_the_contract_of_adapters_in_each_mode() {
    let redis = RedisProcess::start().await;
    for mode in MODES {
        adapter_contract(async || {
            let (key, mut adapters) = (key(), Vec::new());
            let cluster = Servers::new(2, |_, context| {
                let servers = Cluster::new(broker_at(&redis.url(), &key, mode), ClusterOptions::default());
                adapters.push(servers.adapter(context));
                adapters.last().unwrap().clone()
            });
            // In this dialect a server that is not known by name yet is not asked for rooms, and is missing from the
            // answer.
            for adapter in &adapters {
                wait_until("the servers know each other", async || {
                    let count = adapter.server_count().await;
                    let named = adapter.all_rooms(Duration::from_secs(5)).await.is_complete();
                    count.is_complete() && count.value == 2 && named
                })
                .await;
            }
            cluster
        })
        .await;
    }
}

/// An inbox with members in some rooms.
struct Member {
    inbox: RecordingInbox,
    rooms: std::sync::Mutex<Vec<&'static str>>,
}

impl Inbox for Member {
    fn wants(&self, room: &str) -> bool {
        self.rooms.lock().unwrap().contains(&room)
    }

    fn receive(&self, arrivals: Vec<roomcast_adapter::cluster::Arrival>) {
        self.inbox.receive(arrivals);
    }

    fn connected(&self) {
        self.inbox.connected();
    }

    fn lost(&self) {
        self.inbox.lost();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_are_subscribed_while_they_have_members() {
    let redis = RedisProcess::start().await;
    let sid = "sockB1--------------";
    for (mode, channels) in [
        (ShardedMode::Static, vec![]),
        (ShardedMode::Dynamic, vec!["a", "b"]),
        (ShardedMode::DynamicPrivate, vec!["a", "b", sid]),
    ] {
        let (key, member) = (
            key(),
            Arc::new(Member { inbox: RecordingInbox::default(), rooms: std::sync::Mutex::new(vec!["a", "b", sid]) }),
        );
        let broker = broker_at(&redis.url(), &key, mode);
        assert!(broker.look("/", &Room::from("a")).is_none(), "nothing is open");
        broker.open(&"/".into(), &"0000000000000002".into(), member.clone());
        wait_until("the namespace is connected", async || member.inbox.is_connected()).await;
        assert_eq!(
            (broker.looks(), broker.hears(Series::Main), broker.hears(Series::Rooms)),
            (
                mode != ShardedMode::Static,
                Hears::All,
                if mode == ShardedMode::Static { Hears::All } else { Hears::Some }
            )
        );
        let looks = ["a", "b", sid, "nobody"].map(|room| broker.look("/", &Room::from(room)));
        for look in looks.into_iter().flatten() {
            look.await.unwrap();
        }
        let subscribed = async || -> Vec<String> {
            let mut names: Vec<String> = redis.ask(&format!("PUBSUB SHARDCHANNELS {key}#*")).await;
            names.sort_unstable();
            names
        };
        let expected = |rooms: &[&str]| {
            let fixed = [format!("{key}#/#"), format!("{key}#/#0000000000000002#")];
            let mut names: Vec<String> =
                fixed.into_iter().chain(rooms.iter().map(|room| format!("{key}#/#{room}#"))).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(subscribed().await, expected(&channels), "{mode:?}");
        // Each message is received once, whatever its channel.
        let publisher = broker_at(&redis.url(), &key, mode);
        for (number, room) in (1..).zip(["a", "b", sid, "nobody"]) {
            assert_eq!(publisher.publish(&[broadcast("/", Target::room(room), number)]).await, [Outcome::Sent]);
        }
        assert_eq!(publisher.publish(&[broadcast("/", Target::everyone(), 9)]).await, [Outcome::Sent]);
        wait_until("all messages are received", async || numbers(&member.inbox).contains(&9)).await;
        let mut received = numbers(&member.inbox);
        // The room without members may share the main channel.
        received.retain(|number| *number != 4);
        assert_eq!(received, [1, 2, 3, 9], "{mode:?}");
        // The last member has left.
        member.rooms.lock().unwrap().retain(|room| *room == "b");
        for room in ["a", sid] {
            if let Some(look) = broker.look("/", &Room::from(room)) {
                look.await.unwrap();
            }
        }
        let left: &[&str] = if mode == ShardedMode::Static { &[] } else { &["b"] };
        wait_until("its channels are unsubscribed", async || subscribed().await == expected(left)).await;
        broker.close("/").await;
        wait_until("nothing is left", async || subscribed().await.is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_connection_is_made_anew_and_counted_once() {
    let redis = RedisProcess::start().await;
    let key = key();
    let [publisher, receiver] = [(); 2].map(|()| broker_at(&redis.url(), &key, ShardedMode::Dynamic));
    let inbox = open(&receiver, "/", "0000000000000002").await;
    receiver.look("/", &Room::from("room")).unwrap().await.unwrap();
    let killed = |list: String| {
        let line = list.lines().find(|line| line.contains("name=roomcast-0000000000000002-hears")).unwrap().to_owned();
        line.split(' ').find_map(|field| field.strip_prefix("id=")).unwrap().to_owned()
    };
    for round in 1..=3 {
        let id = killed(redis.ask::<String>("CLIENT LIST").await);
        redis.ask::<i64>(&format!("CLIENT KILL ID {id}")).await;
        wait_until("the inbox is told", async || {
            inbox.received().lost == round && inbox.received().connected == round + 1
        })
        .await;
        let from = 1_000 * round as u64;
        publish_until_received(&publisher, "/", &Target::everyone(), &inbox, from).await;
        publish_until_received(&publisher, "/", &Target::room("room"), &inbox, from + 500).await;
        let count = publisher.count("/").await.unwrap().unwrap();
        assert_eq!((count.servers, count.complete), (1, true));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forbidden_channels_are_reported_and_retried_without_disturbing_others() {
    let redis = RedisProcess::start().await;
    let key = key();
    let rights = |channels: &str| {
        format!("ACL SETUSER app on >secret resetchannels {channels} -@all +@pubsub +client +ping +hello")
    };
    let namespace = |name: &str| format!("&{key}#{name}#*");
    redis.ask::<()>(&rights(&namespace("/may"))).await;
    let url = redis.url().replace("://", "://app:secret@");
    let broker = broker_at(&url, &key, ShardedMode::Dynamic);
    let may = open(&broker, "/may", "0000000000000002").await;
    let may_not = Arc::<RecordingInbox>::default();
    broker.open(&"/not".into(), &"0000000000000002".into(), may_not.clone());
    // Each message is refused by itself.
    let batch =
        [1, 2, 3].map(|number| broadcast(if number == 2 { "/not" } else { "/may" }, Target::everyone(), number));
    let outcomes = broker.publish(&batch).await;
    let [Outcome::Sent, Outcome::Never(why), Outcome::Sent] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(why.contains("NoPerm") && why.contains("/not"), "{why}");
    let forbidden = broker.look("/not", &Room::from("room")).unwrap().await;
    assert!(forbidden.is_err(), "waiting for the room fails");
    redis.ask::<()>(&rights("allchannels")).await;
    wait_until("the namespace is connected after 10 s", async || may_not.is_connected()).await;
    publish_until_received(&broker, "/not", &Target::everyone(), &may_not, 10).await;
    assert_eq!((may.received().lost, may.received().connected), (0, 1), "the other namespace was not disturbed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_replace_the_primary() {
    let mut redis = Sentinels::start().await;
    let key = key();
    let [publisher, receiver] = [(); 2].map(|()| broker_at(&redis.url(), &key, ShardedMode::Dynamic));
    let inbox = open(&receiver, "/", "0000000000000002").await;
    publisher.check().await.unwrap();
    publish_until_received(&publisher, "/", &Target::everyone(), &inbox, 1).await;
    redis.primary.kill();
    redis.replica.must_be_promoted().await;
    publish_until_received(&publisher, "/", &Target::everyone(), &inbox, 1_000).await;
    wait_until("the namespace is connected again", async || inbox.is_connected()).await;
    // The old primary comes back, at first still as a primary, and no server may use it.
    redis.primary.start_again().await;
    publish_until_received(&publisher, "/", &Target::everyone(), &inbox, 2_000).await;
    let count = publisher.count("/").await.unwrap().unwrap();
    assert_eq!((count.servers, count.complete), (1, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket() {
    let path = std::env::temp_dir().join(format!("roomcast-sharded-{}.sock", std::process::id()));
    let path = path.display().to_string();
    let _redis = RedisProcess::start_with(&["--unixsocket", &path]).await;
    let broker = broker_at(&format!("unix://{path}"), "unix", ShardedMode::Dynamic);
    let inbox = open(&broker, "/", "0000000000000002").await;
    publish_until_received(&broker, "/", &Target::everyone(), &inbox, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emitter_reaches_servers_and_is_not_counted_as_one() {
    let redis = RedisProcess::start().await;
    let key = key();
    let receiver = broker_at(&redis.url(), &key, ShardedMode::Dynamic);
    let inbox = open(&receiver, "/chat", "0000000000000002").await;
    receiver.look("/chat", &Room::from("lobby")).unwrap().await.unwrap();
    let emitting = broker_at(&redis.url(), &key, ShardedMode::Dynamic);
    let emitter = Emitter::new(emitting.clone()).of("chat");
    emitter.clone().to("lobby").emit("hello", &1).await.unwrap();
    emitter.clone().to("lobby").sockets_join(&[Room::from("joined")]).await.unwrap();
    emitter.server_side_emit("told", &2).await.unwrap();
    emitter.clone().to("joined").disconnect_sockets(true).await.unwrap();
    wait_until("all messages are received", async || inbox.received().messages.len() == 4).await;
    let received = inbox.received();
    let kinds: Vec<bool> = vec![
        matches!(received.messages[0].body, Body::Broadcast { .. }),
        matches!(received.messages[1].body, Body::Join { .. }),
        matches!(received.messages[2].body, Body::ServerSideEmit { request: None, .. }),
        matches!(received.messages[3].body, Body::Disconnect { close: true, .. }),
    ];
    assert_eq!((kinds, received.malformed), (vec![true; 4], 0), "{:?}", received.messages);
    assert_eq!(emitting.count("/chat").await.unwrap().unwrap().servers, 1);
}

/// The password is obtained anew for each connection, of subscribers and of publishers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_replaced() {
    let redis = RedisProcess::start().await;
    let key = key();
    redis.ask::<()>("ACL SETUSER chat on >first ~* &* +@all").await;
    let password = Arc::new(std::sync::Mutex::new("mistaken"));
    let current = password.clone();
    let config: RedisConfig = redis.url().parse().unwrap();
    let config = config.with_credentials(move || {
        let now = *current.lock().unwrap();
        async move { Ok::<_, std::io::Error>(Credentials::password(now).user("chat")) }
    });
    let broker = broker_on(config, &key, ShardedMode::Dynamic);
    let inbox = Arc::<RecordingInbox>::default();
    broker.open(&"/".into(), &"0000000000000002".into(), inbox.clone());
    let [Outcome::Again(why)] = &broker.publish(&[broadcast("/", Target::everyone(), 1)]).await[..] else { panic!() };
    assert!(why.contains("refuses the user or password") && !why.contains("mistaken"), "{why}");
    for new in ["first", "second"] {
        redis.ask::<()>(&format!("ACL SETUSER chat resetpass >{new}")).await;
        *password.lock().unwrap() = new;
        // An operator closes the connections that were made with the old password.
        let _: usize = redis.ask("CLIENT KILL USER chat").await;
        wait_until("the namespace is connected", async || inbox.is_connected()).await;
        publish_until_received(&broker, "/", &Target::everyone(), &inbox, if new == "first" { 10 } else { 1_000 })
            .await;
    }
}

/// Redis 6 has no sharded channels; a newer Redis without the commands stands in for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_for_an_old_redis_says_so() {
    let redis =
        RedisProcess::start_with(&["--rename-command", "SSUBSCRIBE", "", "--rename-command", "PUBSUB", ""]).await;
    let broker = broker_at(&redis.url(), "old", ShardedMode::Dynamic);
    let error = broker.check().await.unwrap_err();
    assert!(matches!(&error, RedisError::Other(text) if text.contains("Redis 7")), "{error:?}");
}

/// The publisher has moved to another Redis, and the subscriber has not. The only sign is that published messages do
/// not come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_subscribes_elsewhere_than_it_publishes_finds_out() {
    let (old, new) = (RedisProcess::start().await, RedisProcess::start().await);
    let (key, proxy) = (key(), FaultProxy::start(old.port).await);
    let here = Cluster::new(broker_at(&proxy.url(), &key, ShardedMode::Dynamic), ClusterOptions::default());
    let state = here.state();
    wait_until("it is connected", async || state.borrow().hears && state.borrow().publishes).await;
    proxy.move_to(new.port);
    assert_eq!(proxy.cut(Which::Publisher), 1);
    let there = Cluster::new(broker_at(&new.url(), &key, ShardedMode::Dynamic), ClusterOptions::default());
    wait_until("it subscribes where it publishes", async || !here.servers().is_empty() && !there.servers().is_empty())
        .await;
    let subscribed: Vec<String> = old.ask(&format!("PUBSUB SHARDCHANNELS {key}*")).await;
    assert_eq!(subscribed, Vec::<String>::new(), "nothing is subscribed on the old one");
}

//! Redis answers but refuses: wrong password, missing rights, loading, a replica. The error and the log say what to do;
//! attempts are few; and once the cause is fixed, everything works without a restart.

use crate::common::fault_proxy::{FaultProxy, Which};
use crate::common::fault_stage::{PATIENCE, Server, Talk, must_become, pass};
use crate::common::log::log;
use crate::common::redis_process::{Extras, RedisProcess, Sentinels, wait_until};
use parking_lot::Mutex;
use roomcast_adapter::cluster::{Arrival, Body, Broker, ClusterOptions, Count, Inbox, Message, Outcome, Outgoing};
use roomcast_adapter::{Adapter, Target};
use roomcast_protocol::Args;
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// The documented rights, with the channels of one namespace.
pub(crate) const RIGHTS: &str = "resetchannels &socket.io* &socket.io#/#* &socket.io-request#/# -@all +@pubsub +client +ping +role +cluster +info +config|get";

const WATCHED: Duration = Duration::from_secs(2);

/// Connections that two servers may make in that time while Redis refuses. Each server makes two, with pauses of 0.1,
/// 0.2, 0.4, 0.8 s that may be a quarter shorter. Ten attempts a second would make 80.
const FEW: usize = 28;

/// The same while Redis is expected to be ready soon: each pause has at least 150 ms.
const SOON: usize = 4 * 14 + 8;

fn broker(url: &str) -> Arc<ClassicBroker> {
    ClassicBroker::new(url.parse().unwrap(), ClassicOptions::default())
}

/// Starts a talk through a proxy, and counts attempts for a while. Meanwhile messages reach the sockets of their own
/// server.
async fn refused(port: u16, credentials: &str, few: usize) -> (Talk, FaultProxy) {
    let proxy = FaultProxy::start(port).await;
    let url = proxy.url().replace("redis://", &format!("redis://{credentials}"));
    let talk = Talk::unacquainted([&url, &url], &ClusterOptions::default());
    pass(WATCHED).await;
    let attempts = proxy.accepted();
    println!("{attempts} attempts in {WATCHED:?}");
    assert!((4..=few).contains(&attempts), "{attempts} attempts in {WATCHED:?}");
    for server in &talk.servers {
        let (received, emitted) = (server.received(server).len() as u64, server.emitted());
        assert!(received > 50 && received + 1 >= emitted, "local delivery waits for Redis: {received} of {emitted}");
    }
    (talk, proxy)
}

/// The cause is fixed: everything works again.
async fn must_come_back(talk: Talk) {
    talk.resumes(Instant::now()).await;
    for server in &talk.servers {
        must_become("the servers know each other", || server.cluster.servers().len() == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password() {
    let log = log();
    let redis = RedisProcess::start().await;
    redis.ask::<()>("ACL SETUSER chat on >right ~* &* +@all").await;
    for credentials in ["chat:wrong@", "nobody:wrong@"] {
        let error = broker(&redis.url().replace("://", &format!("://{credentials}"))).check().await.unwrap_err();
        assert!(matches!(error, RedisError::Auth(_)), "{error:?}");
        assert!(error.to_string().contains("REDIS_URL") && !error.to_string().contains("wrong@"), "{error}");
    }
    let (talk, proxy) = refused(redis.port, "chat:wrong@", FEW).await;
    assert!(log.has(&[&proxy.address(), "Redis refuses the user or password", "check REDIS_URL"]));
    redis.ask::<()>("ACL SETUSER chat >wrong").await;
    must_come_back(talk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_where_one_is_needed() {
    let redis = RedisProcess::start_with(&["--requirepass", "secret"]).await;
    let error = broker(&redis.url()).check().await.unwrap_err();
    assert!(matches!(error, RedisError::Auth(_)), "{error:?}");
    broker(&redis.url().replace("://", "://:secret@")).check().await.unwrap();
    let (_talk, _proxy) = refused(redis.port, "", FEW).await;
}

/// Redis is older than 6, or a proxy in between does not know RESP3: that does not get better by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_resp3() {
    let log = log();
    let redis = RedisProcess::start_with(&["--rename-command", "HELLO", "X"]).await;
    let error = broker(&redis.url()).check().await.unwrap_err();
    assert!(matches!(error, RedisError::Protocol(_)), "{error:?}");
    assert!(error.to_string().contains("Redis 6.0 or newer"), "{error}");
    let (_talk, proxy) = refused(redis.port, "", FEW).await;
    assert!(log.has(&[
        &proxy.address(),
        "ERROR",
        "the subscriber cannot use this Redis",
        "Redis 6.0 or newer is needed"
    ]));
}

/// A Redis that cannot write to its disk refuses even PING. Messages pass all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_cannot_save() {
    let redis = RedisProcess::start_with(&["--enable-protected-configs", "yes"]).await;
    let node = RedisProcess::start_with(&["--enable-protected-configs", "yes", "--cluster-enabled", "yes"]).await;
    node.ask::<()>("CLUSTER ADDSLOTSRANGE 0 16383").await;
    for redis in [&redis, &node] {
        wait_until("Redis takes a key", async || redis.tries("SET k 1").await.is_ok()).await;
        redis.ask::<()>("CONFIG SET dir /proc").await;
        redis.tries("CONFIG SET save 3600_1").await.unwrap();
        let _ = redis.tries("BGSAVE").await;
        wait_until("Redis cannot save", async || {
            redis.tries("PING").await.is_err_and(|error| error.code() == Some("MISCONF"))
        })
        .await;
    }
    for url in [redis.url(), format!("redis+cluster://127.0.0.1:{}", node.port)] {
        broker(&url).check().await.unwrap();
        let talk = Talk::begin([&url, &url]).await;
        drop(talk);
    }
}

/// The documented rights of a user of the Sentinels.
const SENTINEL_RIGHTS: &str = "resetchannels -@all +sentinel|get-master-addr-by-name";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_refuse_the_data_servers_password() {
    let log = log();
    let user = format!("user chat on >right {SENTINEL_RIGHTS}\nuser nobody on >right -@all");
    let extras = Extras { password: Some("data"), sentinel_password: Some("watch"), ..Extras::default() };
    let redis = Sentinels::start_extra(&Extras { sentinel_lines: &user, ..extras }).await;
    let url = |query: &str| redis.url().replace("://", "://:data@") + query;
    for query in ["?sentinel_password=watch", "?sentinel_user=chat&sentinel_password=right"] {
        broker(&url(query)).check().await.unwrap();
    }
    for query in ["", "?sentinel_password=data", "?sentinel_user=chat&sentinel_password=watch"] {
        let error = broker(&url(query)).check().await.unwrap_err();
        assert!(matches!(error, RedisError::SentinelAuth(_)), "{query}: {error:?}");
        let error = error.to_string();
        for sentinel in &redis.sentinels {
            assert!(error.contains(&format!("127.0.0.1:{}", sentinel.port)), "{query}: {error}");
        }
        assert!(error.contains("sentinel_user=…&sentinel_password=…") && error.contains("REDIS_URL"), "{error}");
        assert!(!error.contains("data@") && !error.contains("watch"), "{error}");
    }
    let error = broker(&url("?sentinel_user=nobody&sentinel_password=right")).check().await.unwrap_err();
    assert!(error.to_string().contains("permissions"), "{error}");
    // A wrong password of the data servers has an error of its own.
    let wrong = redis.url().replace("://", "://:wrong@") + "?sentinel_password=watch";
    let error = broker(&wrong).check().await.unwrap_err();
    assert!(matches!(error, RedisError::Auth(_)), "{error:?}");
    // The log of a running server says so too.
    let _talk = Talk::unacquainted([&url(""), &url("")], &ClusterOptions::default());
    let sentinel = format!("127.0.0.1:{}", redis.sentinels[0].port);
    must_become("the log says so", || log.has(&[&sentinel, "Sentinels refuse"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_that_know_no_such_primary_are_named() {
    let redis = Sentinels::start().await;
    let nobody = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let url = redis.url().replace("/main", &format!(",{nobody}/other"));
    let error = broker(&url).check().await.unwrap_err().to_string();
    for sentinel in &redis.sentinels {
        assert!(error.contains(&format!("127.0.0.1:{}: knows no such primary", sentinel.port)), "{error}");
    }
    assert!(error.contains(&format!("{nobody}: cannot reach Redis")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_suffice() {
    let redis = RedisProcess::start().await;
    redis.ask::<()>(&format!("ACL SETUSER chat on >right {RIGHTS}")).await;
    let url = redis.url().replace("://", "://chat:right@");
    let talk = Talk::begin([&url, &url]).await;
    must_become("messages arrive", || talk.servers[0].received(&talk.servers[1]).len() > 20).await;
    // Longer than the interval of pings.
    pass(Duration::from_secs(4)).await;
    let connects: String = redis.ask("INFO stats").await;
    let figures = talk.end(Duration::ZERO).await;
    assert!(figures.iter().all(|figures| figures.lost == 0), "{figures:?}\n{connects}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_without_the_optional_rights() {
    let redis = RedisProcess::start().await;
    redis.ask::<()>("ACL SETUSER chat on >right resetchannels &socket.io* &socket.io#/#* -@all +@pubsub").await;
    let url = redis.url().replace("://", "://chat:right@");
    broker(&url).check().await.unwrap();
    let talk = Talk::begin([&url, &url]).await;
    pass(Duration::from_secs(4)).await;
    let figures = talk.end(Duration::ZERO).await;
    assert!(figures.iter().all(|figures| figures.lost == 0), "{figures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_subscribe() {
    missing_right("-psubscribe").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_publish() {
    missing_right("-publish").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_channels() {
    missing_right("resetchannels").await;
}

async fn missing_right(taken: &str) {
    let log = log();
    let redis = RedisProcess::start().await;
    redis.ask::<()>(&format!("ACL SETUSER chat on >right {RIGHTS}")).await;
    redis.ask::<()>(&format!("ACL SETUSER chat {taken}")).await;
    let (talk, proxy) = refused(redis.port, "chat:right@", FEW).await;
    assert!(log.has(&[&proxy.address(), "the user needs PUBLISH, SUBSCRIBE, PSUBSCRIBE"]));
    redis.ask::<()>(&format!("ACL SETUSER chat {RIGHTS}")).await;
    must_come_back(talk).await;
}

#[derive(Default)]
struct RecordingInbox {
    bodies: Mutex<Vec<Body>>,
    connected: AtomicBool,
    lost: AtomicUsize,
}

impl Inbox for RecordingInbox {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn receive(&self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            let Arrival::Message(message) = arrival else { panic!("{arrival:?}") };
            self.bodies.lock().push(message.body);
        }
    }

    fn connected(&self) {
        self.connected.store(true, Ordering::Release);
    }

    fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_denied_does_not_hold_up_the_others() {
    let redis = RedisProcess::start().await;
    redis.ask::<()>("ACL SETUSER chat on >right resetchannels &denied.io#/# -@all +@pubsub").await;
    let broker = |url: &str| {
        let mut options = ClassicOptions::default();
        options.key = "denied.io".to_owned();
        ClassicBroker::new(url.parse().unwrap(), options)
    };
    let (listening, inbox) = (broker(&redis.url()), Arc::<RecordingInbox>::default());
    listening.open(&"/".into(), &"listener".into(), inbox.clone());
    must_become("the namespace is connected", || inbox.connected.load(Ordering::Acquire)).await;
    let message = |number: u8, target: Target| {
        let data = Args::event("number", &number).unwrap();
        let body = Body::Broadcast { data, target, volatile: false, compress: true };
        Outgoing {
            namespace: "/".into(),
            message: Message { sender: Some("chat".into()), to: None, trailer: None, body },
        }
    };
    let batch = [message(1, Target::everyone()), message(2, Target::room("denied")), message(3, Target::everyone())];
    let limited = broker(&redis.url().replace("://", "://chat:right@"));
    let outcomes = limited.publish(&batch).await;
    let [Outcome::Sent, Outcome::Never(why), Outcome::Sent] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(why.contains("denied.io#/#denied#") && why.contains("PUBLISH"), "{why}");
    must_become("the other messages arrive", || inbox.bodies.lock().len() == 2).await;
    assert_eq!(*inbox.bodies.lock(), [batch[0].message.body.clone(), batch[2].message.body.clone()]);
    // If everything is denied, nothing was published.
    let outcomes = limited.publish(&batch[1..2]).await;
    assert!(matches!(&outcomes[..], [Outcome::Again(_)]), "{outcomes:?}");
}

async fn emit(broker: &ClassicBroker, namespace: &str, number: u8) {
    let data = Args::event("number", &number).unwrap();
    let body = Body::Broadcast { data, target: Target::everyone(), volatile: false, compress: true };
    let message = Message { sender: Some("other".into()), to: None, trailer: None, body };
    let outcomes = broker.publish(&[Outgoing { namespace: namespace.into(), message }]).await;
    assert_eq!(outcomes, [Outcome::Sent]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forbidden_namespace_does_not_disturb_the_others() {
    let log = log();
    let redis = RedisProcess::start().await;
    redis.ask::<()>(&format!("ACL SETUSER chat on >right {RIGHTS}")).await;
    let proxy = FaultProxy::start(redis.port).await;
    let limited = broker(&proxy.url().replace("://", "://chat:right@"));
    let open = |namespace: &str| {
        let inbox = Arc::<RecordingInbox>::default();
        limited.open(&namespace.into(), &"a".into(), inbox.clone());
        inbox
    };
    let is_connected = |inbox: &RecordingInbox| inbox.connected.load(Ordering::Acquire);
    let subscribers = async |channel: &str| redis.ask::<(String, usize)>(&format!("PUBSUB NUMSUB {channel}")).await.1;
    // One forbidden namespace exists when the broker connects, another is opened later.
    let (first, allowed) = (open("/chat"), open("/"));
    must_become("the allowed namespace is connected", || is_connected(&allowed)).await;
    let later = open("/later");
    must_become("the log says so", || {
        log.has(&[&proxy.address(), "Redis forbids the command or channel", "socket.io#/chat#*", "&socket.io#/#*"])
    })
    .await;
    let third = open("/third");
    redis.ask::<()>("ACL SETUSER chat &socket.io#/third#*").await;
    must_become("a newly allowed namespace is connected", || is_connected(&third)).await;
    let other = broker(&redis.url());
    emit(&other, "/", 1).await;
    must_become("a message arrives", || allowed.bodies.lock().len() == 1).await;
    assert!(!is_connected(&first) && !is_connected(&later));
    // A server that does not receive broadcasts must not be counted.
    assert_eq!(subscribers("socket.io-request#/chat#").await, 0);
    redis.ask::<()>("ACL SETUSER chat &socket.io#/chat#* &socket.io#/later#*").await;
    must_become("they are connected once they are allowed", || is_connected(&first) && is_connected(&later)).await;
    assert_eq!(subscribers("socket.io-request#/chat#").await, 1);
    emit(&other, "/chat", 2).await;
    must_become("a message arrives", || first.bodies.lock().len() == 1).await;
    assert_eq!((proxy.accepted(), allowed.lost.load(Ordering::Relaxed)), (1, 0), "the connection has held");
}

/// Connections of the pool, and the subscriber and publisher.
const CONNECTIONS: usize = 4 + 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_questions_at_once_share_the_connections_of_the_pool() {
    let redis = RedisProcess::start().await;
    redis.ask::<()>(&format!("ACL SETUSER chat on >right {RIGHTS}")).await;
    let proxy = FaultProxy::start(redis.port).await;
    let url = proxy.url().replace("://", "://chat:right@");
    let server = Server::new("a", &url, ClusterOptions::default());
    crate::common::redis_process::wait_until("the server counts itself", async || {
        server.adapter.server_count().await.is_complete()
    })
    .await;
    for _ in 0..3 {
        let questions = (0..100).map(|_| server.adapter.server_count());
        for answer in futures_util::future::join_all(questions).await {
            assert_eq!((answer.value, answer.missing.is_empty()), (1, true));
        }
    }
    assert!(proxy.accepted() <= CONNECTIONS, "{} connections were made", proxy.accepted());
    let forbidden: Vec<redis::Value> = redis.ask("ACL LOG").await;
    assert!(forbidden.is_empty(), "the documented rights do not suffice: {forbidden:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_questions_are_asked_together() {
    let redis = RedisProcess::start().await;
    let proxy = FaultProxy::start(redis.port).await;
    let asking = broker(&proxy.url());
    asking.count("/").await.unwrap();
    // One by one over a few connections, they would take longer than a question waits for a connection.
    proxy.delay(Duration::from_millis(50));
    let names: Vec<String> = (0..2_000).map(|number| format!("/{}", number / 2)).collect();
    for answer in futures_util::future::join_all(names.iter().map(|name| asking.count(name))).await {
        assert_eq!(answer, Ok(Some(Count::of(0))));
    }
    let calls = redis.ask::<String>("INFO commandstats").await;
    let calls = calls.lines().find_map(|line| line.strip_prefix("cmdstat_pubsub|numsub:calls=")).unwrap();
    let calls: usize = calls.split(',').next().unwrap().parse().unwrap();
    // 1,000 names, 512 in a question; the first two questions may have one name each.
    assert!(calls <= 6, "{calls}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_that_broke_silently_cost_no_answer() {
    let redis = RedisProcess::start().await;
    let proxy = FaultProxy::start(redis.port).await;
    let asking = broker(&proxy.url());
    // A question that is asked while another is in flight gets a connection of its own.
    proxy.delay(Duration::from_millis(50));
    let later = async {
        crate::common::redis_process::wait_until("the first is in flight", async || proxy.accepted() == 1).await;
        asking.count("/").await
    };
    let (one, other) = tokio::join!(asking.count("/"), later);
    assert!(one.is_ok() && other.is_ok());
    proxy.delay(Duration::ZERO);
    let before = proxy.half_open(Which::All);
    assert_eq!(before, 2);
    // An adapter waits this long for a count before its answer is partial.
    tokio::time::timeout(Duration::from_secs(1), asking.count("/")).await.unwrap().unwrap();
    assert_eq!(proxy.accepted(), before + 1, "the idle connections are not tried one by one");
}

/// Rights only to Node's channels: there are no announcements, and everything else works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_announce_messages_go_out() {
    let redis = RedisProcess::start().await;
    let channels = "resetchannels &socket.io#/#* &socket.io-request#/# &socket.io-response#/# &socket.io-response#/#a#";
    redis.ask::<()>(&format!("ACL SETUSER chat on >right {channels} -@all +@pubsub +client +ping")).await;
    let limited = Server::new("a", &redis.url().replace("://", "://chat:right@"), ClusterOptions::default());
    let other = Server::new("b", &redis.url(), ClusterOptions::default());
    crate::common::redis_process::wait_until("both are counted", async || {
        redis.ask::<(String, usize)>("PUBSUB NUMSUB socket.io-request#/#").await.1 == 2
    })
    .await;
    // Wait for the first announcements, which are refused.
    crate::common::redis_process::wait_until("an announcement was forbidden", async || {
        format!("{:?}", redis.ask::<redis::Value>("ACL LOG").await).contains("socket.io-roomcast#")
    })
    .await;
    (0..10).for_each(|_| limited.emit());
    must_become("messages arrive", || other.received(&limited).len() == 10).await;
    assert_eq!((limited.cluster.queued(), limited.cluster.losses().dropped), (0, 0));
}

/// Without the right to linger, a namespace is closed all the same, and the connection stays up for the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_closed_without_the_right_to_linger() {
    let redis = RedisProcess::start().await;
    redis
        .ask::<()>(&format!(
            "ACL SETUSER chat on >right {RIGHTS} resetchannels &socket.io* &socket.io#/#* &socket.io#/a#*"
        ))
        .await;
    let proxy = FaultProxy::start(redis.port).await;
    let limited = broker(&proxy.url().replace("://", "://chat:right@"));
    let inboxes = ["/", "/a"].map(|namespace| {
        let inbox = Arc::<RecordingInbox>::default();
        limited.open(&namespace.into(), &"a".into(), inbox.clone());
        inbox
    });
    must_become("both are connected", || inboxes.iter().all(|inbox| inbox.connected.load(Ordering::Acquire))).await;
    limited.close("/a").await;
    crate::common::redis_process::wait_until("the namespace is no longer counted", async || {
        redis.ask::<(String, usize)>("PUBSUB NUMSUB socket.io-request#/a#").await.1 == 0
    })
    .await;
    emit(&broker(&redis.url()), "/", 1).await;
    must_become("a message arrives", || inboxes[0].bodies.lock().len() == 1).await;
    assert_eq!((proxy.accepted(), inboxes[0].lost.load(Ordering::Relaxed)), (1, 0), "the connection has held");
}

/// A fake Redis that gives one answer to everything.
async fn answering(answer: &'static str) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4_096];
                while let Ok(read @ 1..) = connection.read(&mut buffer).await {
                    // Each command begins with the number of its words.
                    let commands = buffer[..read].iter().filter(|byte| **byte == b'*').count();
                    if connection.write_all(answer.repeat(commands).as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_refusals_are_told_apart() {
    type Is = fn(&RedisError) -> bool;
    let table: [(&str, Is); 8] = [
        ("-LOADING Redis is loading the dataset in memory\r\n", |it| matches!(it, RedisError::Loading)),
        ("-READONLY You can't write against a read only replica.\r\n", |it| matches!(it, RedisError::NotPrimary)),
        ("-MASTERDOWN Link with MASTER is down\r\n", |it| matches!(it, RedisError::NotPrimary)),
        ("-NOAUTH Authentication required.\r\n", |it| matches!(it, RedisError::Auth(_))),
        ("-WRONGPASS invalid username-password pair\r\n", |it| matches!(it, RedisError::Auth(_))),
        ("-CLUSTERDOWN The cluster is down\r\n", |it| matches!(it, RedisError::ClusterDown(_))),
        ("-MOVED 1 127.0.0.1:1\r\n", |it| matches!(it, RedisError::ClusterDown(_))),
        ("-ERR max number of clients reached\r\n", |it| matches!(it, RedisError::Other(_))),
    ];
    for (answer, is) in table {
        let error = broker(&format!("redis://127.0.0.1:{}", answering(answer).await)).check().await.unwrap_err();
        assert!(is(&error), "{answer}: {error:?}");
    }
    let nobody = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
    let error = broker(&format!("redis://{nobody}")).check().await.unwrap_err();
    assert!(matches!(error, RedisError::Unreachable(_)), "{error:?}");
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let error = tokio::time::timeout(PATIENCE, broker(&url).check()).await.unwrap().unwrap_err();
    assert_eq!(error, RedisError::Timeout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transient_refusals_are_retried_soon_but_not_all_the_time() {
    let port = answering("-LOADING Redis is loading the dataset in memory\r\n").await;
    refused(port, "", SOON).await;
    let port = answering("-READONLY You can't write against a read only replica.\r\n").await;
    refused(port, "", SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_refusals_are_not_retried_all_the_time() {
    let port = answering("-ERR max number of clients reached\r\n").await;
    refused(port, "", FEW).await;
}

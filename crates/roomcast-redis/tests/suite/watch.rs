//! Watching Redis: what is reported of each layout, what a user with few rights costs, and how it ends.

use crate::common::fault_stage::PATIENCE;
use crate::common::log::log;
use crate::common::redis_process::{RedisCluster, RedisProcess, Sentinels, wait_until};
use roomcast_adapter::cluster::{Broker, Cluster, ClusterOptions};
use roomcast_redis::{
    ClassicBroker, ClassicOptions, RedisReport, RedisWarningKind, RedisWatch, RedisWatchOptions, ShardedBroker,
    ShardedOptions,
};
use std::sync::Arc;
use std::time::Duration;

fn options() -> RedisWatchOptions {
    let mut options = RedisWatchOptions::default();
    options.interval = Duration::from_secs(1);
    options
}

fn classic(url: &str) -> Arc<ClassicBroker> {
    ClassicBroker::new(url.parse().unwrap(), ClassicOptions::default())
}

/// A member of a cluster with a namespace, so that its broker subscribes.
fn member(broker: Arc<dyn Broker>) -> (Cluster, Arc<dyn roomcast_adapter::Adapter>) {
    let cluster = Cluster::new(broker, ClusterOptions::default());
    let (server_events, _) = tokio::sync::mpsc::channel(1);
    let adapter = (cluster.factory())(roomcast_adapter::AdapterContext::new("/", server_events));
    (cluster, adapter)
}

/// The first report that is as wanted.
async fn report(watch: &RedisWatch, what: &str, wanted: impl Fn(&RedisReport) -> bool) -> RedisReport {
    let mut reports = watch.reports();
    let found = tokio::time::timeout(PATIENCE, reports.wait_for(|report| wanted(report)));
    let found = found.await.map(|report| report.unwrap().clone());
    found.unwrap_or_else(|_| panic!("no report is so: {what}; the last is {:?}", watch.reports().borrow()))
}

fn answered(report: &RedisReport) -> bool {
    !report.servers.is_empty() && report.servers.iter().all(|server| server.figures.is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_tells_its_figures() {
    let redis = RedisProcess::start_with(&["--maxmemory", "100mb", "--maxclients", "100"]).await;
    let broker = classic(&redis.url());
    let _member = member(broker.clone());
    let watch = broker.watch(options());
    assert_eq!(watch.status().reason, "not asked yet");
    // The buffer is known once the broker has subscribed.
    let report = report(&watch, "all is known", |report| {
        answered(report) && report.servers[0].figures.as_ref().unwrap().output_buffer.is_some()
    })
    .await;
    assert_eq!(report.servers[0].address, format!("127.0.0.1:{}", redis.port));
    let figures = report.servers[0].figures.as_ref().unwrap();
    assert_eq!((figures.memory_max, figures.policy.as_deref()), (Some(100 << 20), Some("noeviction")));
    assert_eq!((figures.clients_max, figures.is_primary, figures.replicas), (Some(100), Some(true), Some(0)));
    assert!(figures.memory_used > Some(100_000) && figures.clients >= Some(2), "{figures:?}");
    assert!(figures.version.is_some() && figures.memory_of_machine.is_some(), "{figures:?}");
    assert!(figures.output_buffer_limit.is_some_and(|limit| (limit.hard, limit.soft) == (32 << 20, 8 << 20)));
    let status = watch.status();
    assert!(status.ok && status.reason.contains(" of 100.0 MiB, policy noeviction, "), "{status:?}");
    assert!(status.reason.ends_with(" of 100 clients, primary"), "{status:?}");
}

/// The log has a line when the warning begins and one when it is over, and the status has it meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warning_begins_and_ends() {
    let log = log();
    let redis = RedisProcess::start_with(&["--maxmemory", "100mb"]).await;
    let broker = classic(&redis.url());
    let watch = broker.watch(options());
    let port = format!(":{}", redis.port);
    report(&watch, "it is asked", answered).await;
    assert!(watch.status().ok);
    redis.ask::<()>("CONFIG SET maxmemory 1mb").await;
    let warned = report(&watch, "a warning", |report| !report.warnings.is_empty()).await;
    assert_eq!(warned.warnings[0].kind, RedisWarningKind::Memory);
    assert!(log.has(&[&port, "WARN", "of its maxmemory", "Raise maxmemory"]));
    let status = watch.status();
    assert!(!status.ok && status.reason.starts_with("memory is nearly used up, "), "{status:?}");
    redis.ask::<()>("CONFIG SET maxmemory 100mb").await;
    report(&watch, "it is over", |report| report.warnings.is_empty()).await;
    assert!(log.has(&[&port, "INFO", "enough memory again"]) && watch.status().ok);
    assert_eq!(log.count(&[&port, "of its maxmemory"]), 1);
}

/// A replica behind the name: it is not used for messages, and is watched all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_warned_about() {
    let log = log();
    let primary = RedisProcess::start().await;
    let replica = RedisProcess::start_with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]).await;
    replica.must_replicate().await;
    let (broker, used) = (classic(&replica.url()), classic(&primary.url()));
    let (watch, primarys) = (broker.watch(options()), used.watch(options()));
    let warned = report(&watch, "a warning", |report| !report.warnings.is_empty()).await;
    assert_eq!(warned.warnings.iter().map(|warning| warning.kind).collect::<Vec<_>>(), [RedisWarningKind::NotPrimary]);
    assert!(log.has(&[&format!(":{}", replica.port), "WARN", "is a replica", "REDIS_URL"]));
    assert!(watch.status().reason.contains("a replica is used as the primary"));
    report(&primarys, "its replica", |report| {
        answered(report) && report.servers[0].figures.as_ref().unwrap().replicas == Some(1)
    })
    .await;
    drop(primary);
    report(&watch, "the primary is away", |report| {
        report.warnings.iter().any(|warning| warning.kind == RedisWarningKind::PrimaryAway)
    })
    .await;
    report(&primarys, "the primary does not answer", |report| {
        report.servers.iter().all(|server| server.figures.is_err())
    })
    .await;
    assert_eq!(primarys.status().reason, "does not answer; see the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_sentinels_the_primary_is_watched() {
    let redis = Sentinels::start().await;
    let broker = classic(&redis.url());
    let watch = broker.watch(options());
    let report = report(&watch, "an answer", answered).await;
    assert_eq!(report.servers.len(), 1);
    assert!(report.servers[0].address.ends_with(&format!(":{}", redis.primary.port)), "{report:?}");
}

/// With both dialects each primary is watched, once, and our own connections to it are found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_primary_of_a_cluster_is_watched() {
    let redis = RedisCluster::start().await;
    // The nodes call themselves by their IPs.
    let url = redis.url().replace("127.0.0.1", "localhost");
    let classic = classic(&url);
    let sharded = ShardedBroker::new(url.parse().unwrap(), ShardedOptions::default());
    let _members = (member(classic.clone()), member(sharded.clone()));
    let mut ports: Vec<String> = redis.nodes[..3].iter().map(|node| node.port.to_string()).collect();
    ports.sort();
    for watch in [classic.watch(options()), sharded.watch(options())] {
        let buffers = |report: &RedisReport| {
            report.servers.iter().filter(|it| it.figures.as_ref().is_ok_and(|it| it.output_buffer.is_some())).count()
        };
        let report = report(&watch, "our own connections", |report| answered(report) && buffers(report) > 0).await;
        let mut found: Vec<&str> =
            report.servers.iter().filter_map(|it| Some(it.address.rsplit_once(':')?.1)).collect();
        found.sort_unstable();
        assert_eq!(found, ports);
        assert!(watch.status().reason.starts_with("3 servers, the fullest: used "), "{:?}", watch.status());
    }
}

/// Without the rights, what is missing is told once, the messages of servers are not affected, and no restart is needed
/// when the rights are given: they are tried again after ten minutes, which the unit tests of `rights` check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_the_rights() {
    let log = log();
    let redis = RedisProcess::start_with(&["--rename-command", "CONFIG", ""]).await;
    redis.ask::<()>("ACL SETUSER chat on >secret-word resetchannels &* -@all +@pubsub +ping +role +client|info").await;
    let broker = classic(&redis.url().replace("://", "://chat:secret-word@"));
    let _member = member(broker.clone());
    let watch = broker.watch(options());
    let port = format!(":{}", redis.port);
    wait_until("three things are told", async || {
        log.has(&[&port, "forbids INFO", "ACL SETUSER <user> +info"])
            && log.has(&[&port, "forbids CLIENT LIST ID", "ACL SETUSER <user> +client|list"])
            && log.has(&[&port, "does not answer CONFIG GET"])
    })
    .await;
    let report = report(&watch, "the role is known", answered).await;
    let figures = report.servers[0].figures.as_ref().unwrap();
    assert_eq!((figures.is_primary, figures.memory_used, figures.output_buffer), (Some(true), None, None));
    let refusals = async || redis.ask::<String>("INFO commandstats").await.matches("rejected_calls=1,").count();
    let before = refusals().await;
    let mut reports = watch.reports();
    for _ in 0..2 {
        reports.changed().await.unwrap();
    }
    assert_eq!(refusals().await, before, "refused questions are not asked again soon");
    assert_eq!(log.count(&[&port, "forbids INFO"]), 1);
    assert_eq!(log.count(&[&port, "secret-word"]), 0);
    assert_eq!(broker.count("/").await.unwrap().map(|count| count.servers), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_suffice() {
    let log = log();
    let redis = RedisProcess::start().await;
    redis.ask::<()>(&format!("ACL SETUSER chat on >word {}", crate::refusals::RIGHTS)).await;
    let broker = classic(&redis.url().replace("://", "://chat:word@"));
    let _member = member(broker.clone());
    let watch = broker.watch(options());
    report(&watch, "all is known", |report| {
        answered(report)
            && report.servers[0]
                .figures
                .as_ref()
                .is_ok_and(|it| it.memory_used.and(it.output_buffer).and(it.output_buffer_limit).is_some())
    })
    .await;
    assert_eq!(log.count(&[&format!(":{}", redis.port), "Everything else works"]), 0);
}

/// A wrong password is told at once; a Redis that is not there yet is waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_at_the_start() {
    let mut redis = RedisProcess::stopped(&["--requirepass", "right"]);
    let url = |password: &str| redis.url().replace("://", &format!("://:{password}@"));
    let (right, wrong) = (classic(&url("right")), classic(&url("wrong")));
    let sharded = ShardedBroker::new(url("right").parse().unwrap(), ShardedOptions::default());
    assert!(!right.check_within(Duration::ZERO).await.unwrap_err().is_lasting());
    let waiting =
        tokio::spawn(async move { (right.check_within(PATIENCE).await, sharded.check_within(PATIENCE).await) });
    redis.start_again().await;
    assert_eq!(waiting.await.unwrap(), (Ok(()), Ok(())));
    let checked = tokio::time::timeout(PATIENCE, wrong.check_within(Duration::MAX)).await;
    let error = checked.expect("it is told at once").unwrap_err();
    assert!(error.is_lasting() && error.to_string().contains("REDIS_PASSWORD_FILE"), "{error}");
}

/// It ends with its owner: then nothing of it is asked any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_task_ends_when_it_is_dropped() {
    let redis = RedisProcess::start().await;
    let broker = classic(&redis.url());
    let watch = broker.watch(options());
    report(&watch, "an answer", answered).await;
    let mut reports = watch.reports();
    drop(watch);
    let ends = async { while reports.changed().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ends).await.expect("the task goes on");
}

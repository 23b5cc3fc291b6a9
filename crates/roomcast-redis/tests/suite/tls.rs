//! TLS to one server, to Sentinels and the servers they watch, and to the nodes of a Cluster, with a CA of our own.
//! Each test runs in a process that trusts this CA by `SSL_CERT_FILE`, as an operator would set it. Certificates that
//! are given to a single broker are tested in `certificates.rs`.

use crate::common::certificates::{Certificates, with_certificates};
use crate::common::fault_stage::Talk;
use crate::common::redis_process::{Extras, RedisCluster, RedisProcess, Sentinels};
use crate::common::sharded_stage::{broker_at, open, publish_until_received};
use roomcast_adapter::cluster::ClusterOptions;
use roomcast_adapter::{Adapter, Target};
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisError, ShardedMode};
use tokio::time::Instant;

async fn check(url: &str) -> Result<(), RedisError> {
    ClassicBroker::new(url.parse().unwrap(), ClassicOptions::default()).check().await
}

fn signed<'a>(certificates: &'a Certificates, name: &'a str) -> Extras<'a> {
    Extras { certificate: Some((&certificates.0, name)), ..Extras::default() }
}

/// Two servers still talk after the primary was killed and its replica promoted.
async fn fails_over(redis: &mut Sentinels, url: &str) {
    let talk = Talk::begin([url, url]).await;
    talk.messages_come().await;
    redis.primary.kill();
    redis.replica.must_be_promoted().await;
    talk.resumes(Instant::now()).await;
    talk.must_count_two().await;
}

#[test]
fn one_server() {
    with_certificates("tls::one_server", async |certificates| {
        let extras = Extras { password: Some("secret"), ..signed(&certificates, "ip") };
        let redis = RedisProcess::start_extra(&[], &extras).await;
        let url = format!("rediss://:secret@127.0.0.1:{}", redis.public_port());
        check(&url).await.unwrap();
        let talk = Talk::begin([&url, &url]).await;
        talk.messages_come().await;
        talk.must_count_two().await;
    });
}

#[test]
fn sharded_channels_of_one_server_and_of_a_cluster() {
    with_certificates("tls::sharded_channels_of_one_server_and_of_a_cluster", async |certificates| {
        let extras = Extras { password: Some("secret"), ..signed(&certificates, "ip") };
        let redis = RedisProcess::start_extra(&[], &extras).await;
        let cluster = RedisCluster::start_extra(&extras).await;
        for url in [
            format!("rediss://:secret@127.0.0.1:{}", redis.public_port()),
            cluster.url().replace("redis+cluster://", "rediss+cluster://:secret@"),
        ] {
            let broker = broker_at(&url, "tls", ShardedMode::Dynamic);
            broker.check().await.unwrap();
            let inbox = open(&broker, "/", "0000000000000002").await;
            publish_until_received(&broker, "/", &Target::everyone(), &inbox, 1).await;
        }
        let stranger = RedisProcess::start_extra(&[], &signed(&certificates, "stranger")).await;
        let url = format!("rediss://127.0.0.1:{}", stranger.public_port());
        let broker = broker_at(&url, "tls", ShardedMode::Dynamic);
        assert!(matches!(broker.check().await, Err(RedisError::Tls(_))));
    });
}

#[test]
fn certificates_are_checked_and_the_error_says_so() {
    with_certificates("tls::certificates_are_checked_and_the_error_says_so", async |certificates| {
        let trusted = RedisProcess::start_extra(&[], &signed(&certificates, "ip")).await;
        let stranger = RedisProcess::start_extra(&[], &signed(&certificates, "stranger")).await;
        for (url, why) in [
            (format!("rediss://127.0.0.1:{}", stranger.public_port()), "UnknownIssuer"),
            (format!("rediss://localhost:{}", trusted.public_port()), "not valid for name"),
            (format!("rediss+cluster://127.0.0.1:{}", stranger.public_port()), "UnknownIssuer"),
        ] {
            let error = check(&url).await.unwrap_err();
            assert!(matches!(error, RedisError::Tls(_)), "{url}: {error:?}");
            let error = error.to_string();
            assert!(error.contains(why) && error.contains("SSL_CERT_FILE"), "{url}: {error}");
        }
        // Sentinels are named, with what is wrong with each.
        let error = check(&format!("rediss+sentinel://127.0.0.1:{}/main", stranger.public_port())).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains(&format!("127.0.0.1:{}: TLS", stranger.public_port())), "{error}");
        // Only one of the two ends speaks TLS.
        for url in
            [format!("rediss://127.0.0.1:{}", trusted.port), format!("redis://127.0.0.1:{}", trusted.public_port())]
        {
            check(&url).await.unwrap_err();
        }
    });
}

#[test]
fn sentinels_with_a_password_of_their_own_replace_the_primary() {
    with_certificates("tls::sentinels_with_a_password_of_their_own_replace_the_primary", async |certificates| {
        let passwords = (Some("data"), Some("watch@&"));
        let extras = Extras { password: passwords.0, sentinel_password: passwords.1, ..signed(&certificates, "ip") };
        let mut redis = Sentinels::start_extra(&extras).await;
        let url =
            redis.url().replace("redis+sentinel://", "rediss+sentinel://:data@") + "?sentinel_password=watch%40%26";
        check(&url).await.unwrap();
        fails_over(&mut redis, &url).await;
    });
}

#[test]
fn sentinels_that_resolve_names_tell_names() {
    with_certificates("tls::sentinels_that_resolve_names_tell_names", async |certificates| {
        // The certificates contain no IP.
        let extras = Extras {
            sentinel_lines: "sentinel resolve-hostnames yes\nsentinel announce-hostnames yes",
            node_args: &["--replica-announce-ip", "localhost"],
            host: Some("localhost"),
            ..signed(&certificates, "name")
        };
        let mut redis = Sentinels::start_extra(&extras).await;
        let url = redis.url().replace("redis+sentinel://", "rediss+sentinel://").replace("127.0.0.1", "localhost");
        fails_over(&mut redis, &url).await;
    });
}

#[test]
fn the_node_in_use_of_a_cluster_is_killed() {
    with_certificates("tls::the_node_in_use_of_a_cluster_is_killed", async |certificates| {
        let mut redis = RedisCluster::start_extra(&signed(&certificates, "ip")).await;
        // Only the first node is named: the next must come from its list, with the ports of TLS.
        let url = format!("rediss+cluster://127.0.0.1:{}", redis.nodes[0].public_port());
        let talk = Talk::begin([&url, &url]).await;
        talk.messages_come().await;
        talk.must_count_two().await;
        redis.nodes[0].kill();
        talk.resumes(Instant::now()).await;
        talk.must_count_two().await;
    });
}

#[test]
fn nodes_of_a_cluster_are_connected_to_by_the_names_they_announce() {
    with_certificates("tls::nodes_of_a_cluster_are_connected_to_by_the_names_they_announce", async |certificates| {
        let named = ["--cluster-announce-hostname", "localhost"];
        let redis = RedisCluster::start_extra(&Extras { node_args: &named, ..signed(&certificates, "name") }).await;
        // Each server uses another node. For a count the other's node must be asked, by a name that is in its
        // certificate.
        let url = |node: usize| format!("rediss+cluster://localhost:{}", redis.nodes[node].public_port());
        let talk = Talk::begin([&url(0), &url(4)]).await;
        talk.messages_come().await;
        talk.must_count_two().await;
    });
}

#[test]
fn a_count_without_an_untrusted_node_is_not_complete() {
    with_certificates("tls::a_count_without_an_untrusted_node_is_not_complete", async |certificates| {
        // The nodes announce no names, so only their IPs are known, which are not in their certificates.
        let redis = RedisCluster::start_extra(&signed(&certificates, "name")).await;
        let url = |node: usize| format!("rediss+cluster://localhost:{}", redis.nodes[node].public_port());
        let talk = Talk::unacquainted([&url(0), &url(4)], &ClusterOptions::default());
        talk.messages_come().await;
        let count = talk.servers[0].adapter.server_count().await;
        assert!(!count.is_complete(), "{count:?}");
    });
}

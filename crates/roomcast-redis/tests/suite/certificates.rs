//! TLS with certificates that are given to a broker: roots of its own, and client certificates, which Redis asks for by
//! default (`tls-auth-clients yes`). By `SSL_CERT_FILE` the process trusts the CA, but not that of `stranger`, whose
//! roots a broker is given.

use crate::common::certificates::{Certificates, with_certificates};
use crate::common::fault_proxy::FaultProxy;
use crate::common::fault_stage::{Talk, must_become};
use crate::common::redis_process::{Extras, RedisCluster, RedisProcess, Sentinels};
use crate::common::sharded_stage::{broker_on, open, publish_until_received};
use roomcast_adapter::Target;
use roomcast_adapter::cluster::ClusterOptions;
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisConfig, RedisError, RedisTls, ShardedMode};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tokio::time::Instant;

async fn check(config: &RedisConfig) -> Result<(), RedisError> {
    ClassicBroker::new(config.clone(), ClassicOptions::default()).check().await
}

fn at(url: &str) -> RedisConfig {
    url.parse().unwrap()
}

/// Servers that ask clients for a certificate signed by the CA, as Redis does by default.
fn strict(certificates: &Certificates) -> Extras<'_> {
    Extras { certificate: Some((&certificates.0, "ip")), clients_show_theirs: true, ..Extras::default() }
}

fn file(certificates: &Certificates, name: &str) -> PathBuf {
    certificates.0.join(name)
}

fn client(certificates: &Certificates) -> RedisTls {
    RedisTls::new().client_files(file(certificates, "name.crt"), file(certificates, "name.key"))
}

async fn talks(config: &RedisConfig) -> Talk {
    let talk = Talk::begin_on([config.clone(), config.clone()], ClusterOptions::default()).await;
    talk.messages_come().await;
    talk.must_count_two().await;
    talk
}

#[test]
fn a_server_that_asks_for_a_certificate() {
    with_certificates("certificates::a_server_that_asks_for_a_certificate", async |certificates| {
        let redis = RedisProcess::start_extra(&[], &strict(&certificates)).await;
        let config = at(&format!("rediss://127.0.0.1:{}", redis.public_port()));
        let error = check(&config).await.unwrap_err();
        assert!(matches!(error, RedisError::Tls(_)), "{error:?}");
        assert!(error.to_string().contains("set REDIS_TLS_CERT_FILE"), "{error}");
        // A certificate of a CA that the server does not know.
        let stranger =
            RedisTls::new().client_files(file(&certificates, "stranger.crt"), file(&certificates, "stranger.key"));
        let error = check(&config.clone().with_tls(stranger)).await.unwrap_err();
        assert!(matches!(error, RedisError::Tls(_)), "{error:?}");
        let talk = talks(&config.clone().with_tls(client(&certificates))).await;
        drop(talk);
        // As bytes in place of files; certificate and key may be together.
        let both =
            [fs::read(file(&certificates, "name.key")).unwrap(), fs::read(file(&certificates, "name.crt")).unwrap()];
        let tls = RedisTls::new().client_pem(both.concat(), both.concat());
        let tls = tls.ca_pem(fs::read(file(&certificates, "ca.crt")).unwrap());
        check(&config.with_tls(tls)).await.unwrap();
    });
}

#[test]
fn subscribers_of_sharded_channels_present_their_certificate() {
    with_certificates(
        "certificates::subscribers_of_sharded_channels_present_their_certificate",
        async |certificates| {
            let redis = RedisProcess::start_extra(&[], &strict(&certificates)).await;
            let cluster = RedisCluster::start_extra(&strict(&certificates)).await;
            for url in [
                format!("rediss://127.0.0.1:{}", redis.public_port()),
                cluster.url().replace("redis+cluster://", "rediss+cluster://"),
            ] {
                let config = at(&url).with_tls(client(&certificates).ca_file(file(&certificates, "ca.crt")));
                let broker = broker_on(config, "certificate", ShardedMode::Dynamic);
                let inbox = open(&broker, "/", "0000000000000002").await;
                publish_until_received(&broker, "/", &Target::everyone(), &inbox, 1).await;
            }
        },
    );
}

#[test]
fn sentinels_and_data_servers_that_ask_for_a_certificate() {
    with_certificates("certificates::sentinels_and_data_servers_that_ask_for_a_certificate", async |certificates| {
        let mut redis = Sentinels::start_extra(&strict(&certificates)).await;
        let config = at(&redis.url().replace("redis+sentinel://", "rediss+sentinel://"));
        let error = check(&config).await.unwrap_err().to_string();
        assert!(error.contains("set REDIS_TLS_CERT_FILE"), "{error}");
        let talk = talks(&config.with_tls(client(&certificates))).await;
        redis.primary.kill();
        redis.replica.must_be_promoted().await;
        talk.resumes(Instant::now()).await;
        talk.must_count_two().await;
    });
}

#[test]
fn nodes_of_a_cluster_that_ask_for_a_certificate() {
    with_certificates("certificates::nodes_of_a_cluster_that_ask_for_a_certificate", async |certificates| {
        let mut redis = RedisCluster::start_extra(&strict(&certificates)).await;
        let config = at(&format!("rediss+cluster://127.0.0.1:{}", redis.nodes[0].public_port()));
        assert!(matches!(check(&config).await, Err(RedisError::Tls(_))));
        let talk = talks(&config.with_tls(client(&certificates))).await;
        redis.nodes[0].kill();
        talk.resumes(Instant::now()).await;
        talk.must_count_two().await;
    });
}

#[test]
fn each_broker_has_roots_of_its_own() {
    with_certificates("certificates::each_broker_has_roots_of_its_own", async |certificates| {
        let extras = |name| Extras { certificate: Some((&certificates.0, name)), ..Extras::default() };
        let (ours, other) = (extras("ip"), extras("stranger"));
        let ours = RedisProcess::start_extra(&[], &ours).await;
        let other = RedisProcess::start_extra(&[], &other).await;
        let url = |redis: &RedisProcess| at(&format!("rediss://127.0.0.1:{}", redis.public_port()));
        let roots = |name: &str| RedisTls::new().ca_file(file(&certificates, name));
        // The process trusts `ca.crt`.
        check(&url(&ours)).await.unwrap();
        check(&url(&other).with_tls(roots("other.crt"))).await.unwrap();
        check(&url(&ours).with_tls(roots("ca.crt"))).await.unwrap();
        for (redis, roots) in [(&ours, roots("other.crt")), (&other, roots("ca.crt"))] {
            let error = check(&url(redis).with_tls(roots)).await.unwrap_err();
            assert!(matches!(&error, RedisError::Tls(why) if why.contains("UnknownIssuer")), "{error:?}");
        }
        // The CA is replaced without a restart.
        let replaced = file(&certificates, "replaced.crt");
        fs::copy(file(&certificates, "ca.crt"), &replaced).unwrap();
        let config = url(&other).with_tls(RedisTls::new().ca_file(&replaced));
        let talk = Talk::unacquainted_on([config.clone(), config.clone()], &ClusterOptions::default());
        check(&config).await.unwrap_err();
        fs::copy(file(&certificates, "other.crt"), &replaced).unwrap();
        must_become("messages arrive", || talk.servers[0].received(&talk.servers[1]).len() > 20).await;
    });
}

#[test]
fn errors_name_the_file_and_say_what_is_wrong_with_it() {
    with_certificates("certificates::errors_name_the_file_and_say_what_is_wrong_with_it", async |certificates| {
        let file = |name: &str| file(&certificates, name);
        let write = |name: &str, text: &str| fs::write(file(name), text).unwrap();
        write("empty", "");
        write("text", "secret");
        write("open", "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n");
        write("no64", "-----BEGIN CERTIFICATE-----\nsecret!\n-----END CERTIFICATE-----\n");
        write("nocert", "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n");
        let (most, more) = (1 << 20, (1 << 20) + 1);
        write("large", &"x".repeat(more));
        write("largest", &"x".repeat(most));
        let openssl = Command::new("openssl")
            .args(["pkey", "-in", "name.key", "-aes256", "-passout", "pass:secret", "-out", "encrypted"])
            .current_dir(&certificates.0)
            .status();
        assert!(openssl.unwrap().success());
        let ca = |name: &str| (RedisTls::new().ca_file(file(name)), name.to_owned());
        let client = |certificate: &str, key: &str, named: &str| {
            (RedisTls::new().client_files(file(certificate), file(key)), named.to_owned())
        };
        for ((tls, named), why) in [
            (ca("missing"), "No such file"),
            (ca("."), "not a regular file"),
            (ca("empty"), "no certificate (-----BEGIN CERTIFICATE-----)"),
            (ca("text"), "no certificate"),
            (ca("name.key"), "no certificate"),
            (ca("open"), "a section has no end"),
            (ca("no64"), "not base64"),
            (ca("nocert"), "certificate"),
            (ca("largest"), "no certificate"),
            (ca("large"), "1048576 bytes are allowed"),
            (client("missing", "name.key", "missing"), "No such file"),
            (client("name.crt", "missing", "missing"), "No such file"),
            (client("name.crt", "name.crt", "name.crt"), "no private key"),
            (client("name.crt", "ip.key", "ip.key"), "not the key of the certificate in"),
            (client("name.crt", "encrypted", "encrypted"), "the key is encrypted"),
        ] {
            // Nothing listens there: the files are checked before connecting.
            let error = check(&at("rediss://127.0.0.1:1").with_tls(tls)).await.unwrap_err();
            assert!(matches!(error, RedisError::TlsFile(_)), "{named}: {error:?}");
            let error = error.to_string();
            assert!(error.contains(&file(&named).display().to_string()) && error.contains(why), "{named}: {error}");
            assert!(!error.contains("secret") && !error.contains("c2VjcmV0"), "{error}");
        }
        let error = check(&at("rediss://127.0.0.1:1").with_tls(RedisTls::new().ca_pem("x"))).await.unwrap_err();
        assert!(error.to_string().contains("(given as bytes)"), "{error}");
        // Without TLS the files are not read.
        let redis = RedisProcess::start().await;
        check(&at(&redis.url()).with_tls(RedisTls::new().ca_file("/nowhere"))).await.unwrap();
    });
}

/// TLS 1.2 takes one round trip more than 1.3.
#[test]
fn tls_over_a_round_trip_of_400_ms() {
    with_certificates("certificates::tls_over_a_round_trip_of_400_ms", async |certificates| {
        let extras = Extras { certificate: Some((&certificates.0, "ip")), ..Extras::default() };
        let redis = RedisProcess::start_extra(&["--tls-protocols", "TLSv1.2"], &extras).await;
        let proxy = FaultProxy::start(redis.public_port()).await;
        proxy.delay(Duration::from_millis(200));
        let config = at(&proxy.url().replace("redis://", "rediss://"));
        check(&config).await.unwrap();
        talks(&config).await;
    });
}

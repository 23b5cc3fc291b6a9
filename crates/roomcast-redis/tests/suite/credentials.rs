//! User and password that change: they come from a file or a provider, and are asked for at each connect of each connection.

use crate::common::fault_stage::{Talk, must_become};
use crate::common::log::log;
use crate::common::redis_process::{Extras, RedisProcess, Sentinels};
use parking_lot::Mutex;
use roomcast_adapter::cluster::ClusterOptions;
use roomcast_redis::{ClassicBroker, ClassicOptions, Credentials, RedisConfig, RedisError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::Instant;

async fn check(config: &RedisConfig) -> Result<(), RedisError> {
    ClassicBroker::new(config.clone(), ClassicOptions::default()).check().await
}

async fn messages_come(talk: &Talk) {
    must_become("messages come", || talk.servers[0].heard(&talk.servers[1]).len() > 20).await;
    must_become("messages come", || talk.servers[1].heard(&talk.servers[0]).len() > 20).await;
}

/// A file with a password, which goes with it.
struct PasswordFile(PathBuf);

impl PasswordFile {
    fn new(password: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("roomcast-password-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = Self(std::env::temp_dir().join(name));
        file.becomes(password);
        file
    }

    /// As Docker and Kubernetes do it: a new file takes the place of the old one.
    fn becomes(&self, password: &str) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{password}\n")).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }

    fn shown(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_file_is_read_at_each_connect() {
    let log = log();
    let redis = RedisProcess::start().await;
    redis.ask::<()>("ACL SETUSER chat on >first ~* &* +@all").await;
    let file = PasswordFile::new("mistaken");
    // That of the URL does not count.
    let url = redis.url().replace("://", "://chat:first@");
    let config = url.parse::<RedisConfig>().unwrap().with_password_file(&file.0);
    let error = check(&config).await.unwrap_err();
    assert!(matches!(error, RedisError::Auth(_)), "{error:?}");
    let error = error.to_string();
    assert!(error.contains(&file.shown()) && !error.contains("mistaken"), "{error}");
    let talk = Talk::unacquainted_on([config.clone(), config.clone()], &ClusterOptions::default());
    must_become("the log names the file", || log.has(&[&file.shown(), "Redis refuses user or password"])).await;
    // It was put right: no restart.
    file.becomes("first");
    messages_come(&talk).await;
    talk.must_count_two().await;
    // A rotation: Redis knows both for a while, then the new one alone. Connections are cut, and made with the new one.
    redis.ask::<()>("ACL SETUSER chat >second").await;
    file.becomes("second");
    redis.ask::<()>("ACL SETUSER chat <first").await;
    let cut: usize = redis.ask("CLIENT KILL USER chat").await;
    assert!(cut >= 4, "{cut}");
    talk.resumes(Instant::now()).await;
    talk.must_count_two().await;
    assert!(!log.has(&["mistaken"]));
    // Without the file there is no connection, and the log says why.
    std::fs::remove_file(&file.0).unwrap();
    let error = check(&config).await.unwrap_err();
    assert!(matches!(&error, RedisError::Credentials(why) if why.contains(&file.shown())), "{error:?}");
}

/// Counts, and tells what it is told to tell.
#[derive(Default)]
struct Vault {
    token: Mutex<Option<String>>,
    asked: AtomicUsize,
}

impl Vault {
    fn with(token: &str) -> Arc<Self> {
        let vault = Self::default();
        *vault.token.lock() = Some(token.to_owned());
        Arc::new(vault)
    }

    fn ask(&self) -> Result<Credentials, &'static str> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.token.lock().clone().map(Credentials::password).ok_or("the vault is sealed")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_is_asked_for_each_connection() {
    let log = log();
    let redis = RedisProcess::start_extra(&[], &Extras { password: Some("data"), ..Extras::default() }).await;
    let vault = Vault::with("old");
    *vault.token.lock() = None;
    let asked = vault.clone();
    let config = redis.url().parse::<RedisConfig>().unwrap();
    let config = config.with_credentials(move || {
        let asked = asked.clone();
        async move { asked.ask().map(|credentials| credentials.user("default")) }
    });
    let error = check(&config).await.unwrap_err().to_string();
    assert!(error.contains("the vault is sealed"), "{error}");
    let talk = Talk::unacquainted_on([config.clone(), config], &ClusterOptions::default());
    let port = format!(":{}", redis.port);
    must_become("the log says so", || log.has(&[&port, "the vault is sealed"])).await;
    *vault.token.lock() = Some("wrong".to_owned());
    must_become("the log says so", || log.has(&[&port, "told by the program's provider"])).await;
    assert!(!log.has(&["wrong", &port]), "a token is in the log");
    *vault.token.lock() = Some("data".to_owned());
    messages_come(&talk).await;
    talk.must_count_two().await;
    // Each server's two connections, and one of its pool.
    let (clients, asked) = (redis.ask::<String>("CLIENT LIST").await, vault.asked.load(Ordering::Relaxed));
    let ours = ["hears", "publishes", "asks"].map(|role| clients.matches(&format!("-{role} ")).count());
    assert_eq!(ours, [2, 2, 2], "{clients}");
    assert!(asked >= 6, "{asked}");
    redis.ask::<usize>("CLIENT KILL SKIPME yes").await;
    talk.resumes(Instant::now()).await;
    must_become("it is asked again", || vault.asked.load(Ordering::Relaxed) >= asked + 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_have_a_provider_of_their_own() {
    let user = "user watcher on >watch -@all +sentinel|get-master-addr-by-name";
    let extras =
        Extras { password: Some("data"), sentinel_password: Some("all"), sentinel_lines: user, ..Extras::default() };
    let redis = Sentinels::start_extra(&extras).await;
    let (data, watch) = (Vault::with("data"), Vault::with("data"));
    let given = |url: String| {
        let (data, watch) = (data.clone(), watch.clone());
        let config = url.parse::<RedisConfig>().unwrap().with_credentials(move || {
            let data = data.clone();
            async move { data.ask() }
        });
        config.with_sentinel_credentials(move || {
            let watch = watch.clone();
            async move { watch.ask() }
        })
    };
    // The data servers' password is not theirs.
    let config = given(redis.url() + "?sentinel_user=watcher");
    let error = check(&config).await.unwrap_err();
    assert!(matches!(&error, RedisError::SentinelAuth(_)), "{error:?}");
    assert_eq!(data.asked.load(Ordering::Relaxed), 0, "the data servers were not come to");
    *watch.token.lock() = Some("watch".to_owned());
    check(&config).await.unwrap();
    assert!(data.asked.load(Ordering::Relaxed) >= 2, "one looks at the primary, one is of the pool");
    // From files.
    let (data, watch) = (PasswordFile::new("data"), PasswordFile::new("watch"));
    let url = redis.url() + "?sentinel_user=watcher";
    let config = url.parse::<RedisConfig>().unwrap().with_password_file(&data.0);
    let error = check(&config).await.unwrap_err().to_string();
    assert!(error.contains("sentinel_user needs sentinel_password"), "{error}");
    check(&config.with_sentinel_password_file(&watch.0)).await.unwrap();
}

/// Pub/sub knows no databases, so the number needs no right; that it separates nothing is told once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_number_separates_nothing() {
    let log = log();
    let redis = RedisProcess::start().await;
    redis.ask::<()>("ACL SETUSER chat on >right resetchannels &socket.io* &socket.io#/#* -@all +@pubsub +client").await;
    let url = |database: &str| redis.url().replace("://", "://chat:right@") + database;
    check(&url("/2").parse().unwrap()).await.unwrap();
    let talk = Talk::begin([&url("/2"), &url("/3")]).await;
    messages_come(&talk).await;
    let clients = redis.ask::<String>("CLIENT LIST").await;
    assert!(clients.contains(" db=0 ") && !clients.contains(" db=2 ") && !clients.contains("NOPERM"), "{clients}");
    for database in ["database=2", "database=3"] {
        let told = |log: &crate::common::log::Log| log.count(&[&redis.port.to_string(), database, "separates nothing"]);
        // The broker that was checked has its own line.
        assert_eq!(told(&log), if database == "database=2" { 2 } else { 1 });
    }
}

//! User and password that change: they come from a file or a provider, and are obtained anew for each connection.

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

/// A file with a password, removed on drop.
struct PasswordFile(PathBuf);

impl PasswordFile {
    fn new(password: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("roomcast-password-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let file = Self(std::env::temp_dir().join(name));
        file.replace(password);
        file
    }

    /// A new file takes the place of the old one, as Docker and Kubernetes do it.
    fn replace(&self, password: &str) {
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
async fn a_password_file_is_read_for_each_connection() {
    let log = log();
    let redis = RedisProcess::start().await;
    redis.ask::<()>("ACL SETUSER chat on >first ~* &* +@all").await;
    let file = PasswordFile::new("mistaken");
    // The password in the URL does not count.
    let url = redis.url().replace("://", "://chat:first@");
    let config = url.parse::<RedisConfig>().unwrap().with_password_file(&file.0);
    let error = check(&config).await.unwrap_err();
    assert!(matches!(error, RedisError::Auth(_)), "{error:?}");
    let error = error.to_string();
    assert!(error.contains(&file.shown()) && !error.contains("mistaken"), "{error}");
    let talk = Talk::unacquainted_on([config.clone(), config.clone()], &ClusterOptions::default());
    must_become("the log names the file", || log.has(&[&file.shown(), "Redis refuses the user or password"])).await;
    // The password is corrected, without a restart.
    file.replace("first");
    talk.messages_come().await;
    talk.must_count_two().await;
    // A rotation: Redis knows both passwords for a while, then only the new one. Connections are cut, and made with the
    // new one.
    redis.ask::<()>("ACL SETUSER chat >second").await;
    file.replace("second");
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

/// A provider that counts its calls.
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
async fn a_provider_is_called_for_each_connection() {
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
    must_become("the log says so", || log.has(&[&port, "from the program's credentials provider"])).await;
    assert!(!log.has(&["wrong", &port]), "a token is in the log");
    *vault.token.lock() = Some("data".to_owned());
    talk.messages_come().await;
    talk.must_count_two().await;
    // Each server's subscriber and publisher, and one connection of its pool.
    let (clients, asked) = (redis.ask::<String>("CLIENT LIST").await, vault.asked.load(Ordering::Relaxed));
    let ours = ["hears", "publishes", "asks"].map(|role| clients.matches(&format!("-{role} ")).count());
    assert_eq!(ours, [2, 2, 2], "{clients}");
    assert!(asked >= 6, "{asked}");
    redis.ask::<usize>("CLIENT KILL SKIPME yes").await;
    talk.resumes(Instant::now()).await;
    must_become("the provider is called again", || vault.asked.load(Ordering::Relaxed) >= asked + 4).await;
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
    // The Sentinels refuse the data servers' password.
    let config = given(redis.url() + "?sentinel_user=watcher");
    let error = check(&config).await.unwrap_err();
    assert!(matches!(&error, RedisError::SentinelAuth(_)), "{error:?}");
    assert_eq!(data.asked.load(Ordering::Relaxed), 0, "no data server was connected to");
    *watch.token.lock() = Some("watch".to_owned());
    check(&config).await.unwrap();
    assert!(data.asked.load(Ordering::Relaxed) >= 2, "one connection checks the primary, one is of the pool");
    // From files.
    let (data, watch) = (PasswordFile::new("data"), PasswordFile::new("watch"));
    let url = redis.url() + "?sentinel_user=watcher";
    let config = url.parse::<RedisConfig>().unwrap().with_password_file(&data.0);
    let error = check(&config).await.unwrap_err().to_string();
    assert!(error.contains("sentinel_user in REDIS_URL needs sentinel_password"), "{error}");
    check(&config.with_sentinel_password_file(&watch.0)).await.unwrap();
}

/// Pub/sub ignores databases, so the number needs no right; the log says once that it has no effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_number_has_no_effect() {
    let log = log();
    let redis = RedisProcess::start().await;
    redis.ask::<()>("ACL SETUSER chat on >right resetchannels &socket.io* &socket.io#/#* -@all +@pubsub +client").await;
    let url = |database: &str| redis.url().replace("://", "://chat:right@") + database;
    check(&url("/2").parse().unwrap()).await.unwrap();
    let talk = Talk::begin([&url("/2"), &url("/3")]).await;
    talk.messages_come().await;
    let clients = redis.ask::<String>("CLIENT LIST").await;
    assert!(clients.contains(" db=0 ") && !clients.contains(" db=2 ") && !clients.contains("NOPERM"), "{clients}");
    for database in ["database=2", "database=3"] {
        let lines = log.count(&[&redis.port.to_string(), database, "has no effect"]);
        // The broker that was checked has logged a line of its own.
        assert_eq!(lines, if database == "database=2" { 2 } else { 1 });
    }
}

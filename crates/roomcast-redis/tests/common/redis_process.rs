//! [`RedisProcess`]: Redis servers of the tests' own, alone, under Sentinels, or as a Cluster. They are killed on drop.

use redis::{Client, Cmd, FromRedisValue, cmd};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to answer, and a Cluster or Sentinel to know its members. It is long for busy machines.
const READY: Duration = Duration::from_secs(30);

/// A redis-server on a port of its own that stores nothing on disk.
#[derive(Debug)]
pub(crate) struct RedisProcess {
    pub(crate) port: u16,
    directory: Directory,
    args: Vec<String>,
    /// For the test's own commands.
    password: Option<&'static str>,
    child: Option<Child>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extras<'a> {
    /// A directory with `NAME.crt` and `NAME.key`, and the name. Servers then use TLS among each other, and only the
    /// test uses the plain port.
    pub(crate) certificate: Option<(&'a Path, &'a str)>,
    /// Clients must present a certificate.
    pub(crate) clients_show_theirs: bool,
    /// Of the data servers.
    pub(crate) password: Option<&'static str>,
    /// Of the Sentinels.
    pub(crate) sentinel_password: Option<&'static str>,
    /// Lines at the head of the Sentinels' configuration.
    pub(crate) sentinel_lines: &'a str,
    pub(crate) node_args: &'a [&'a str],
    /// The host by which Sentinels know the primary at first. Defaults to 127.0.0.1.
    pub(crate) host: Option<&'a str>,
}

impl Extras<'_> {
    fn args(&self) -> Vec<String> {
        let mut args = Vec::new();
        if let Some(password) = self.password {
            args.extend(["--requirepass", password, "--masterauth", password].map(str::to_owned));
        }
        let Some((directory, name)) = self.certificate else { return args };
        let file = |ending| directory.join(format!("{name}.{ending}")).display().to_string();
        let tls = [
            ("--tls-port", free_port().to_string()),
            ("--tls-cert-file", file("crt")),
            ("--tls-key-file", file("key")),
            ("--tls-ca-cert-file", directory.join("ca.crt").display().to_string()),
            ("--tls-auth-clients", if self.clients_show_theirs { "yes" } else { "no" }.to_owned()),
            ("--tls-replication", "yes".to_owned()),
            ("--tls-cluster", "yes".to_owned()),
        ];
        args.extend(tls.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
        args
    }
}

impl RedisProcess {
    /// Starts a server, and waits until it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(args: &[&str]) -> Self {
        let mut last = String::new();
        // A port that was free may be taken a moment later.
        for _ in 0..5 {
            let mut process = Self::stopped(args);
            process.spawn();
            match process.ready().await {
                Ok(()) => return process,
                Err(error) => last = error,
            }
        }
        panic!("redis-server does not start: {last}");
    }

    /// A server that is not started yet.
    pub(crate) fn stopped(args: &[&str]) -> Self {
        let args = args.iter().map(ToString::to_string).collect();
        Self { port: free_port(), directory: Directory::new(), args, password: None, child: None }
    }

    pub(crate) async fn start_extra(args: &[&str], extras: &Extras<'_>) -> Self {
        let more = extras.args();
        let args: Vec<&str> = args.iter().copied().chain(more.iter().map(String::as_str)).collect();
        let mut started = Self::start_with(&args).await;
        started.password = extras.password;
        started
    }

    /// A Sentinel that watches a primary as `main`.
    pub(crate) async fn sentinel(host: &str, port: &str, extras: &Extras<'_>) -> Self {
        let mut sentinel = Self::stopped(&[]);
        let file = sentinel.directory.0.join("sentinel.conf");
        let mut text = format!(
            "port {}\nbind 127.0.0.1\ndir {}\n{}\nsentinel monitor main {host} {port} 2\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
            sentinel.port,
            sentinel.directory.0.display(),
            extras.sentinel_lines,
        );
        if let Some(password) = extras.password {
            text.push_str(&format!("sentinel auth-pass main {password}\n"));
        }
        if let Some(password) = extras.sentinel_password {
            text.push_str(&format!("requirepass {password}\nsentinel sentinel-pass {password}\n"));
        }
        std::fs::write(&file, text).unwrap();
        sentinel.args = vec![file.display().to_string(), "--sentinel".to_owned()];
        sentinel.args.extend(Extras { password: None, ..*extras }.args());
        sentinel.password = extras.sentinel_password;
        sentinel.spawn();
        sentinel.ready().await.unwrap();
        sentinel
    }

    /// The port for others: the TLS port, if there is one.
    pub(crate) fn public_port(&self) -> u16 {
        let at = self.args.iter().position(|arg| arg == "--tls-port");
        at.map_or(self.port, |at| self.args[at + 1].parse().unwrap())
    }

    fn spawn(&mut self) {
        let (port, directory) = (self.port.to_string(), self.directory.0.display().to_string());
        let mut command = Command::new("redis-server");
        if self.args.first().is_some_and(|first| first.ends_with(".conf")) {
            command.args(&self.args);
        } else {
            let own = ["--port", &port, "--bind", "127.0.0.1", "--dir", &directory, "--save", "", "--appendonly", "no"];
            command.args(own).args(["--repl-diskless-sync-delay", "0"]).args(&self.args);
        }
        self.child = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }

    async fn ready(&mut self) -> Result<(), String> {
        let until = Instant::now() + READY;
        while Instant::now() < until {
            if let Some(ended) = self.child.as_mut().and_then(|child| child.try_wait().ok()?) {
                return Err(format!("it has ended: {ended}"));
            }
            match self.try_ask::<String>(&cmd("PING")).await {
                Ok(_) => return Ok(()),
                // It answers, even if it wants a password.
                Err(error) if error.code().is_some() => return Ok(()),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        Err("it does not answer".to_owned())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A file of its directory, such as its log.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.0.join(name)).unwrap()
    }

    /// Sends a command, which must succeed.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut built = cmd(words.next().unwrap());
        for word in words {
            built.arg(word);
        }
        self.try_ask(&built).await.unwrap()
    }

    /// Sends a command that may fail. `_` in a word stands for a space.
    pub(crate) async fn tries(&self, command: &str) -> redis::RedisResult<redis::Value> {
        let mut built = Cmd::new();
        for word in command.split(' ') {
            built.arg(word.replace('_', " "));
        }
        self.try_ask(&built).await
    }

    async fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let login = self.password.map_or(String::new(), |password| format!(":{password}@"));
        let url = self.url().replace("://", &format!("://{login}"));
        let mut connection = Client::open(url)?.get_multiplexed_async_connection().await?;
        command.query_async(&mut connection).await
    }

    /// An error counts as no: a Sentinel that promotes a replica has it close its connections, including ours.
    pub(crate) async fn is_primary(&self) -> bool {
        let info = self.try_ask::<String>(cmd("INFO").arg("replication")).await;
        info.is_ok_and(|text| text.contains("role:master"))
    }

    /// Waits until the replica has its data; before that it would not be promoted.
    pub(crate) async fn must_replicate(&self) {
        wait_until("the replica has its primary", async || {
            self.ask::<String>("INFO replication").await.contains("master_link_status:up")
        })
        .await;
    }

    pub(crate) async fn must_be_promoted(&self) {
        let mut info = cmd("INFO");
        info.arg("replication");
        // It may not answer in time at the moment of its promotion.
        wait_until("the replica is the primary", async || {
            self.try_ask::<String>(&info).await.is_ok_and(|text| text.contains("role:master"))
        })
        .await;
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port, and waits until it answers.
    pub(crate) async fn start_again(&mut self) {
        self.kill();
        self.spawn();
        self.ready().await.unwrap();
    }

    /// SIGSTOP: it does nothing, and its connections stay open.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Uses the system call: the program `kill` is in a package that minimal machines lack.
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }
}

impl Drop for RedisProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A primary with a replica, and three Sentinels that watch them as `main`.
#[derive(Debug)]
pub(crate) struct Sentinels {
    pub(crate) primary: RedisProcess,
    pub(crate) replica: RedisProcess,
    pub(crate) sentinels: Vec<RedisProcess>,
}

impl Sentinels {
    pub(crate) async fn start() -> Self {
        Self::start_extra(&Extras::default()).await
    }

    pub(crate) async fn start_extra(extras: &Extras<'_>) -> Self {
        let host = extras.host.unwrap_or("127.0.0.1");
        let primary = RedisProcess::start_extra(extras.node_args, extras).await;
        let port = primary.public_port().to_string();
        let args = [extras.node_args, &["--replicaof", host, &port]].concat();
        let replica = RedisProcess::start_extra(&args, extras).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            sentinels.push(RedisProcess::sentinel(host, &port, extras).await);
        }
        let started = Self { primary, replica, sentinels };
        for sentinel in &started.sentinels {
            wait_until("a Sentinel knows the replica and the others", async || {
                let text: Vec<String> = sentinel.ask("SENTINEL MASTER main").await;
                let field = |name: &str| text.iter().position(|field| field == name).map(|at| text[at + 1].as_str());
                field("num-slaves") == Some("1") && field("num-other-sentinels") == Some("2")
            })
            .await;
        }
        started.replica.must_replicate().await;
        started
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.public_port())).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }
}

/// Three primaries with a replica each.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<RedisProcess>,
}

impl RedisCluster {
    pub(crate) async fn start() -> Self {
        Self::start_extra(&Extras::default()).await
    }

    pub(crate) async fn start_extra(extras: &Extras<'_>) -> Self {
        let (mut nodes, mut buses) = (Vec::new(), Vec::new());
        for _ in 0..6 {
            let bus = free_port().to_string();
            let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
            let args = [&args, extras.node_args].concat();
            nodes.push(RedisProcess::start_extra(&args, extras).await);
            buses.push(bus);
        }
        let started = Self { nodes };
        let mut ids = Vec::new();
        for (number, node) in started.nodes.iter().enumerate() {
            ids.push(node.ask::<String>("CLUSTER MYID").await);
            if let Some(slots) = ["0 5460", "5461 10922", "10923 16383"].get(number) {
                node.ask::<()>(&format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
            }
            node.ask::<()>(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1)).await;
        }
        for (node, bus) in started.nodes.iter().zip(buses).skip(1) {
            // The bus is not on its usual port.
            started.nodes[0].ask::<()>(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.public_port())).await;
        }
        for (number, node) in started.nodes.iter().enumerate() {
            wait_until("the nodes know each other", async || {
                let text: String = node.ask("CLUSTER NODES").await;
                ids.iter().all(|id| text.contains(id)) && !text.contains("handshake")
            })
            .await;
            if number >= 3 {
                node.ask::<()>(&format!("CLUSTER REPLICATE {}", ids[number - 3])).await;
            }
        }
        for node in &started.nodes[3..] {
            node.must_replicate().await;
        }
        for node in &started.nodes {
            wait_until("the Cluster is up", async || {
                let text: String = node.ask("CLUSTER NODES").await;
                let up = node.ask::<String>("CLUSTER INFO").await.contains("cluster_state:ok");
                up && text.matches("slave").count() == 3 && !text.contains("disconnected")
            })
            .await;
        }
        started
    }

    /// Names the first two nodes; the others are found through them.
    pub(crate) fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", self.nodes[0].public_port(), self.nodes[1].public_port())
    }
}

pub(crate) async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + READY;
    while !holds().await {
        assert!(Instant::now() < until, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A port on which nothing listens, below those that the system gives to outgoing connections: a server that is started
/// again must find its port free.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (std::process::id() as u16).wrapping_mul(97).wrapping_add(step) % 18_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A temporary directory, removed on drop.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let name = format!("roomcast-redis-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(&std::env::temp_dir()).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! Redis servers of the tests' own: alone, under Sentinels, or as a Cluster. They are killed when they are dropped.

use redis::{Client, Cmd, FromRedisValue, cmd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to answer, and a Cluster or a Sentinel to know its members. It is long for busy machines.
const READY: Duration = Duration::from_secs(30);

/// A redis-server on a port of its own that keeps nothing on disk.
#[derive(Debug)]
pub(crate) struct RedisProcess {
    pub(crate) port: u16,
    directory: Directory,
    args: Vec<String>,
    child: Option<Child>,
}

impl RedisProcess {
    /// One that is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further arguments.
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

    /// One that is not started yet.
    pub(crate) fn stopped(args: &[&str]) -> Self {
        let args = args.iter().map(ToString::to_string).collect();
        Self { port: free_port(), directory: Directory::new(), args, child: None }
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
                // It answers, be it that we have no password.
                Err(error) if error.code().is_some() => return Ok(()),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        Err("it does not answer".to_owned())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Asks it something.
    pub(crate) async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut built = cmd(words.next().unwrap());
        for word in words {
            built.arg(word);
        }
        self.try_ask(&built).await.unwrap()
    }

    async fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let mut connection = Client::open(self.url())?.get_multiplexed_async_connection().await?;
        command.query_async(&mut connection).await
    }

    /// A Sentinel that promotes a replica has it close its connections, ours with them: that is not an answer.
    pub(crate) async fn is_primary(&self) -> bool {
        let told = self.try_ask::<String>(cmd("INFO").arg("replication")).await;
        told.is_ok_and(|text| text.contains("role:master"))
    }

    /// A replica that has nothing yet would not be promoted.
    async fn must_replicate(&self) {
        wait_until("the replica has its primary", async || {
            self.ask::<String>("INFO replication").await.contains("master_link_status:up")
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

    /// Starts it, on the same port; returns when it answers.
    pub(crate) async fn start_again(&mut self) {
        self.kill();
        self.spawn();
        self.ready().await.unwrap();
    }

    /// SIGSTOP: it does nothing, and its connections stay.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
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
        let primary = RedisProcess::start().await;
        let port = primary.port.to_string();
        let replica = RedisProcess::start_with(&["--replicaof", "127.0.0.1", &port]).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let mut sentinel = RedisProcess::stopped(&[]);
            let file = sentinel.directory.0.join("sentinel.conf");
            let text = format!(
                "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
                sentinel.port,
                sentinel.directory.0.display()
            );
            std::fs::write(&file, text).unwrap();
            sentinel.args = vec![file.display().to_string(), "--sentinel".to_owned()];
            sentinel.spawn();
            sentinel.ready().await.unwrap();
            sentinels.push(sentinel);
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
        let hosts: Vec<String> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
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
        let mut nodes = Vec::new();
        for _ in 0..6 {
            let bus = free_port().to_string();
            let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
            nodes.push(RedisProcess::start_with(&args).await);
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
        for node in &started.nodes[1..] {
            // The port of the bus is not the usual one.
            let bus = node.args.last().unwrap();
            started.nodes[0].ask::<()>(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port)).await;
        }
        for (number, node) in started.nodes.iter().enumerate() {
            wait_until("the nodes know one another", async || {
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

    /// Its first two nodes: the others are found through them.
    pub(crate) fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", self.nodes[0].port, self.nodes[1].port)
    }
}

async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + READY;
    while !holds().await {
        assert!(Instant::now() < until, "still not so: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A port that nobody listens on, below those that the system gives to outgoing connections: a server that is started again must
/// find its port free.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (std::process::id() as u16).wrapping_mul(97).wrapping_add(step) % 18_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A directory that goes with its owner.
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

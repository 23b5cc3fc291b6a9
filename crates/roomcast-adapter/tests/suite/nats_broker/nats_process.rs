//! [`NatsProcess`]: a nats-server that a test starts and ends.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How long it may take to start; generous for busy machines.
const READY: Duration = Duration::from_secs(30);

/// Where Debian's package installs it, which may not be in the PATH.
const PROGRAMS: [&str; 2] = ["nats-server", "/usr/sbin/nats-server"];

/// A nats-server on a port of its own that keeps nothing on disk.
#[derive(Debug)]
pub(crate) struct NatsProcess {
    pub(crate) address: SocketAddr,
    program: &'static str,
    child: Option<Child>,
}

impl NatsProcess {
    /// A server that is ready. Where the program is missing, `None` and a line that says so.
    pub(crate) async fn start() -> Option<Self> {
        let runs = |program: &&str| {
            let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            version.is_ok_and(|status| status.success())
        };
        let Some(program) = PROGRAMS.into_iter().find(|program| runs(program)) else {
            println!("passed over: there is no nats-server on this machine (Debian's package nats-server)");
            return None;
        };
        // A port that was free may be taken a moment later.
        for _ in 0..5 {
            let mut process = Self { address: ([127, 0, 0, 1], free_port()).into(), program, child: None };
            process.spawn();
            if process.ready().await {
                return Some(process);
            }
        }
        panic!("nats-server does not start");
    }

    fn spawn(&mut self) {
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let mut command = Command::new(self.program);
        command.args(["-a", &host, "-p", &port]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    /// Whether it sends INFO.
    async fn ready(&mut self) -> bool {
        let until = Instant::now() + READY;
        while Instant::now() < until && self.child.as_mut().is_some_and(|it| matches!(it.try_wait(), Ok(None))) {
            if let Ok(mut stream) = TcpStream::connect(self.address).await
                && stream.read_u32().await.is_ok_and(|first| first.to_be_bytes() == *b"INFO")
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it on the same port; returns when it is ready.
    pub(crate) async fn start_again(&mut self) {
        self.kill();
        self.spawn();
        assert!(self.ready().await, "nats-server does not start again");
    }
}

impl Drop for NatsProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port on which nobody listens, below those that the system gives to outgoing connections: a server that is
/// restarted must find its port free.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + (std::process::id() as u16).wrapping_mul(89).wrapping_add(step) % 18_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

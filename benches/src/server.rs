//! [`Server`]: a peer as a child process, on a free port.

use crate::peer::Peer;
use crate::process::Process;
use std::io::{self, BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

/// Time for a server to tell where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// For clients that are not read from for longer than a heartbeat takes.
pub const NO_HEARTBEAT: (&str, &str) = ("PING_INTERVAL_MS", "86400000");

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts a program that listens on `HOST` and `PORT` and tells the address as a URL, on these cores if any are given, with
    /// as many worker threads. With the URL of a Redis it joins the others there by the classic adapter.
    ///
    /// # Errors
    /// It cannot be started, or does not tell an address in time.
    pub fn start(peer: &Peer, cores: &[usize], redis: Option<&str>) -> io::Result<Self> {
        let mut settings = vec![("ADAPTER", if redis.is_some() { "classic" } else { "memory" })];
        settings.extend(redis.map(|url| ("REDIS_URL", url)));
        Self::start_with(peer, cores, &settings)
    }

    /// As [`Server::start`], with settings of the conformance server's.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(peer: &Peer, cores: &[usize], settings: &[(&str, &str)]) -> io::Result<Self> {
        let mut environment = vec![
            ("TOKIO_WORKER_THREADS", cores.len().max(1).to_string()),
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", "0".to_owned()),
        ];
        environment.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let (process, output, errors) = Process::start(&peer.command, cores, &environment)?;
        let (told, address) = channel();
        listen(output, told.clone());
        listen(errors, told);
        match address.recv_timeout(START_TIMEOUT) {
            Ok(address) => Ok(Self { process, address }),
            Err(_) => Err(io::Error::other(format!("{} did not tell where it listens", peer.name))),
        }
    }
}

/// Reads all that the server writes, and tells the first address.
fn listen(output: impl Read + Send + 'static, told: Sender<SocketAddr>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let address = line.split("http://").nth(1).and_then(|rest| rest.split([' ', '/']).next()?.parse().ok());
            match address {
                Some(address) => drop(told.send(address)),
                None if line.contains("listening") => {}
                None => eprintln!("server: {line}"),
            }
        }
    });
}

//! [`Server`]: a peer as a child process, on a free port.

use crate::peer::Peer;
use crate::process::Process;
use std::io::{self, BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

/// How long a server may take until it prints its address.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A setting without heartbeats, for clients that do not read for longer than a heartbeat.
pub const NO_HEARTBEAT: (&str, &str) = ("PING_INTERVAL_MS", "86400000");

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub process: Process,
    /// The address on which it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts a program that listens on `HOST` and `PORT` and prints its URL. If cores are given, it runs on them, with as many worker
    /// threads. With the URL of a Redis it joins the cluster there with the classic adapter.
    ///
    /// # Errors
    /// It cannot be started, or does not print its URL in time.
    pub fn start(peer: &Peer, cores: &[usize], redis: Option<&str>) -> io::Result<Self> {
        let mut settings = vec![("ADAPTER", if redis.is_some() { "classic" } else { "memory" })];
        settings.extend(redis.map(|url| ("REDIS_URL", url)));
        Self::start_with(peer, cores, &settings)
    }

    /// Like [`Server::start`], with environment variables of the conformance server.
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
        let (found, address) = channel();
        listen(output, found.clone());
        listen(errors, found);
        match address.recv_timeout(START_TIMEOUT) {
            Ok(address) => Ok(Self { process, address }),
            Err(_) => Err(io::Error::other(format!("{} has exited, or did not print its address in time", peer.name))),
        }
    }
}

/// Reads all output of the server, and sends the addresses in it to the channel.
fn listen(output: impl Read + Send + 'static, found: Sender<SocketAddr>) {
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if line.contains("metrics and health") {
                // Another listener of the program.
                continue;
            }
            let address = line.split("http://").nth(1).and_then(|rest| rest.split([' ', '/']).next()?.parse().ok());
            match address {
                Some(address) => drop(found.send(address)),
                None if line.contains("listening") => {}
                None => eprintln!("server: {line}"),
            }
        }
    });
}

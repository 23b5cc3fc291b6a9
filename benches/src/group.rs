//! [`Group`]: the servers that one measurement is of.

use crate::peer::Peer;
use crate::process::Process;
use crate::redis::Redis;
use crate::server::Server;
use std::io;
use std::net::SocketAddr;

/// One server, or two of a kind with a Redis between them; dropping it ends them.
#[derive(Debug)]
pub struct Group {
    // In the order in which they end: no server sees its Redis go.
    servers: Vec<Server>,
    redis: Option<Redis>,
}

impl Group {
    /// One server on these cores, with as many worker threads.
    ///
    /// # Errors
    /// It does not start.
    pub fn one(peer: &Peer, cores: &[usize]) -> io::Result<Self> {
        Ok(Self { servers: vec![Server::start(peer, cores, None)?], redis: None })
    }

    /// Two servers and their Redis, all on these cores.
    ///
    /// # Errors
    /// One of them does not start.
    pub fn two_over_redis(peer: &Peer, cores: &[usize]) -> io::Result<Self> {
        let redis = Redis::start(cores)?;
        let start = || Server::start(peer, cores, Some(&redis.url));
        let servers = vec![start()?, start()?];
        Ok(Self { servers, redis: Some(redis) })
    }

    /// The server of those who publish.
    pub fn publishers(&self) -> SocketAddr {
        self.servers[0].address
    }

    /// The server of those who get it; the publishers' if it is alone.
    pub fn subscribers(&self) -> SocketAddr {
        self.servers[self.servers.len() - 1].address
    }

    /// Whether publishers and subscribers are on different servers.
    pub fn is_several(&self) -> bool {
        self.servers.len() > 1
    }

    /// Processor time that all of them have had, with their Redis, in nanoseconds.
    ///
    /// # Errors
    /// One is not running any more.
    pub fn cpu_nanoseconds(&self) -> io::Result<u64> {
        let servers = self.servers.iter().map(|server| &server.process);
        let all = servers.chain(self.redis.iter().map(|redis| &redis.process));
        all.map(Process::cpu_nanoseconds).sum()
    }
}

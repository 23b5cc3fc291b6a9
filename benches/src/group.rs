//! [`Group`]: the servers of a measurement.

use crate::peer::Peer;
use crate::process::Process;
use crate::redis::Redis;
use crate::server::Server;
use std::io;
use std::net::SocketAddr;

/// One server, or two of the same peer with a Redis between them. Dropping it kills them.
#[derive(Debug)]
pub struct Group {
    // In the order in which they are dropped, so that no server loses its Redis.
    servers: Vec<Server>,
    redis: Option<Redis>,
}

impl Group {
    /// One server on these cores, with as many worker threads.
    ///
    /// # Errors
    /// The server does not start.
    pub fn one(peer: &Peer, cores: &[usize]) -> io::Result<Self> {
        Ok(Self { servers: vec![Server::start(peer, cores, None)?], redis: None })
    }

    /// A server that was started otherwise.
    pub fn of(server: Server) -> Self {
        Self { servers: vec![server], redis: None }
    }

    /// The first server.
    pub fn first(&self) -> &Server {
        &self.servers[0]
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

    /// The address of the publishers' server.
    pub fn publishers(&self) -> SocketAddr {
        self.servers[0].address
    }

    /// The address of the subscribers' server. It is the publishers' server too if there is only one.
    pub fn subscribers(&self) -> SocketAddr {
        self.servers[self.servers.len() - 1].address
    }

    /// Whether publishers and subscribers are on different servers.
    pub fn is_several(&self) -> bool {
        self.servers.len() > 1
    }

    /// Processor time that all servers and their Redis have used, in nanoseconds.
    ///
    /// # Errors
    /// One of them has exited.
    pub fn cpu_nanoseconds(&self) -> io::Result<u64> {
        let servers = self.servers.iter().map(|server| &server.process);
        let all = servers.chain(self.redis.iter().map(|redis| &redis.process));
        all.map(Process::cpu_nanoseconds).sum()
    }
}

//! [`Idlers`]: clients that were sent much and read nothing by themselves, and a [`Watcher`] beside them.

use roomcast_benches::dial::dial;
use roomcast_benches::server::Server;
use roomcast_benches::wire::Client;
use roomcast_benches::workloads::Failure;
use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Characters of one event.
pub(crate) const EVENT: usize = 10_000;

/// What the kernel keeps for such a client, before it doubles it.
const RECEIVE_BUFFER: usize = 4_096;

pub(crate) struct Idlers(Vec<Client>);

impl Idlers {
    pub(crate) fn connect(address: SocketAddr, count: usize) -> Result<Self, Failure> {
        let connect = |number| -> Result<Client, Failure> {
            Ok(Client::over(dial(address, number, Some(RECEIVE_BUFFER))?)?.join()?)
        };
        Ok(Self((0..count).map(connect).collect::<Result<_, _>>()?))
    }

    /// Each has the server send it so much, in packets of its own.
    pub(crate) fn fill(&mut self, bytes: usize) -> Result<(), Failure> {
        for client in &mut self.0 {
            client.send(&format!(r#"421["burst",{},{EVENT}]"#, bytes.div_ceil(EVENT)))?;
            client.stream.set_nonblocking(true)?;
        }
        Ok(())
    }

    /// Each takes a byte, if there is one.
    pub(crate) fn drip(&mut self) -> Result<(), Failure> {
        for client in &mut self.0 {
            match client.stream.read(&mut [0]) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A client that reads: it asks who is there and what the server has for others.
pub(crate) struct Watcher<'a> {
    server: &'a Server,
    client: Client,
    /// Memory of the server before anybody was sent anything.
    before: u64,
    /// Most that there was above it.
    pub(crate) peak: u64,
    /// The longest that one of its questions waited.
    pub(crate) longest: Duration,
}

impl<'a> Watcher<'a> {
    pub(crate) fn new(server: &'a Server) -> Result<Self, Failure> {
        let client = Client::connect(server.address)?;
        let before = server.process.anonymous_memory()?;
        Ok(Self { server, client, before, peak: 0, longest: Duration::ZERO })
    }

    /// Memory of the server above what it was, in bytes.
    pub(crate) fn memory(&mut self) -> Result<u64, Failure> {
        let memory = self.server.process.anonymous_memory()?.saturating_sub(self.before);
        self.peak = self.peak.max(memory);
        Ok(memory)
    }

    /// How many others are there.
    pub(crate) fn others(&mut self) -> Result<usize, Failure> {
        let asked = Instant::now();
        let answer = self.client.ask(r#"["call",{"do":"count"}]"#)?;
        self.longest = self.longest.max(asked.elapsed());
        let count: Option<usize> =
            answer.strip_prefix(r#"[{"ok":"#).and_then(|rest| rest.strip_suffix("}]")).and_then(|n| n.parse().ok());
        Ok(count.ok_or_else(|| format!("the server counts {answer}"))?.saturating_sub(1))
    }
}

//! [`Idlers`]: clients that are sent much and read nothing by themselves; and [`Watcher`], a client that reads.

use roomcast_benches::dial::dial;
use roomcast_benches::server::Server;
use roomcast_benches::wire::Client;
use roomcast_benches::workloads::Failure;
use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Size of an event in characters.
pub(crate) const EVENT: usize = 10_000;

/// The kernel's receive buffer for such a client in bytes, which the kernel doubles.
const RECEIVE_BUFFER: usize = 4_096;

pub(crate) struct Idlers(Vec<Client>);

impl Idlers {
    pub(crate) fn connect(address: SocketAddr, count: usize) -> Result<Self, Failure> {
        let connect = |number| -> Result<Client, Failure> {
            Ok(Client::over(dial(address, number, Some(RECEIVE_BUFFER))?)?.join()?)
        };
        Ok(Self((0..count).map(connect).collect::<Result<_, _>>()?))
    }

    /// Makes the server send so many bytes to each client, in separate packets.
    pub(crate) fn fill(&mut self, bytes: usize) -> Result<(), Failure> {
        for client in &mut self.0 {
            client.send(&format!(r#"421["burst",{},{EVENT}]"#, bytes.div_ceil(EVENT)))?;
            client.stream.set_nonblocking(true)?;
        }
        Ok(())
    }

    /// Reads a byte from each client, if there is one.
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

/// A client that reads. It measures how many clients are connected and how much memory the server has for them.
pub(crate) struct Watcher<'a> {
    server: &'a Server,
    client: Client,
    /// Memory of the server before clients were sent anything.
    before: u64,
    /// The most memory above it.
    pub(crate) peak: u64,
    /// The longest wait of one of its requests.
    pub(crate) longest: Duration,
}

impl<'a> Watcher<'a> {
    pub(crate) fn new(server: &'a Server) -> Result<Self, Failure> {
        let client = Client::connect(server.address)?;
        let before = server.process.anonymous_memory()?;
        Ok(Self { server, client, before, peak: 0, longest: Duration::ZERO })
    }

    /// Memory of the server above what it had at the beginning, in bytes.
    pub(crate) fn memory(&mut self) -> Result<u64, Failure> {
        let memory = self.server.process.anonymous_memory()?.saturating_sub(self.before);
        self.peak = self.peak.max(memory);
        Ok(memory)
    }

    /// How many other clients are connected.
    pub(crate) fn others(&mut self) -> Result<usize, Failure> {
        let asked = Instant::now();
        let answer = self.client.ask(r#"["call",{"do":"count"}]"#)?;
        self.longest = self.longest.max(asked.elapsed());
        let count: Option<usize> =
            answer.strip_prefix(r#"[{"ok":"#).and_then(|rest| rest.strip_suffix("}]")).and_then(|n| n.parse().ok());
        Ok(count.ok_or_else(|| format!("the server counts {answer}"))?.saturating_sub(1))
    }
}

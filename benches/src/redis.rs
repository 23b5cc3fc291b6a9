//! [`Redis`]: a private redis-server for a measurement.

use crate::process::Process;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// How long redis-server may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A redis-server that stores nothing on disk. Dropping it kills it.
#[derive(Debug)]
pub struct Redis {
    /// Its process.
    pub process: Process,
    /// Its URL.
    pub url: String,
}

impl Redis {
    /// Starts one on a free port, on these cores.
    ///
    /// # Errors
    /// There is no `redis-server`, or it does not answer in time.
    pub fn start(cores: &[usize]) -> io::Result<Self> {
        // redis-server needs a port number, so it gets one that was free a moment ago.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let port = address.port().to_string();
        let keep_nothing = ["--save", "", "--appendonly", "no", "--logfile", "/dev/null"];
        let words = [&["redis-server", "--port", &port, "--bind", "127.0.0.1"][..], &keep_nothing].concat();
        let (mut process, ..) = Process::start(&words, cores, &[])?;
        let until = Instant::now() + START_TIMEOUT;
        while Instant::now() < until && !process.has_ended() {
            if ping(address).is_ok() {
                return Ok(Self { process, url: format!("redis://{address}") });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other(format!("redis-server does not answer on port {port}; is it installed?")))
    }
}

fn ping(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, START_TIMEOUT)?;
    stream.set_read_timeout(Some(START_TIMEOUT))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    if &answer == b"+PONG\r\n" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

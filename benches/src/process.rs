//! A server as a child process: started on a free port, read from outside, ended with the measurement.

use crate::peer::Peer;
use std::io::{self, BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use std::{fs, thread};

/// Time for a server to tell where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts a program that listens on `HOST` and `PORT` and tells the address as a URL, on these cores if any are given, with
    /// as many worker threads.
    ///
    /// # Errors
    /// It cannot be started, or does not tell an address in time.
    pub fn start(peer: &Peer, cores: &[usize]) -> io::Result<Self> {
        let mut words: Vec<PathBuf> = Vec::new();
        if !cores.is_empty() {
            let list = cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            words.extend(["taskset", "-c", &list].map(PathBuf::from));
        }
        words.extend(peer.command.iter().cloned());
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .env("TOKIO_WORKER_THREADS", cores.len().max(1).to_string())
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("cannot start {}: {error}", words[0].display())))?;
        let (told, address) = channel();
        if let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) {
            listen(output, told.clone());
            listen(errors, told);
        }
        match address.recv_timeout(START_TIMEOUT) {
            Ok(address) => Ok(Self { child, address }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(io::Error::other(format!("{} did not tell where it listens", peer.name)))
            }
        }
    }

    /// Its process id. `taskset` gives its own to the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor time that all its threads have had, in nanoseconds, as the scheduler accounts it. Soft interrupts that ran in
    /// them are in it, so that over loopback a sender pays for the way into the receiver's buffer.
    ///
    /// # Errors
    /// It is not running any more.
    pub fn cpu_nanoseconds(&self) -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(sum)
    }

    /// Its anonymous resident memory, in bytes: heap and stacks, without the program's own file.
    ///
    /// # Errors
    /// It is not running any more.
    pub fn anonymous_memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|word| word.parse::<u64>().ok());
        kibibytes.map(|count| count * 1024).ok_or_else(|| io::Error::other("no RssAnon in /proc/PID/status"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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

/// Pins this process to a core.
///
/// # Errors
/// `taskset` is missing or refuses.
pub fn pin_this_process(core: usize) -> io::Result<()> {
    let pid = std::process::id().to_string();
    let status =
        Command::new("taskset").args(["-a", "-c", "-p", &core.to_string(), &pid]).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("taskset cannot pin this process")) }
}

/// Lets this process have so many connections, and some files.
///
/// # Errors
/// The system allows fewer.
pub fn allow_descriptors(connections: usize) -> io::Result<()> {
    let needed = connections as u64 + 64;
    if rlimit::increase_nofile_limit(needed)? >= needed {
        return Ok(());
    }
    Err(io::Error::other(format!("{needed} descriptors are needed here, and as many in the server: raise ulimit -n")))
}

/// What else the machine does: the load averages of 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

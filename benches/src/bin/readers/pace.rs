//! Clients that read fast enough on average, with pauses.

use crate::mib;
use crate::polling::Polling;
use roomcast_benches::dial::dial;
use roomcast_benches::server::Server;
use roomcast_benches::verdict::Verdict;
use roomcast_benches::wire::Client;
use roomcast_benches::workloads::Failure;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest pause, and the longest time of reading between two pauses. A pause is as long as in a railway tunnel, and shorter than the
/// grace period.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_READING: Duration = Duration::from_secs(4);

/// The period and the size of events to all clients. During the longest pause 2.4 MB wait for a client, more than the soft bound.
const EVERY: Duration = Duration::from_millis(50);
const EVENT: usize = 8_000;

/// The kernel's receive buffer of a client in bytes, which the kernel doubles.
const RECEIVE_BUFFER: usize = 32 * 1024;

/// How long the last client may take to receive the last event: longer than a pause.
const LAST: Duration = Duration::from_secs(30);

/// The number of events. `usize::MAX` until it is known.
type Last = Arc<AtomicUsize>;

pub(crate) fn pace(server: &Server, clients: usize, time: Duration, verdict: &mut Verdict) -> Result<(), Failure> {
    let last = Last::new(AtomicUsize::new(usize::MAX));
    let readers: Vec<_> = (0..clients)
        .map(|number| {
            let mut reader = Reader::connect(server.address, number)?;
            let last = last.clone();
            Ok(thread::spawn(move || {
                let failure = reader.run(&last).err();
                (reader, failure)
            }))
        })
        .collect::<Result<_, io::Error>>()?;
    let mut publisher = Client::connect(server.address)?;
    let text = "x".repeat(EVENT);
    let (begun, mut sent, mut peak) = (Instant::now(), 0, 0);
    let mut told = Duration::from_secs(60);
    while begun.elapsed() < time {
        publisher.send(&format!(r#"42["pub","room",{sent},"{text}"]"#))?;
        sent += 1;
        let next = begun + EVERY * sent as u32;
        while publisher.next_until(next)?.is_some() {}
        peak = peak.max(server.process.anonymous_memory()?);
        if begun.elapsed() > told {
            let ended = readers.iter().filter(|reader| reader.is_finished()).count();
            println!("after {:.0} s: {sent} events, {ended} of {clients} clients have failed", told.as_secs_f64());
            told += Duration::from_secs(60);
        }
    }
    last.store(sent, Ordering::Release);
    // One more event, which wakes clients that have received all others and wait.
    publisher.send(&format!(r#"42["pub","room",{sent},"{text}"]"#))?;
    let end = Instant::now() + LAST;
    while Instant::now() < end && readers.iter().any(|reader| !reader.is_finished()) {
        publisher.next_until(Instant::now() + EVERY)?;
    }
    let (mut paused, mut ended) = (0, 0);
    for (number, reader) in readers.into_iter().enumerate() {
        if !reader.is_finished() {
            verdict.check(false, &format!("client {number} did not receive the last event"));
            continue;
        }
        let (reader, failure) = reader.join().map_err(|_| "a client's thread has panicked")?;
        paused += reader.paused;
        ended += usize::from(failure.is_none());
        if let Some(failure) = failure {
            let (kind, next) = (reader.wire.kind(), reader.next);
            verdict.check(false, &format!("client {number}, {kind}, at event {next}: {failure}"));
        }
    }
    println!(
        "{ended} of {clients} clients, which paused {paused} times, received all {sent} events in {:.0} s; the server used at most {}",
        begun.elapsed().as_secs_f64(),
        mib(peak),
    );
    Ok(())
}

struct Reader {
    wire: Wire,
    random: u64,
    /// The number of the next event.
    next: usize,
    paused: usize,
}

enum Wire {
    WebSocket(Client),
    Polling(Polling),
}

impl Wire {
    fn kind(&self) -> &'static str {
        match self {
            Self::WebSocket(_) => "websocket",
            Self::Polling(_) => "polling",
        }
    }
}

impl Reader {
    fn connect(address: SocketAddr, number: usize) -> io::Result<Self> {
        let wire = if number.is_multiple_of(2) {
            let mut client = Client::over(dial(address, number, Some(RECEIVE_BUFFER))?)?.join()?;
            client.ask(r#"["join","room"]"#)?;
            Wire::WebSocket(client)
        } else {
            Wire::Polling(Polling::connect(address, "room")?)
        };
        Ok(Self { wire, random: number as u64 + 1, next: 0, paused: 0 })
    }

    /// Reads and pauses in turn until the last event has arrived.
    fn run(&mut self, last: &AtomicUsize) -> io::Result<()> {
        loop {
            let end = Instant::now() + self.at_most(LONGEST_READING);
            while Instant::now() < end {
                self.read(end)?;
                if self.next >= last.load(Ordering::Acquire) {
                    return Ok(());
                }
            }
            thread::sleep(self.at_most(LONGEST_PAUSE));
            self.paused += 1;
        }
    }

    fn read(&mut self, end: Instant) -> io::Result<()> {
        let packets = match &mut self.wire {
            Wire::WebSocket(client) => client.next_until(end)?.into_iter().collect(),
            Wire::Polling(client) => client.get()?,
        };
        for packet in packets {
            let expected = format!(r#"42["msg",{},"#, self.next);
            if packet.starts_with(expected.as_bytes()) && packet.len() == expected.len() + EVENT + "\"\"]".len() {
                self.next += 1;
            } else if !packet.starts_with(b"42[\"auth\"") {
                let got = String::from_utf8_lossy(&packet[..packet.len().min(40)]).into_owned();
                return Err(io::Error::other(format!("got {got} instead of {expected}")));
            }
        }
        Ok(())
    }

    /// A random time of at most `most`. The random numbers (xorshift) are the same in each run.
    fn at_most(&mut self, most: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        most.mul_f64((self.random % 1_000) as f64 / 999.0)
    }
}

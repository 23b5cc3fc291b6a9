//! Measures a reconnect storm: `storm PEER [CLIENTS]`, by default 5,000 clients, which all connect at the same time while connected clients
//! send requests. The effect on those is the longest wait for an answer, before and during the storm.
//!
//! The server runs on core 0, this program on core 1.

use roomcast_benches::peer::Peer;
use roomcast_benches::process::{allow_descriptors, load, pin_this_process};
use roomcast_benches::server::Server;
use roomcast_benches::wire::Client;
use roomcast_benches::workloads::Failure;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connected clients, which send requests one after another, with a pause between two requests.
const TALKERS: usize = 20;
const PAUSE: Duration = Duration::from_millis(1);

/// How long they send requests before the storm.
const CALM: Duration = Duration::from_secs(2);

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let peer = Peer::named(&arguments.next().ok_or("usage: storm PEER [CLIENTS]")?)?;
    let count: usize = arguments.next().as_deref().unwrap_or("5000").parse()?;
    allow_descriptors(count + TALKERS)?;
    pin_this_process(1)?;
    let server = Server::start(&peer, &[0], None)?;
    let calm = talk(server.address);
    thread::sleep(CALM);
    let calm = calm.end()?;
    let storm = talk(server.address);
    thread::sleep(PAUSE);
    let begun = Instant::now();
    // All clients send their handshakes before the first one reads an answer.
    let coming: Vec<Client> = (0..count).map(|_| Client::begin(server.address)).collect::<Result<_, _>>()?;
    let there: Vec<Client> = coming.into_iter().map(Client::join).collect::<Result<_, _>>()?;
    let took = begun.elapsed();
    let storm = storm.end()?;
    println!(
        "{}: {} clients that connected at the same time took {:.2} s; the longest wait of {TALKERS} other clients was {:.1} ms before and \
         {:.1} ms during the storm (medians {:.2} and {:.2}); load {}",
        peer.name,
        there.len(),
        took.as_secs_f64(),
        calm.longest,
        storm.longest,
        calm.median,
        storm.median,
        load(),
    );
    Ok(())
}

/// A thread with clients that send requests one after another until it is stopped.
struct Talk {
    over: Arc<AtomicBool>,
    talking: JoinHandle<std::io::Result<Vec<Duration>>>,
}

/// How long answers took, in milliseconds.
struct Waits {
    median: f64,
    longest: f64,
}

fn talk(address: SocketAddr) -> Talk {
    let over = Arc::<AtomicBool>::default();
    let ended = over.clone();
    let talking = thread::spawn(move || {
        let mut clients: Vec<Client> = (0..TALKERS).map(|_| Client::connect(address)).collect::<Result<_, _>>()?;
        let mut waits = Vec::new();
        while !ended.load(Ordering::Relaxed) {
            for client in &mut clients {
                let asked = Instant::now();
                client.send(r#"421["echo",1]"#)?;
                client.expect("431[")?;
                waits.push(asked.elapsed());
                thread::sleep(PAUSE);
            }
        }
        Ok(waits)
    });
    Talk { over, talking }
}

impl Talk {
    fn end(self) -> Result<Waits, Failure> {
        self.over.store(true, Ordering::Relaxed);
        let mut waits = self.talking.join().map_err(|_| "a client's thread has panicked")??;
        waits.sort_unstable();
        let milliseconds = |wait: Option<&Duration>| wait.map_or(0.0, |wait| wait.as_secs_f64() * 1e3);
        Ok(Waits { median: milliseconds(waits.get(waits.len() / 2)), longest: milliseconds(waits.last()) })
    }
}

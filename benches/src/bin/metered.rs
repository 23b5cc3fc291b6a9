//! The program `roomcast` with metrics that are scraped once a second, and without: `metered [ROUNDS]`, by default 7 rounds.
//!
//! Both take turns, with the server on core 0 and this program on core 1. Compared is the server's processor time per delivery of a fan-out,
//! per event with its acknowledgement, and the anonymous memory per idle connection.

use roomcast_benches::group::Group;
use roomcast_benches::peer::Peer;
use roomcast_benches::process::{allow_descriptors, load, pin_this_process};
use roomcast_benches::report::{Row, Table};
use roomcast_benches::server::Server;
use roomcast_benches::workloads::{Failure, Rooms, connects, echo, rooms};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const FAN_OUT: Rooms =
    Rooms { subscribers: 1_000, rooms: 1, publishers: 1, in_flight: 1, paced: None, publishes: 1_000, program: true };

/// Clients of the echo, and events of each.
const ECHO: (usize, usize) = (100, 5_000);

const CONNECTIONS: usize = 10_000;

const QUIET: Duration = Duration::from_secs(5);

/// Prometheus asks every 15 s unless told otherwise; this is the least that people set.
const SCRAPE_EVERY: Duration = Duration::from_secs(1);

fn main() -> Result<(), Failure> {
    let rounds: usize = std::env::args().nth(1).as_deref().unwrap_or("7").parse()?;
    allow_descriptors(CONNECTIONS)?;
    pin_this_process(1)?;
    let program = std::env::current_exe()?.with_file_name("roomcast");
    let peer = Peer::named(&program.to_string_lossy())?;
    let workloads: [(&str, &str, f64, Measure); 3] = [
        ("fan-out 1,000", "µs of processor time per delivery", 1e3, |group, _| rooms(group, FAN_OUT)),
        ("event and answer", "µs of processor time per round trip", 1e3, |_, server| {
            echo(server, ECHO.0, ECHO.1, true)
        }),
        ("idle connections", "KiB of anonymous memory per connection", 1024.0, |_, server| {
            Ok(connects(server, CONNECTIONS, QUIET)?.memory)
        }),
    ];
    for (name, unit, size, measure) in workloads {
        let mut rows = [Row::new("metrics off"), Row::new("metrics on, scraped once a second")];
        for round in 1..=rounds {
            for (row, metered) in rows.iter_mut().zip([false, true]) {
                let (figure, scrapes) = run(&peer, metered, measure)?;
                let figure = figure / size;
                eprintln!(
                    "{name}, round {round}: {figure:.2} {unit}, {}, {scrapes} scrapes (load {})",
                    row.peer,
                    load()
                );
                row.figures.push(figure);
            }
        }
        let (workload, unit, anchor) = (name.to_owned(), unit.to_owned(), "metrics off".to_owned());
        print!("{}", Table { workload, unit, anchor, rows: rows.into() }.markdown());
    }
    Ok(())
}

type Measure = fn(&Group, &Server) -> Result<f64, Failure>;

/// Measures once, with a new server. Returns the figure and the number of scrapes meanwhile.
fn run(peer: &Peer, metered: bool, measure: Measure) -> Result<(f64, usize), Failure> {
    let metrics = free_address()?;
    let internal = metrics.to_string();
    let mut settings = vec![("MAX_CONNECTIONS", "15000"), ("ROOMCAST_CLIENT_PING_INTERVAL", "3600")];
    if metered {
        settings.push(("ROOMCAST_INTERNAL_LISTEN", &internal));
    }
    let group = Group::of(Server::start_with(peer, &[0], &settings)?);
    let (stop, scrapes) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let scraper = metered.then(|| {
        let (stop, scrapes) = (stop.clone(), scrapes.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if scrape(metrics).is_ok() {
                    scrapes.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(SCRAPE_EVERY);
            }
        })
    });
    let figure = measure(&group, group.first());
    stop.store(true, Ordering::Relaxed);
    if let Some(scraper) = scraper {
        let _ = scraper.join();
    }
    let scrapes = scrapes.load(Ordering::Relaxed);
    if metered && scrapes == 0 {
        return Err("nothing was scraped".into());
    }
    Ok((figure?, scrapes))
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn scrape(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.contains("roomcast_build_info") { Ok(()) } else { Err(std::io::Error::other("no metrics")) }
}

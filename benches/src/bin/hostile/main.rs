//! Hostile clients against the program with 256 MB of memory: `hostile [CLIENTS] [SECONDS]`, by default 2,000 clients for 300 s. The last
//! line is `ok` or `FAILED`.
//!
//! The program runs in a control group with that limit where the system has memory control groups and this process may make one, with the
//! limits that `docs/operations.md` recommends for so little memory. Fourteen kinds of clients do what `kinds.rs` says, and come back when
//! they are thrown out. Meanwhile a client that behaves asks something every 100 ms.
//!
//! Checked are: the program lives; its resident memory stays below the limit; and 99 of 100 answers to the client that behaves take at most
//! twice as long as in the calm before.

mod group;
mod kinds;

use group::Group;
use kinds::KINDS;
use roomcast_benches::process::{Process, allow_descriptors, load};
use roomcast_benches::verdict::Verdict;
use roomcast_benches::wire::Client;
use roomcast_benches::workloads::Failure;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The memory of the machine that is played here.
const MEMORY: u64 = 256_000_000;

/// Time between two questions of the client that behaves: within the rate that a client may have.
const PACE: Duration = Duration::from_millis(100);

/// How long it asks before the others come.
const CALM: Duration = Duration::from_secs(60);

/// The longest that it may take in comparison.
const MOST: f64 = 2.0;

/// What `docs/operations.md` recommends for 256 MB.
const SETTINGS: &[(&str, &str)] = &[
    ("PORT", "0"),
    ("MAX_CONNECTIONS", "2500"),
    ("ROOMCAST_LIMITS_POLLING_SESSIONS", "1000"),
    ("ROOMCAST_LIMITS_UNJOINED_SESSIONS", "500"),
    ("ROOMCAST_LIMITS_OUTBOX", "256 KiB"),
    ("ROOMCAST_LIMITS_OUTBOX_HARD", "4 MiB"),
    ("ROOMCAST_LIMITS_OUTBOX_BUDGET", "48 MiB"),
    ("ROOMCAST_LIMITS_INBOX_BUDGET", "24 MiB"),
    ("ROOMCAST_LIMITS_ROOMS", "10"),
    ("ROOMCAST_LIMITS_EVENTS", "20/s burst 50"),
    ("ROOMCAST_LIMITS_BYTES", "100k/s burst 1M"),
    ("ROOMCAST_LIMITS_OVER", "disconnect"),
    ("ROOMCAST_LISTEN_HEADER_TIMEOUT", "5"),
    ("ROOMCAST_LISTEN_BODY_TIMEOUT", "10"),
    // The line with the address, and faults.
    ("RUST_LOG", "error,roomcast=info"),
];

/// What the hostile clients have done, by kind.
#[derive(Default)]
pub(crate) struct Seen {
    actions: [AtomicUsize; KINDS.len()],
    connects: [AtomicUsize; KINDS.len()],
}

fn main() -> Result<ExitCode, Failure> {
    let mut arguments = std::env::args().skip(1);
    let clients: usize = arguments.next().as_deref().unwrap_or("2000").parse()?;
    let seconds: u64 = arguments.next().as_deref().unwrap_or("300").parse()?;
    allow_descriptors(clients + 100)?;
    let group = Group::new(MEMORY).ok();
    let (mut process, address) = start(group.as_ref())?;
    let mut verdict = Verdict::default();

    let mut asker = Client::connect(address)?;
    asker.ask(r#"["join","quiet"]"#)?;
    let calm = ask(&mut asker, CALM, || Ok(()))?;

    let (seen, stop) = (Arc::<Seen>::default(), Arc::<AtomicBool>::default());
    let hostile = {
        let (seen, stop) = (seen.clone(), stop.clone());
        thread::spawn(move || kinds::run(address, clients, &seen, &stop))
    };
    let mut peak = 0;
    let asked = ask(&mut asker, Duration::from_secs(seconds), || {
        peak = peak.max(process.anonymous_memory()?);
        Ok(())
    });
    stop.store(true, Ordering::Relaxed);
    let _ = hostile.join();

    for (kind, name) in KINDS.iter().enumerate() {
        let (actions, connects) = (&seen.actions[kind], &seen.connects[kind]);
        println!("{name}: {} connects, {} actions", connects.load(Ordering::Relaxed), actions.load(Ordering::Relaxed));
    }
    verdict.check(!process.has_ended(), "the program has ended");
    verdict.check(peak <= MEMORY, "the program used more than its memory");
    let how = if group.is_some() { "in a control group" } else { "sampled, without a control group" };
    println!("memory: at most {:.0} MB of {:.0} MB, {how}", peak as f64 / 1e6, MEMORY as f64 / 1e6);
    match asked {
        Ok(asked) => {
            println!("calm: {}", Percentiles(&calm));
            println!("with {clients} hostile clients for {seconds} s: {}; load {}", Percentiles(&asked), load());
            let ratio = percentile(&asked, 99).as_secs_f64() / percentile(&calm, 99).as_secs_f64();
            println!("p99 is {ratio:.2} times that of the calm");
            verdict.check(ratio <= MOST, "the client that behaves waited too long");
        }
        Err(error) => verdict.check(false, &format!("the client that behaves got no answer: {error}")),
    }
    Ok(verdict.end())
}

/// Asks every [`PACE`] for some time, and returns how long the answers took.
fn ask(
    client: &mut Client,
    time: Duration,
    mut each_second: impl FnMut() -> std::io::Result<()>,
) -> Result<Vec<Duration>, Failure> {
    let (begun, mut waits) = (Instant::now(), Vec::new());
    let mut next = begun;
    while begun.elapsed() < time {
        let asked = Instant::now();
        client.ask(r#"["leave","elsewhere"]"#)?;
        waits.push(asked.elapsed());
        if waits.len().is_multiple_of(2) {
            each_second()?;
        }
        next += PACE;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    waits.sort_unstable();
    Ok(waits)
}

/// Of sorted durations.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

struct Percentiles<'a>(&'a [Duration]);

impl std::fmt::Display for Percentiles<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |percent| percentile(self.0, percent).as_secs_f64() * 1e3;
        let most = self.0.last().copied().unwrap_or_default().as_secs_f64() * 1e3;
        write!(f, "{} answers, p50 {:.2} ms, p99 {:.2} ms, at most {most:.1} ms", self.0.len(), ms(50), ms(99))
    }
}

/// Starts the program, in the group if there is one.
fn start(group: Option<&Group>) -> Result<(Process, SocketAddr), Failure> {
    let program = std::env::current_exe()?.parent().ok_or("no folder")?.join("roomcast");
    if !Path::new(&program).exists() {
        return Err("target/release/roomcast is missing: cargo build --release -p roomcast".into());
    }
    let program = program.to_string_lossy().into_owned();
    let words = match group {
        Some(group) => vec!["sh".to_owned(), "-c".to_owned(), format!("echo $$ > {}; exec {program}", group.members())],
        None => vec![program],
    };
    let settings: Vec<_> = SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let (process, _, errors) = Process::start(&words, &[], &settings)?;
    let mut lines = BufReader::new(errors).lines();
    let address = loop {
        let line = lines.next().ok_or("the program has ended")??;
        if let Some((_, rest)) = line.split_once("listening on http://") {
            break rest.split(' ').next().unwrap_or_default().parse()?;
        }
    };
    // What it logs later must not fill the pipe.
    thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .filter(|line| line.contains(" ERROR "))
            .for_each(|line| eprintln!("server: {line}"));
    });
    Ok((process, address))
}

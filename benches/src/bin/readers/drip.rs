//! Clients that read a byte per second.

use crate::crowd::{Idlers, Watcher};
use crate::{GRACE, HARD_BOUND, SLACK, SOFT_BOUND, mib, with_slack};
use roomcast_benches::server::Server;
use roomcast_benches::verdict::Verdict;
use roomcast_benches::workloads::Failure;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// The minimum of a server's memory budget.
const LEAST_BUDGET: u64 = 64 << 20;

/// Time between two checks of the server's memory.
const POLL: Duration = Duration::from_millis(100);

/// Time between two bytes.
const DRIP: Duration = Duration::from_secs(1);

pub(crate) fn drip(server: &Server, clients: usize, time: Duration, verdict: &mut Verdict) -> Result<(), Failure> {
    let budget = budget()?;
    // Above the soft bound even without the bytes in the kernel's buffers, and below the hard bound.
    let each = (2 * budget as usize / clients).clamp(4 * SOFT_BOUND, HARD_BOUND * 3 / 4);
    let mut idlers = Idlers::connect(server.address, clients)?;
    let mut watcher = Watcher::new(server)?;
    let begun = Instant::now();
    idlers.fill(each)?;
    // The server generates gigabytes, so some clients are sent their events later than others.
    let mut sent = Duration::ZERO;
    let (mut next, mut told) = (begun + DRIP, 0);
    let mut others = clients;
    while others > 0 && begun.elapsed() < time {
        let before = watcher.peak;
        watcher.memory()?;
        if watcher.peak > before {
            sent = begun.elapsed();
        }
        others = watcher.others()?;
        if Instant::now() >= next {
            next += DRIP;
            idlers.drip()?;
            told += 1;
            if told % 5 == 0 {
                println!("after {told} s: {others} clients are connected, with {} of memory", mib(watcher.memory()?));
            }
        }
        thread::sleep(POLL);
    }
    let took = begun.elapsed();
    println!(
        "{clients} clients that read a byte per second were sent {} each; the server used at most {} for them, its budget is {}; \
         another client's requests waited for at most {:.0} ms",
        mib(each as u64),
        mib(watcher.peak),
        mib(budget),
        watcher.longest.as_secs_f64() * 1e3,
    );
    verdict.check(watcher.peak <= with_slack(budget), "the server exceeded its budget");
    verdict.check(others == 0, &format!("{others} clients were not disconnected within {took:?}"));
    let late = format!(
        "the last client was disconnected after {took:?}, the last event sent after {sent:?}, the grace period is {GRACE:?}"
    );
    verdict.check(took <= sent + GRACE + SLACK, &late);
    Ok(())
}

/// The server's memory budget: a quarter of the machine's memory, or of the cgroup's limit if that is lower.
fn budget() -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kibibytes =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    let machine: u64 = kibibytes.map(|count: u64| count * 1024).ok_or("no MemTotal in /proc/meminfo")?;
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    Ok((group.unwrap_or(u64::MAX).min(machine) / 4).max(LEAST_BUDGET))
}

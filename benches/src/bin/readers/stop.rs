//! Clients that stop reading.

use crate::crowd::{EVENT, Idlers, Watcher};
use crate::{GRACE, HARD_BOUND, SLACK, SOFT_BOUND, mib, with_slack};
use roomcast_benches::server::Server;
use roomcast_benches::verdict::Verdict;
use roomcast_benches::workloads::Failure;
use std::thread;
use std::time::{Duration, Instant};

/// Time between two checks of the server.
const POLL: Duration = Duration::from_millis(20);

/// How long the server may take to disconnect clients above the hard bound.
const AT_ONCE: Duration = Duration::from_secs(5);

pub(crate) fn stop(server: &Server, clients: usize, time: Duration, verdict: &mut Verdict) -> Result<(), Failure> {
    let mut watcher = Watcher::new(server)?;
    let mut over = Idlers::connect(server.address, clients)?;
    let begun = Instant::now();
    over.fill(2 * HARD_BOUND)?;
    let others = until(&mut watcher, begun, AT_ONCE, 0)?;
    println!(
        "{clients} clients that were sent {} each: {others} are connected after {:.2} s, the server used at most {} for them",
        mib(2 * HARD_BOUND as u64),
        begun.elapsed().as_secs_f64(),
        mib(watcher.peak),
    );
    verdict.check(others == 0, &format!("{others} clients above the hard bound were not disconnected"));
    let most = with_slack((clients * (HARD_BOUND + EVENT)) as u64);
    verdict.check(watcher.peak <= most, &format!("more than {} for {clients} clients", mib(most)));

    let mut below = Idlers::connect(server.address, clients)?;
    let begun = Instant::now();
    below.fill(4 * SOFT_BOUND)?;
    // The kernel's buffers take some bytes first, so the streams may be blocked a moment later, but never earlier.
    let lasted = until(&mut watcher, begun, GRACE - Duration::from_secs(1), clients - 1)?;
    let after = begun.elapsed();
    verdict
        .check(lasted == clients, &format!("{} clients were disconnected already after {after:?}", clients - lasted));
    let others = until(&mut watcher, begun, time.max(GRACE + SLACK), 0)?;
    let after = begun.elapsed();
    println!(
        "{clients} clients that were sent {} each: {others} are connected after {:.1} s",
        mib(4 * SOFT_BOUND as u64),
        after.as_secs_f64(),
    );
    verdict.check(others == 0, &format!("{others} clients above the soft bound were not disconnected"));
    verdict.check(others > 0 || after <= GRACE + SLACK, "clients above the soft bound were disconnected too late");
    Ok(())
}

/// Waits until at most `left` clients are connected, or until `time` has passed since `begun`. Returns how many are connected.
fn until(watcher: &mut Watcher<'_>, begun: Instant, time: Duration, left: usize) -> Result<usize, Failure> {
    loop {
        watcher.memory()?;
        let others = watcher.others()?;
        if others <= left || begun.elapsed() >= time {
            return Ok(others);
        }
        thread::sleep(POLL);
    }
}

//! Every target on its seeds and its corpus, and for a while on mutations of them: briefly, or for
//! `ROOMCAST_FUZZ_SECONDS` seconds in total (the step `fuzz` of `cargo xtask test`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use roomcast_fuzz::campaign::{Plan, campaign, hex};
use roomcast_fuzz::targets::ALL;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Executions of a target when no time is given: enough to see that mutation works.
const FEW: u64 = 400;

#[test]
fn no_target_fails_on_its_corpus_or_mutations_of_it() {
    let seconds = std::env::var("ROOMCAST_FUZZ_SECONDS").ok().map(|seconds| seconds.parse::<u32>().unwrap());
    // A different seed each time. It is printed, so that a failure can be reproduced.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (seed, executions) = seconds.map_or((1, FEW), |_| (now, u64::MAX));
    let time = Duration::from_secs(60) * ALL.len() as u32;
    let time = seconds.map_or(time, |seconds| Duration::from_secs(seconds.into())) / ALL.len() as u32;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut failures = Vec::new();
    let mut total = 0;
    for target in ALL {
        let report = campaign(target, &Plan { executions, time, seed, threads, journal: None }).unwrap();
        println!("{:<18} {:>9} executions in {:.1} s", target.name, report.executions, report.time.as_secs_f64());
        total += report.executions;
        if let Some(failure) = report.failure {
            failures.push(format!(
                "{} at {}: {}\n  cargo run --profile fuzz -p roomcast-fuzz -- --target {0} --input {}",
                target.name,
                failure.fault.place,
                failure.fault.message,
                hex(&failure.shrunk)
            ));
        }
    }
    println!("{total} executions, seed {seed}");
    assert!(failures.is_empty(), "seed {seed}:\n{}", failures.join("\n"));
}

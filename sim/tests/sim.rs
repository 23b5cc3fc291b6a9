//! Runs some hundred seeds, always the same, or as many as fit into the seconds of `ROOMCAST_SIM_SECONDS` (the step
//! `sim` of `cargo xtask test`). New seeds are for `cargo xtask sim` and `long`: a test must not fail by chance.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use roomcast_sim::plan::{Only, Plan};
use roomcast_sim::run;
use std::time::{Duration, Instant};

/// The number of seeds when no time is given.
const SEEDS: u64 = 150;

#[test]
fn clusters_do_what_the_model_says() {
    let seconds = std::env::var("ROOMCAST_SIM_SECONDS").ok().map(|seconds| seconds.parse::<u64>().unwrap());
    let from = 1;
    let (begin, time) = (Instant::now(), seconds.map(Duration::from_secs));
    let (mut seed, mut virtual_time) = (from, 0);
    while time.map_or(seed < from + SEEDS, |time| begin.elapsed() < time) {
        let report = run(&Plan::new(seed, Only::default()), false);
        virtual_time += report.time;
        if let Some(why) = report.failure {
            panic!("seed {seed}: {why}\n  cargo xtask sim --seed {seed}");
        }
        seed += 1;
    }
    println!("{} seeds from {from}, {} hours of their time", seed - from, virtual_time / 3_600_000);
}

/// The same seed is the same run: nothing is drawn from any other source. What the product draws itself (names of
/// questions and processes) does not appear in a history.
#[test]
fn a_seed_is_one_run() {
    for seed in [1, 2, 3, 40] {
        let plan = Plan::new(seed, Only::default());
        // Within a millisecond the product may do things in any order: for example, it closes what is in a hash map.
        let sorted = || {
            let mut lines = run(&plan, true).lines;
            lines.sort();
            lines
        };
        let (one, two) = (sorted(), sorted());
        assert!(!one.is_empty());
        let differs = one.iter().zip(&two).find(|(one, two)| one != two);
        assert_eq!((differs, one.len()), (None, two.len()), "seed {seed}");
    }
}

//! `cargo xtask sim`: the simulator of clusters (`sim/`). It also runs some seeds in `cargo xtask test` and many in `cargo xtask long`.

use std::time::Duration;

use crate::log::Log;
use crate::long_run::{self, Options};
use crate::repo::{BUILD_LIMIT, Repo};
use crate::step::Outcome;

/// Seconds for the step of the test run. Seeds that have not run by then are left out.
const SECONDS: &str = "90";

/// What the last line of a run contains.
const TOTAL: &str = " seeds from ";

/// Seeds of a long run.
const SEEDS: &str = "100000";

/// `cargo xtask sim [--seeds N] [--seed S] ...`: the arguments are passed to the simulator.
pub(crate) fn command(repo: &Repo, arguments: &[String]) -> Result<(), String> {
    let mut command = repo.cargo(&["run", "--profile", "fuzz", "--quiet", "--package", "roomcast-sim", "--"]);
    command.args(arguments);
    Log::Terminal.run(command, Duration::from_secs(10 * 60 * 60))
}

/// The step of `test`. It runs as a test of the whole workspace, so it is built with the same features as all other tests.
pub(crate) fn step(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let mut command = repo.cargo_test(&["--test", "sim", "--", "--nocapture"]);
    command.env("ROOMCAST_SIM_SECONDS", SECONDS);
    log.run(command, BUILD_LIMIT)?;
    let text = log.text();
    let total = text.lines().rfind(|line| line.contains(TOTAL));
    total.map(|line| Outcome::Passed(line.to_owned())).ok_or_else(|| "no seed ran".into())
}

/// The step of `long`.
pub(crate) fn long(repo: &Repo, log: &mut Log, options: &Options) -> Result<Outcome, String> {
    long_run::program(repo, log, options, ["roomcast-sim", "sim"], &["--seeds", SEEDS], TOTAL)
}

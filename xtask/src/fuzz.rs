//! The fuzz targets (`fuzz/`): seconds of fuzzing in `cargo xtask test`, hours of it in `cargo xtask long`.

use crate::log::Log;
use crate::long_run::{self, Options};
use crate::repo::{BUILD_LIMIT, Repo};
use crate::step::Outcome;

/// Seconds for all targets together in the test run, in which the step may take 30 s.
const SECONDS: &str = "24";

/// Executions of all targets together in a long run; `m` stands for million.
const EXECUTIONS: &str = "100m";

/// The step of `test`. It runs as a test of the whole workspace, so it is built with the same features as all other tests and nothing is
/// built twice. Overflows and debug assertions are checked.
pub(crate) fn step(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let mut command = repo.cargo_test(&["--test", "fuzz", "--", "--nocapture"]);
    command.env("ROOMCAST_FUZZ_SECONDS", SECONDS);
    log.run(command, BUILD_LIMIT)?;
    let text = log.text();
    let total = text.lines().find(|line| line.contains(" executions, seed "));
    total.map(|line| Outcome::Passed(line.to_owned())).ok_or_else(|| "no fuzz target ran".into())
}

/// The step of `long`.
pub(crate) fn long(repo: &Repo, log: &mut Log, options: &Options) -> Result<Outcome, String> {
    long_run::program(repo, log, options, ["roomcast-fuzz", "fuzz"], &["--executions", EXECUTIONS], " executions in ")
}

//! The fuzz targets (`fuzz/`): briefly in `cargo xtask test`, for long in `cargo xtask long`.

use std::time::Duration;

use crate::log::Log;
use crate::long::Options;
use crate::repo::Repo;
use crate::step::Outcome;
use crate::test::BUILD_LIMIT;

/// Seconds for all targets together in the test run, where 30 are allowed for the step.
const SECONDS: &str = "24";

/// Executions of all targets together in a long run.
const EXECUTIONS: &str = "100m";

/// The step of `test`. As a test of the whole workspace it is built with the features of all other tests, so nothing is
/// built twice, and overflows and debug assertions are checked.
pub(crate) fn step(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let mut command = repo.cargo(&["test", "--workspace", "--test", "fuzz", "--", "--nocapture"]);
    command.env("ROOMCAST_FUZZ_SECONDS", SECONDS);
    log.run(command, BUILD_LIMIT)?;
    let text = log.text();
    let total = text.lines().find(|line| line.contains(" executions, seed "));
    total.map(|line| Outcome::Passed(line.to_owned())).ok_or_else(|| "no target was run".into())
}

/// The step of `long`.
pub(crate) fn long(repo: &Repo, log: &mut Log, options: &Options) -> Result<Outcome, String> {
    let mut build = repo.cargo(&["build", "--profile", "fuzz", "--package", "roomcast-fuzz"]);
    build.arg("--quiet");
    log.run(build, BUILD_LIMIT)?;
    let mut command = repo.command(repo.target.join("fuzz").join("fuzz"), &["--executions", EXECUTIONS]);
    let mut limit = options.limit;
    if let Some(time) = options.time {
        command.args(["--seconds", &time.as_secs().to_string()]);
        // A slow execution may go on for a while when the time is up.
        limit = time + Duration::from_secs(15 * 60);
    }
    let result = log.run(command, limit);
    let text = log.text();
    let total = text.lines().rfind(|line| line.contains(" executions in ")).unwrap_or("no target was run");
    result.map_err(|error| format!("{total}: {error}"))?;
    Ok(Outcome::Passed(total.to_owned()))
}

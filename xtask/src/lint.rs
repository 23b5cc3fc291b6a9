//! `cargo xtask lint`: checks the formatting, and runs clippy with warnings as errors.

use std::time::Duration;

use crate::log::Log;
use crate::repo::Repo;
use crate::step::Outcome;

/// A first run, which checks every dependency, takes about two minutes on two cores. The rest is margin for a busy machine.
const LIMIT: Duration = Duration::from_secs(15 * 60);

pub(crate) fn command(repo: &Repo) -> Result<(), String> {
    let format = format(repo, &mut Log::Terminal);
    clippy(repo, &mut Log::Terminal)?;
    format.map(drop)
}

pub(crate) fn format(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    log.run(repo.cargo(&["fmt", "--all", "--check"]), LIMIT)
        .map_err(|error| format!("{error}; run `cargo fmt --all`"))?;
    Ok(Outcome::Passed(String::new()))
}

pub(crate) fn clippy(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    log.run(repo.cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]), LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

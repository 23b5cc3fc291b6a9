//! `cargo xtask prometheus`: checks the configuration, the alert rules and their tests of `deploy/prometheus` with promtool.

use std::time::Duration;

use crate::log::Log;
use crate::repo::Repo;
use crate::setup;
use crate::step::Outcome;

/// It takes a second.
const LIMIT: Duration = Duration::from_secs(2 * 60);

/// What promtool is asked for each file.
const CHECKS: &[&[&str]] = &[
    &["check", "config", "deploy/prometheus/prometheus.yml"],
    &["check", "rules", "deploy/prometheus/alerts.yml"],
    &["test", "rules", "deploy/prometheus/alerts.test.yml"],
];

pub(crate) fn command(repo: &Repo) -> Result<(), String> {
    step(repo, &mut Log::Terminal).map(drop)
}

/// Also the step of `test`.
pub(crate) fn step(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let promtool = setup::promtool(repo, log)?;
    for check in CHECKS {
        log.run(repo.command(&promtool, check), LIMIT)?;
    }
    Ok(Outcome::Passed(format!("{} checks", CHECKS.len())))
}

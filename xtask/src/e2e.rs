//! `cargo xtask e2e`: the real JavaScript client against the conformance server and Node's, by `e2e/run.mjs`.

use std::time::Duration;

use crate::log::Log;
use crate::repo::Repo;
use crate::setup;
use crate::step::Outcome;
use crate::test;

/// Both servers' suites take minutes; a client that never gets its answer must not use up CI's time.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// The example's name in the package `roomcast`; the scripts find its program by the environment variable.
const CONFORMANCE: &str = "conformance";

pub(crate) fn command(repo: &Repo, arguments: &[String]) -> Result<(), String> {
    setup::javascript(repo, &mut Log::Terminal)?;
    test::build_release(repo, &mut Log::Terminal, &[("roomcast", CONFORMANCE)])?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let arguments = if arguments.is_empty() { vec!["--server", "both"] } else { arguments };
    run(repo, &mut Log::Terminal, &arguments)
}

/// The step of `test`: the server has been built by a step before.
pub(crate) fn both(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run(repo, log, &["--server", "both"])?;
    let text = log.text();
    let last = text.lines().rev().find(|line| line.contains(" passed") && line.contains(" failed"));
    Ok(Outcome::Passed(last.unwrap_or_default().trim().to_owned()))
}

fn run(repo: &Repo, log: &mut Log, arguments: &[&str]) -> Result<(), String> {
    let server = repo.release_example(CONFORMANCE);
    if !server.is_file() {
        return Err(format!("{} is not built; cargo xtask e2e builds it", repo.short(&server).display()));
    }
    let mut command = repo.command("node", &["e2e/run.mjs"]);
    command.args(arguments).env("ROOMCAST_CONFORMANCE", &server);
    log.run(command, LIMIT)
}

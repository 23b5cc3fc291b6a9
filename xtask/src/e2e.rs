//! `cargo xtask e2e`: the real JavaScript client against the conformance server and Node's, by `e2e/run.mjs`.

use std::time::Duration;

use crate::log::Log;
use crate::release::{self, Program};
use crate::repo::Repo;
use crate::setup;
use crate::step::Outcome;

/// Both servers' suites take minutes; a client that never gets its answer must not use up CI's time.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// The example's name in the package `roomcast`; the scripts find its program by the environment variable.
const CONFORMANCE: &str = "conformance";

/// The example of the package `roomcast-redis` that emits from outside the cluster.
const EMITTER: &str = "emitter";

/// One server at a time, as a client sees it.
const SUITE: &str = "e2e/run.mjs";

/// Several servers of both kinds.
const CLUSTERS: &str = "e2e/run-cluster.mjs";

/// Two servers behind nginx and HAProxy, with the configurations of docs/examples/.
const PROXIES: &str = "e2e/run-proxies.mjs";

pub(crate) fn command(repo: &Repo, arguments: &[String]) -> Result<(), String> {
    setup::javascript(repo, &mut Log::Terminal)?;
    let server = Program { package: "roomcast", kind: "--example", name: CONFORMANCE };
    release::build(repo, &mut Log::Terminal, &[server])?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let arguments = if arguments.is_empty() { vec!["--server", "both"] } else { arguments };
    run(repo, &mut Log::Terminal, SUITE, &arguments)
}

/// The step of `test`: the server has been built by a step before.
pub(crate) fn both(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run(repo, log, SUITE, &["--server", "both"])?;
    Ok(Outcome::Passed(last_count(log)))
}

/// The step of `test` for clusters of our servers and Node's on a Redis of the scripts' own.
pub(crate) fn clusters(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run(repo, log, CLUSTERS, &[])?;
    Ok(Outcome::Passed(last_count(log)))
}

/// The step of `test` for the documented proxies.
pub(crate) fn proxies(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run(repo, log, PROXIES, &[])?;
    Ok(Outcome::Passed(last_count(log)))
}

fn last_count(log: &Log) -> String {
    let text = log.text();
    let last = text.lines().rev().find(|line| line.contains(" passed") && line.contains(" failed"));
    last.unwrap_or_default().trim().to_owned()
}

fn run(repo: &Repo, log: &mut Log, script: &str, arguments: &[&str]) -> Result<(), String> {
    let (server, emitter) = (repo.release_example(CONFORMANCE), repo.release_example(EMITTER));
    if !server.is_file() {
        return Err(format!("{} is not built; cargo xtask e2e builds it", repo.short(&server).display()));
    }
    let mut command = repo.command("node", &[script]);
    command.args(arguments).env("ROOMCAST_CONFORMANCE", &server).env("ROOMCAST_EMITTER", &emitter);
    command.env("ROOMCAST_PROGRAM", repo.release_program("roomcast"));
    log.run(command, LIMIT)
}

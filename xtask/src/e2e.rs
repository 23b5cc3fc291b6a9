//! `cargo xtask e2e`: runs `e2e/run.mjs`, which tests the conformance server and Node's server with the official JavaScript client.

use std::time::Duration;

use crate::log::Log;
use crate::release::{self, Program};
use crate::repo::Repo;
use crate::setup;
use crate::step::Outcome;

/// The suites of both servers take minutes. A client that never gets its answer must not use up CI's time.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// The conformance server: an example of the package `roomcast`. The scripts get its path in an environment variable.
const CONFORMANCE: &str = "conformance";

/// The example of the package `roomcast-redis` that emits from outside the cluster.
const EMITTER: &str = "emitter";

/// Tests one server at a time.
const SUITE: &str = "e2e/run.mjs";

/// Tests clusters of roomcast and Node servers.
const CLUSTERS: &str = "e2e/run-cluster.mjs";

/// Tests two servers behind nginx, HAProxy and Traefik, with the configurations of docs/examples/.
const PROXIES: &str = "e2e/run-proxies.mjs";

/// Tests what the program tells load balancers, with Redis servers that are frozen or replicas.
const HEALTH: &str = "e2e/run-health.mjs";

/// Checks that `docs/compatibility.md` has a row for each public name of Node's server, and that the tests it names exist.
const COMPATIBILITY: &str = "e2e/check-compatibility.mjs";

/// Compares the quiz in Node with its port to Rust.
const PORT: &str = "e2e/run-port.mjs";

/// Tests the examples that are applications.
const EXAMPLES: &str = "e2e/run-examples.mjs";

/// Tests the chat page and the examples in Chromium.
const BROWSER: &str = "e2e/run-browser.mjs";

pub(crate) fn command(repo: &Repo, arguments: &[String]) -> Result<(), String> {
    setup::javascript(repo, &mut Log::Terminal)?;
    let server = Program { package: "roomcast", kind: "--example", name: CONFORMANCE };
    release::build(repo, &mut Log::Terminal, &[server])?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let arguments = if arguments.is_empty() { vec!["--server", "both"] } else { arguments };
    run(repo, &mut Log::Terminal, SUITE, &arguments)
}

/// The step `e2e` of `test`. An earlier step has built the server.
pub(crate) fn both(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run(repo, log, SUITE, &["--server", "both"])?;
    Ok(Outcome::Passed(last_count(log)))
}

/// The step `clusters` of `test`: clusters of roomcast and Node servers on a Redis that the scripts start.
pub(crate) fn clusters(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run(repo, log, CLUSTERS, &[])?;
    Ok(Outcome::Passed(last_count(log)))
}

/// The step `proxies` of `test`: the proxies that the documentation has configurations for.
pub(crate) fn proxies(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run(repo, log, PROXIES, &[])?;
    Ok(Outcome::Passed(last_count(log)))
}

/// The step `health` of `test`: what the program tells load balancers.
pub(crate) fn health(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run(repo, log, HEALTH, &[])?;
    Ok(Outcome::Passed(last_count(log)))
}

/// The step `compatibility` of `test`. It needs only the npm packages.
pub(crate) fn compatibility(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run_tested(repo, log, COMPATIBILITY)
}

/// The step `port` of `test`: the same application in Node and in Rust.
pub(crate) fn port(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run_tested(repo, log, PORT)
}

/// The step `examples` of `test`: the applications in examples/.
pub(crate) fn examples(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run_tested(repo, log, EXAMPLES)
}

/// The step `browser` of `test`: the chat page and the examples in Chromium.
pub(crate) fn browser(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    run_tested(repo, log, BROWSER)
}

/// Runs a script with the programs that the step `tests` has built. These steps compare behaviour, not speed, and to link each program with
/// the release profile too would take a minute.
fn run_tested(repo: &Repo, log: &mut Log, script: &str) -> Result<Outcome, String> {
    let programs = repo.tested_programs();
    let mut command = repo.command("node", &[script]);
    command.env("ROOMCAST_PROGRAM", programs.join("roomcast")).env("ROOMCAST_EXAMPLES", &programs);
    log.run(command, LIMIT)?;
    Ok(Outcome::Passed(last_count(log)))
}

/// The last line `N passed, N failed` of the log.
fn last_count(log: &Log) -> String {
    let text = log.text();
    let last = text.lines().rev().find(|line| line.contains(" passed") && line.contains(" failed"));
    last.unwrap_or_default().trim().to_owned()
}

fn run(repo: &Repo, log: &mut Log, script: &str, arguments: &[&str]) -> Result<(), String> {
    let (server, emitter) = (repo.release_example(CONFORMANCE), repo.release_example(EMITTER));
    if !server.is_file() {
        return Err(format!("{} is missing; cargo xtask e2e builds it", repo.short(&server).display()));
    }
    let mut command = repo.command("node", &[script]);
    command.args(arguments).env("ROOMCAST_CONFORMANCE", &server).env("ROOMCAST_EMITTER", &emitter);
    command.env("ROOMCAST_PROGRAM", repo.release_program("roomcast")).env("ROOMCAST_TRAEFIK", setup::traefik(repo));
    log.run(command, LIMIT)
}

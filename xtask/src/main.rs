//! The repository's development commands: `cargo xtask <command>`.
//!
//! Each command has a file of its own. There are no dependencies: they would make the first `cargo xtask` in a fresh clone slow, and
//! everything here is files, processes and text.

mod bench;
mod cluster;
mod doc;
mod e2e;
mod first_deployment;
mod fuzz;
mod instructions;
mod lint;
mod log;
mod long;
mod long_run;
mod mutations;
mod prometheus;
mod release;
mod repo;
mod setup;
mod sim;
mod step;
mod test;
mod tidy;
mod websocket;

use std::process::ExitCode;

use repo::Repo;

const HELP: &str = "\
The repository's development commands.

Usage: cargo xtask <command> [arguments]

Before the first run
  setup           Check that Node.js, npm, redis-server, openssl, Python, nginx, HAProxy, valgrind, promtool and
                  Chromium are installed. Installs npm packages, kosoku, Traefik and promtool itself, and Debian
                  packages if run as root; otherwise prints the commands to run.

All checks
  test            Run everything that CI runs, in the same order. A failed step does not stop the run. It ends with a
                  table of the steps and a line `N passed, N failed`; each step's output is in target/xtask-logs.
  ci              Run `test`, then check licences, bans and sources of dependencies with cargo-deny, which it compiles
                  once, and pack the crates as for crates.io.

Single checks
  tidy            Check the repository's own rules: imports between crates and between files, versions, module docs,
                  file sizes, limits, decision index, test suites, what deploy/ says, and what a minimal machine
                  lacks.
  lint            Check the formatting, and run clippy with warnings as errors.
  doc             Build the documentation of every crate with warnings as errors.
  instructions [--accept]
                  Count the instructions of each operation with callgrind and compare them with
                  benches/instructions.toml. Fails if one is more than 5 % above. --accept writes the new counts.
  prometheus      Check the alert rules of deploy/prometheus, and run their tests, with promtool.
  e2e [args]      Build the conformance server and test it with the official JavaScript client, side by side with
                  Node's server. args go to e2e/run.mjs; the default is --server both.
  deployment      Run every command of docs/first-deployment.md, and compare what the page says that they print.
  websocket       Run the 247 Autobahn WebSocket cases against the engine's example ws-echo.
  sim [args]      Run simulated clusters and compare them with a model. args go to sim/src/main.rs: --seeds N runs
                  N seeds, --seed S runs one seed and prints what happened.
  long [--only NAME] [--seconds N]
                  Run what takes hours, such as fuzzing with 100 million executions and 100,000 simulated clusters.
                  --only runs a single step; --seconds sets how long the open-ended steps run.

Other
  cluster         Start a private Redis, two roomcast servers and a Node.js server, and chat across them until Ctrl-C.
  bench [args]    Run the criterion benches. args go to cargo bench. Needs a quiet machine.
  bench --peers [args]
                  Measure roomcast, socketioxide and Node.js side by side. args go to benches/src/bin/peers.rs.
  help            Print this text.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = arguments.first().map_or("help", String::as_str);
    let rest = arguments.get(1..).unwrap_or_default();
    if matches!(command, "help" | "--help" | "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if !rest.is_empty() && !matches!(command, "e2e" | "bench" | "instructions" | "long" | "sim") {
        return fail(&format!("`{command}` takes no arguments; see cargo xtask help"));
    }
    let repo = match Repo::find() {
        Ok(repo) => repo,
        Err(error) => return fail(&error),
    };
    let result = match command {
        "setup" => setup::command(&repo),
        "test" => test::command(&repo, test::Plan::Test),
        "ci" => test::command(&repo, test::Plan::Ci),
        "tidy" => tidy::command(&repo),
        "lint" => lint::command(&repo),
        "doc" => doc::command(&repo),
        "e2e" => e2e::command(&repo, rest),
        "instructions" => instructions::command(&repo, rest),
        "long" => long::command(&repo, rest),
        "sim" => sim::command(&repo, rest),
        "prometheus" => prometheus::command(&repo),
        "deployment" => first_deployment::command(&repo),
        "websocket" => websocket::command(&repo),
        "cluster" => cluster::command(&repo),
        "bench" => bench::command(&repo, rest),
        unknown => Err(format!("there is no command `{unknown}`; see cargo xtask help")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `run_all` has printed a table. Its closing line must stay the last one.
        Err(error) if error.is_empty() => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    eprintln!("xtask: {error}");
    ExitCode::FAILURE
}

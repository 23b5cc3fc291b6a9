//! The repository's chores: `cargo xtask <command>`.
//!
//! One file per command. No dependencies: a chore that needs a crate makes the first `cargo xtask` of a fresh clone
//! slow, and everything here is files, processes and text.

mod bench;
mod cluster;
mod doc;
mod e2e;
mod fuzz;
mod instructions;
mod lint;
mod log;
mod long;
mod long_run;
mod mutations;
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
The repository's chores. Usage: cargo xtask <command> [arguments]

  setup           check for Node.js, npm, redis-server, openssl, Python, nginx, HAProxy and valgrind; install what is missing
                  where that is possible
  test            everything CI runs, in CI's order: setup, tidy, lint, tests, fuzz, sim, docs, release build, instructions,
                  e2e, clusters with Node servers, the documented proxies, websocket
  ci              test, and cargo-deny's check of licences, bans and sources when cargo-deny is installed
  tidy            the repository's own rules: imports between crates, versions, module docs, file sizes, decision index, what a
                  minimal machine lacks
  lint            cargo fmt --check and clippy with warnings as errors
  doc             build the documentation of every crate with warnings as errors
  e2e [args]      build the conformance server and run e2e/run.mjs against it; args go to run.mjs (--server both)
  instructions    instructions per operation, by callgrind, against benches/instructions.toml; fails on more than 5 %
                  over it; --accept writes today's counts into it
  websocket       the 247 Autobahn WebSocket cases against the engine's ws-echo example
  sim [args]      simulated clusters beside a model; args go to sim/src/main.rs: --seeds N, or --seed S, which tells what
                  happened
  long            what takes hours: fuzz targets with 100 million executions, 100,000 simulated clusters; --only NAME runs one step, --seconds N gives
                  each step so much time
  cluster         a private Redis, two roomcast servers and one of Node.js to chat across, until Ctrl-C
  bench [args]    criterion benches of roomcast-benches; args go to cargo bench
  bench --peers [args]  roomcast, socketioxide and Node side by side on this machine; args go to benches/src/bin/peers.rs
  help            this text

`cargo xtask test` goes on after a failed step, ends with a table and a line `N passed, N failed`, and leaves each
step's output in target/xtask-logs.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let command = arguments.first().map_or("help", String::as_str);
    let rest = arguments.get(1..).unwrap_or_default();
    if matches!(command, "help" | "--help" | "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if !rest.is_empty() && !matches!(command, "e2e" | "bench" | "instructions" | "long" | "sim") {
        return fail(&format!("`{command}` takes no arguments; see cargo xtask --help"));
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
        "websocket" => websocket::command(&repo),
        "cluster" => cluster::command(&repo),
        "bench" => bench::command(&repo, rest),
        unknown => Err(format!("there is no command `{unknown}`; see cargo xtask --help")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `test` has said everything in its table, and its closing line stays the last one.
        Err(error) if error.is_empty() => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    eprintln!("xtask: {error}");
    ExitCode::FAILURE
}

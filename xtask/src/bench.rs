//! `cargo xtask bench`: the criterion benches, or with `--peers` whole servers side by side. Not part of `test`: a time from a
//! busy machine says nothing.

use std::time::Duration;

use crate::log::Log;
use crate::release::{self, Program};
use crate::repo::Repo;
use crate::setup;

/// A person watches it and may interrupt it; the limit only keeps a forgotten run from going on for ever.
const LIMIT: Duration = Duration::from_secs(4 * 60 * 60);

/// Where the results go.
const RESULTS: &str = "docs/plots";

pub(crate) fn command(repo: &Repo, arguments: &[String]) -> Result<(), String> {
    if let Some((first, rest)) = arguments.split_first()
        && first == "--peers"
    {
        return peers(repo, rest);
    }
    let mut command = repo.cargo(&["bench", "--package", "roomcast-benches"]);
    command.args(arguments);
    Log::Terminal.run(command, LIMIT)
}

/// Builds the peers and measures them. A whole run writes its results over those in the repository; one of a part does not.
fn peers(repo: &Repo, arguments: &[String]) -> Result<(), String> {
    let log = &mut Log::Terminal;
    setup::javascript(repo, log)?;
    let server = Program { package: "roomcast", kind: "--example", name: "conformance" };
    release::build(repo, log, &[server])?;
    log.run(repo.cargo(&["build", "--release", "--package", "roomcast-benches", "--bins"]), LIMIT)?;
    let other = ["--manifest-path", "benches/peers/Cargo.toml", "--target-dir", "benches/peers/target"];
    let mut build = repo.cargo(&["build", "--release", "--locked"]);
    build.args(other);
    log.run(build, LIMIT)?;
    let mut command = repo.command(repo.release_program("peers"), &[]);
    if matches!(arguments, [] | [_, _] if arguments.first().is_none_or(|first| first == "--rounds")) {
        command.args(["--out", RESULTS]);
    }
    command.args(arguments);
    log.run(command, LIMIT)
}

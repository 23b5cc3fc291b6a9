//! `cargo xtask bench`: runs the criterion benches, or with `--peers` measures whole servers side by side. Not part of `test`, because
//! times that were measured on a busy machine mean nothing.

use std::time::Duration;

use crate::log::Log;
use crate::release::{self, Program};
use crate::repo::Repo;
use crate::setup;

/// A person watches the run and can interrupt it. The limit only ends a run that was forgotten.
const LIMIT: Duration = Duration::from_secs(4 * 60 * 60);

/// The folder of the results.
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

/// Builds the peers and measures them. A full run replaces the results in the repository; a run of some workloads or peers does not.
fn peers(repo: &Repo, arguments: &[String]) -> Result<(), String> {
    let log = &mut Log::Terminal;
    setup::javascript(repo, log)?;
    let server = Program { package: "roomcast", kind: "--example", name: "conformance" };
    release::build(repo, log, &[server])?;
    log.run(repo.cargo(&["build", "--release", "--package", "roomcast-benches", "--bins"]), LIMIT)?;
    let peers = ["--manifest-path", "benches/peers/Cargo.toml", "--target-dir", "benches/peers/target"];
    let mut build = repo.cargo(&["build", "--release", "--locked"]);
    build.args(peers);
    log.run(build, LIMIT)?;
    let mut command = repo.command(repo.release_program("peers"), &[]);
    if matches!(arguments, [] | [_, _] if arguments.first().is_none_or(|first| first == "--rounds")) {
        command.args(["--out", RESULTS]);
    }
    command.args(arguments);
    log.run(command, LIMIT)
}

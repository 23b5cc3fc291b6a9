//! Builds programs with the release profile, for the steps that run them.

use crate::log::Log;
use crate::repo::{BUILD_LIMIT, Repo};

/// A program of the workspace. `kind` is Cargo's option that selects it: `--bin` or `--example`.
pub(crate) struct Program {
    pub(crate) package: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
}

/// Builds the programs with one call of Cargo.
pub(crate) fn build(repo: &Repo, log: &mut Log, programs: &[Program]) -> Result<(), String> {
    let mut command = repo.cargo(&["build", "--release"]);
    for Program { package, kind, name } in programs {
        command.args(["--package", package, kind, name]);
    }
    log.run(command, BUILD_LIMIT)
}

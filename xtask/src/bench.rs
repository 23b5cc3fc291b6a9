//! `cargo xtask bench`: the criterion benches. Not part of `test`: a time from a busy machine says nothing.

use std::time::Duration;

use crate::log::Log;
use crate::repo::Repo;

/// A person watches it and may interrupt it; the limit only keeps a forgotten run from going on for ever.
const LIMIT: Duration = Duration::from_secs(4 * 60 * 60);

pub(crate) fn command(repo: &Repo, arguments: &[String]) -> Result<(), String> {
    let mut command = repo.cargo(&["bench", "--package", "roomcast-benches"]);
    command.args(arguments);
    Log::Terminal.run(command, LIMIT)
}

//! `cargo xtask doc`: builds the documentation of every crate. Warnings of rustdoc, such as a broken link, are errors.

use std::time::Duration;

use crate::log::Log;
use crate::repo::Repo;
use crate::step::Outcome;

const LIMIT: Duration = Duration::from_secs(15 * 60);

pub(crate) fn command(repo: &Repo) -> Result<(), String> {
    build(repo, &mut Log::Terminal)?;
    println!("open {}/doc/roomcast_server/index.html", repo.short(&repo.target).display());
    Ok(())
}

pub(crate) fn build(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let mut command = repo.cargo(&["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    log.run(command, LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

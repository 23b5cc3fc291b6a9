//! `cargo xtask websocket`: runs the Autobahn WebSocket cases with kosoku against the engine's example `ws-echo`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::log::Log;
use crate::repo::Repo;
use crate::step::{Outcome, Step, run_all};
use crate::{release, setup};

/// The example's name in the package `roomcast-engine`.
const ECHO: &str = "ws-echo";

/// 9.* measure the time of large messages, and so do 12.* and 13.*, with compression: 1,000 messages a case. Some of these fail
/// inside kosoku 0.1.0 ("Strings must be encoded before hashing"), and 13.3 to 13.6 insist on small windows (docs/decisions/0031-compression.md).
const EXCLUDED: &[&str] = &["9.*", "12.*", "13.*"];

/// How many cases remain. If kosoku runs fewer, its selection has changed, and a run without failures does not prove conformance.
const EXPECTED: usize = 247;

/// Node's ws takes 3.5 to 11 s, because some cases wait for a second. kosoku has a limit of its own for a case that hangs.
const LIMIT: Duration = Duration::from_secs(5 * 60);

/// How long the example may take until it listens. It takes milliseconds.
const START_LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn command(repo: &Repo) -> Result<(), String> {
    run_all(
        repo,
        &[
            Step { name: "kosoku", needs: None, run: |repo, log| setup::python(repo, log).map(Outcome::Passed) },
            Step {
                name: "release",
                needs: None,
                run: |repo, log| {
                    let echo = release::Program { package: "roomcast-engine", kind: "--example", name: ECHO };
                    release::build(repo, log, &[echo])?;
                    Ok(Outcome::Passed(String::new()))
                },
            },
            Step { name: "websocket", needs: Some("release"), run },
        ],
    )
}

/// The step of `test`. An earlier step has built the example.
pub(crate) fn run(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let kosoku = setup::kosoku(repo);
    if !kosoku.is_file() {
        return Err(format!("{} is missing; cargo xtask setup installs it", repo.short(&kosoku).display()));
    }
    let server = Server::start(repo, log)?;
    let reports = repo.logs().join("kosoku").display().to_string();
    let mut command = repo.command(&kosoku, &["--outdir", &reports]);
    command.args(EXCLUDED.iter().flat_map(|cases| ["--exclude", cases])).arg(&server.url);
    let result = log.run(command, LIMIT);
    judge(&log.text(), result)
}

/// Reads the output of kosoku: `N cases passed`, or `N of M cases failed:` with the cases below it.
fn judge(text: &str, result: Result<(), String>) -> Result<Outcome, String> {
    if let Some(line) = text.lines().find(|line| line.trim_end().ends_with("cases failed:")) {
        return Err(line.trim_end().trim_end_matches(':').to_owned());
    }
    result?;
    let passed = text.lines().find_map(|line| line.trim_end().strip_suffix(" cases passed")?.parse::<usize>().ok());
    match passed {
        Some(EXPECTED) => Ok(Outcome::Passed(format!("{EXPECTED} of {EXPECTED} cases"))),
        Some(other) => Err(format!("kosoku ran {other} cases, not {EXPECTED}: its selection of cases has changed")),
        None => Err("kosoku did not print how many cases passed".into()),
    }
}

/// The running example. It is killed when dropped.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Starts the example on a free loopback port and waits until it prints its URL.
    fn start(repo: &Repo, log: &mut Log) -> Result<Server, String> {
        let program = repo.release_example(ECHO);
        log.say(&format!("$ HOST=127.0.0.1 PORT=0 {}", repo.short(&program).display()));
        let mut child = repo
            .command(&program, &[])
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.stdio()?)
            .spawn()
            .map_err(|error| format!("cannot run {}: {error}", repo.short(&program).display()))?;
        let output = child.stdout.take();
        let mut server = Server { child, url: String::new() };
        let (sender, receiver) = mpsc::channel();
        // Reads until the end, so that the server never blocks because its output is not read.
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(Result::ok) {
                if let Some(url) = line.trim().strip_prefix("listening on ") {
                    // Fails after the first URL, when the receiver is gone.
                    drop(sender.send(url.to_owned()));
                }
            }
        });
        server.url = receiver.recv_timeout(START_LIMIT).map_err(|_| {
            format!(
                "{ECHO} has exited, or did not print `listening on ws://HOST:PORT` within {} s",
                START_LIMIT.as_secs()
            )
        })?;
        log.say(&format!("listening on {}", server.url));
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process has already exited.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::step::Outcome;

    #[track_caller]
    fn check(text: &str, result: Result<(), &str>, expected: Result<&str, &str>) {
        let expected = expected.map(|note| Outcome::Passed(note.to_owned())).map_err(str::to_owned);
        assert_eq!(judge(text, result.map_err(str::to_owned)), expected);
    }

    #[test]
    fn only_all_247_cases_pass() {
        check("wrote reports for 247 cases to x/\n247 cases passed\n", Ok(()), Ok("247 of 247 cases"));
        let changed = "kosoku ran 246 cases, not 247: its selection of cases has changed";
        check("246 cases passed\n", Ok(()), Err(changed));
        check("", Ok(()), Err("kosoku did not print how many cases passed"));
        check("1247 cases passed maybe\n", Ok(()), Err("kosoku did not print how many cases passed"));
    }

    #[test]
    fn failed_cases_are_counted_and_any_other_failure_is_passed_on() {
        let failed = "2 of 247 cases failed:\n  1.1.2: behavior=FAILED\nwrote reports for 247 cases to x/\n";
        check(failed, Err("`kosoku` failed"), Err("2 of 247 cases failed"));
        check("Traceback", Err("`kosoku` failed"), Err("`kosoku` failed"));
    }
}

//! `cargo xtask test` and `cargo xtask ci`: everything that CI runs, in the same order, quick steps first.

use std::num::NonZero;
use std::process::Command;
use std::time::Duration;

use crate::log::Log;
use crate::release::{self, Program};
use crate::repo::Repo;
use crate::step::{Outcome, Step, run_all};
use crate::{doc, e2e, first_deployment, fuzz, instructions, lint, prometheus, setup, sim, tidy, websocket};

/// Several times what a cold debug build and all Rust tests take. A test that hangs is killed early enough for CI, which allows 90 minutes
/// for the whole run, to print the table.
const TEST_LIMIT: Duration = Duration::from_secs(40 * 60);

/// The least number of tests of one program that run at the same time. It may exceed the number of cores, because most tests spend most of
/// their time waiting for a timer, for a server that starts, or for a peer that is silent on purpose.
const TEST_THREADS: usize = 6;

const THREADS: &str = "RUST_TEST_THREADS";

const DENY_LIMIT: Duration = Duration::from_secs(5 * 60);

/// It takes seconds, and asks the registry.
const PACKAGES_LIMIT: Duration = Duration::from_secs(5 * 60);

/// The programs that the steps e2e, clusters, health, proxies and websocket run. They are built with one call, so that shared dependencies are
/// built only once, with one set of features.
const PROGRAMS: &[Program] = &[
    Program { package: "roomcast", kind: "--bin", name: "roomcast" },
    Program { package: "roomcast", kind: "--example", name: "conformance" },
    Program { package: "roomcast-engine", kind: "--example", name: "ws-echo" },
    Program { package: "roomcast-redis", kind: "--example", name: "emitter" },
];

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    Test,
    Ci,
}

pub(crate) fn command(repo: &Repo, plan: Plan) -> Result<(), String> {
    run_all(repo, &steps(plan))
}

fn steps(plan: Plan) -> Vec<Step> {
    let mut steps = vec![
        Step { name: "setup", needs: None, run: setup::everything },
        Step { name: "tidy", needs: None, run: tidy::check },
        Step { name: "prometheus", needs: None, run: prometheus::step },
        Step { name: "compatibility", needs: Some("setup"), run: e2e::compatibility },
        Step { name: "fmt", needs: None, run: lint::format },
        Step { name: "clippy", needs: None, run: lint::clippy },
        Step { name: "tests", needs: None, run: tests },
        // After `tests`, whose build this and the next step share.
        Step { name: "fuzz", needs: None, run: fuzz::step },
        Step { name: "sim", needs: None, run: sim::step },
        Step { name: "doctests", needs: None, run: doctests },
        Step { name: "doc", needs: None, run: doc::build },
        // These three run what `tests` has built.
        Step { name: "port", needs: Some("tests"), run: e2e::port },
        Step { name: "examples", needs: Some("tests"), run: e2e::examples },
        Step { name: "browser", needs: Some("tests"), run: e2e::browser },
        Step { name: "release", needs: None, run: release },
        // After `release`, whose dependencies it shares.
        Step { name: "instructions", needs: None, run: instructions::step },
        Step { name: "e2e", needs: Some("release"), run: e2e::both },
        Step { name: "clusters", needs: Some("release"), run: e2e::clusters },
        Step { name: "health", needs: Some("release"), run: e2e::health },
        Step { name: "proxies", needs: Some("release"), run: e2e::proxies },
        Step { name: "deployment", needs: Some("release"), run: first_deployment::run },
        Step { name: "websocket", needs: Some("release"), run: websocket::run },
    ];
    if plan == Plan::Ci {
        steps.push(Step { name: "deny", needs: None, run: deny });
        steps.push(Step { name: "packages", needs: None, run: packages });
    }
    steps
}

fn tests(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let mut command = repo.cargo_test(&["--no-fail-fast", "--lib", "--bins", "--tests", "--examples"]);
    if std::env::var_os(THREADS).is_none() {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        command.env(THREADS, cores.max(TEST_THREADS).to_string());
    }
    counted(log, command)
}

fn doctests(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    counted(log, repo.cargo_test(&["--no-fail-fast", "--doc"]))
}

fn counted(log: &mut Log, command: Command) -> Result<Outcome, String> {
    let result = log.run(command, TEST_LIMIT);
    let count = Count::read(&log.text());
    result.map_err(|error| if count.failed > 0 { format!("{count}: {error}") } else { error })?;
    if count.passed == 0 {
        return Err("cargo test ran no tests".into());
    }
    Ok(Outcome::Passed(count.to_string()))
}

fn release(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    release::build(repo, log, PROGRAMS)?;
    Ok(Outcome::Passed(String::new()))
}

fn deny(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let program = setup::cargo_deny(repo, log)?;
    log.run(repo.command(program, &["check", "bans", "licenses", "sources"]), DENY_LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

/// Packs every published crate as `cargo publish` would, without compiling it or sending anything.
fn packages(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let arguments = ["publish", "--workspace", "--dry-run", "--no-verify", "--allow-dirty", "--quiet"];
    log.run(repo.cargo(&arguments), PACKAGES_LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

/// The numbers of tests, summed over all `test result:` lines of a cargo test run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Count {
    fn read(log: &str) -> Count {
        let mut count = Count::default();
        for line in log.lines() {
            let Some(result) = line.strip_prefix("test result: ") else {
                continue;
            };
            let mut before = "";
            for word in result.split([' ', ';']) {
                let number = || before.parse().unwrap_or(0);
                match word {
                    "passed" => count.passed += number(),
                    "failed" => count.failed += number(),
                    "ignored" => count.ignored += number(),
                    _ => {}
                }
                before = word;
            }
        }
        count
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} tests", self.passed + self.failed)?;
        if self.failed > 0 {
            write!(formatter, ", {} failed", self.failed)?;
        }
        if self.ignored > 0 {
            write!(formatter, ", {} ignored", self.ignored)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Plan, steps};

    #[test]
    fn the_results_of_all_test_programs_are_summed() {
        let log = "\
running 3 tests
test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
noise: 5 passed
test result: FAILED. 40 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 1.02s
";
        let count = Count::read(log);
        assert_eq!(count, Count { passed: 43, failed: 2, ignored: 1 });
        assert_eq!(count.to_string(), "45 tests, 2 failed, 1 ignored");
        assert_eq!(Count::read("error: could not compile").passed, 0);
    }

    #[test]
    fn a_step_comes_after_the_step_it_needs() {
        for plan in [Plan::Test, Plan::Ci] {
            let steps = steps(plan);
            for (index, step) in steps.iter().enumerate() {
                let Some(needed) = step.needs else { continue };
                assert!(steps.iter().take(index).any(|earlier| earlier.name == needed), "{}", step.name);
            }
        }
    }
}

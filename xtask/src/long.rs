//! `cargo xtask long`: checks that take hours, as steps with logs and a table like those of `cargo xtask test`.

use std::time::Duration;

use crate::fuzz;
use crate::log::Log;
use crate::long_run::Options;
use crate::mutations;
use crate::repo::{BUILD_LIMIT, Repo};
use crate::sim;
use crate::step::{Outcome, Step, run_all};

/// loom with two emitters and three thread switches took six minutes on two busy cores.
const LANE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// The longest tool runs for the time of `--seconds`, by default for ten minutes.
const TOOL_LIMIT: Duration = Duration::from_secs(10 * 60 * 60);

fn steps() -> Vec<Step> {
    vec![
        Step { name: "long-lane", needs: None, run: lane },
        Step {
            name: "long-fuzz",
            needs: None,
            run: |repo: &Repo, log: &mut Log| -> Result<Outcome, String> {
                fuzz::long(repo, log, &Options::of_process()?)
            },
        },
        Step { name: "long-healthy", needs: None, run: healthy },
        Step { name: "long-far", needs: None, run: far },
        Step { name: "long-rooms", needs: None, run: rooms },
        Step {
            name: "long-sim",
            needs: None,
            run: |repo: &Repo, log: &mut Log| -> Result<Outcome, String> {
                sim::long(repo, log, &Options::of_process()?)
            },
        },
        Step { name: "long-mutations", needs: None, run: mutations::long },
        Step { name: "long-programs", needs: None, run: programs },
        Step { name: "long-pace", needs: Some("long-programs"), run: |repo, log| pace(repo, log) },
        Step {
            name: "long-drip",
            needs: Some("long-programs"),
            run: |repo, log| tool(repo, log, &["readers", "drip", "roomcast"]),
        },
        Step {
            name: "long-stop",
            needs: Some("long-programs"),
            run: |repo, log| tool(repo, log, &["readers", "stop", "roomcast"]),
        },
        Step { name: "long-hostile", needs: Some("long-programs"), run: |repo, log| tool(repo, log, &["hostile"]) },
        Step {
            name: "long-busy",
            needs: Some("long-programs"),
            run: |repo, log| tool(repo, log, &["busy", "roomcast", "5"]),
        },
    ]
}

/// Searches the write lane's states with more packets, and runs loom with more thread switches.
fn lane(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let mut command = repo.cargo(&["test", "--release", "--package", "roomcast-engine", "--lib", "--", "--nocapture"]);
    command.args(["lane::search", "outlet::schedules"]).env("ROOMCAST_LONG", "1");
    log.run(command, LANE_LIMIT)?;
    let states = log
        .text()
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("states of the lane that were searched: ").map(str::to_owned));
    Ok(Outcome::Passed(format!("{} states", states.unwrap_or_default())))
}

/// Three servers over a healthy Redis, which must not count a loss. Runs for the time of `--seconds`, by default for ten minutes.
fn healthy(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let seconds = Options::of_process()?.time.map_or(600, |time| time.as_secs()).to_string();
    let mut cargo = repo.cargo(&["run", "--release", "--package", "roomcast-redis", "--example", "healthy", "--"]);
    cargo.arg(seconds);
    log.run(cargo, TOOL_LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

/// A Redis that is 3 ms away, first undisturbed, then with a reset of its connections.
fn far(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    for how in [&[][..], &["60000", "10", "cut"]] {
        let mut cargo =
            repo.cargo(&["run", "--release", "--package", "roomcast-redis", "--example", "far_redis", "--"]);
        cargo.args(how);
        log.run(cargo, TOOL_LIMIT)?;
    }
    Ok(Outcome::Passed(String::new()))
}

/// Eight servers with members in 5 % of the rooms: how much of all that is published each server receives, for each way to subscribe.
fn rooms(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let example = ["run", "--release", "--package", "roomcast-redis", "--example", "exact_rooms"];
    log.run(repo.cargo(&example), TOOL_LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

/// Builds the conformance server and the tools that connect to it.
fn programs(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let conformance = ["build", "--release", "--package", "roomcast", "--bin", "roomcast", "--example", "conformance"];
    log.run(repo.cargo(&conformance), BUILD_LIMIT)?;
    log.run(repo.cargo(&["build", "--release", "--package", "roomcast-benches", "--bins"]), BUILD_LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

/// Clients with random pauses that still read fast enough. Runs for the time of `--seconds`, by default for ten minutes.
fn pace(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let seconds = Options::of_process()?.time.map_or(600, |time| time.as_secs()).to_string();
    tool(repo, log, &["readers", "pace", "roomcast", "100", &seconds])
}

/// Runs a tool of the benches. It prints `ok` as its last line and exits with 0 if all went well.
fn tool(repo: &Repo, log: &mut Log, command: &[&str]) -> Result<Outcome, String> {
    let mut cargo = repo.cargo(&["run", "--release", "--package", "roomcast-benches", "--bin"]);
    if let [name, arguments @ ..] = command {
        cargo.arg(name).arg("--").args(arguments);
    }
    log.run(cargo, TOOL_LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

pub(crate) fn command(repo: &Repo, arguments: &[String]) -> Result<(), String> {
    let chosen = chosen(steps(), &Options::read(arguments)?)?;
    run_all(repo, &chosen)
}

/// The steps to run. `--only` takes a step's name with or without `long-`. The names have that prefix so that their logs do not overwrite
/// those of `cargo xtask test`.
fn chosen(steps: Vec<Step>, options: &Options) -> Result<Vec<Step>, String> {
    let Some(only) = &options.only else { return Ok(steps) };
    let names: Vec<&str> = steps.iter().map(|step| step.name.trim_start_matches("long-")).collect();
    let missing = format!("there is no step `{only}`; the steps are {}", names.join(", "));
    let found: Vec<Step> = steps
        .into_iter()
        .filter(|step| step.name.trim_start_matches("long-") == only.trim_start_matches("long-"))
        .collect();
    if found.is_empty() { Err(missing) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::{Options, chosen, steps};
    use crate::long_run::LIMIT;
    use std::time::Duration;

    fn read(arguments: &[&str]) -> Result<Options, String> {
        Options::read(&arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_read() {
        assert_eq!(read(&[]), Ok(Options { only: None, time: None, limit: LIMIT }));
        let given = Options { only: Some("fuzz".into()), time: Some(Duration::from_secs(60)), limit: LIMIT };
        assert_eq!(read(&["--seconds", "60", "--only", "fuzz"]), Ok(given));
        for wrong in [&["--seconds"][..], &["--seconds", "x"], &["--every", "x"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_step_is_chosen_by_its_name_with_or_without_prefix() {
        let only = |name: &str| Options { only: Some(name.into()), time: None, limit: LIMIT };
        for step in steps() {
            let short = step.name.trim_start_matches("long-");
            for name in [step.name, short] {
                let found = chosen(steps(), &only(name)).unwrap();
                assert!(matches!(found.as_slice(), [one] if one.name == step.name), "{name}");
            }
        }
        let error = chosen(steps(), &only("nothing")).err().unwrap();
        assert!(error.contains("the steps are lane, fuzz"), "{error}");
    }
}

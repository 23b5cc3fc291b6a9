//! `cargo xtask long`: what is worth hours and not minutes, as steps with logs and a table like the test run's.

use std::time::Duration;

use crate::fuzz;
use crate::log::Log;
use crate::long_run::Options;
use crate::mutations;
use crate::repo::{BUILD_LIMIT, Repo};
use crate::sim;
use crate::step::{Outcome, Step, run_all};

/// Two emitters under loom with three switches of threads took six minutes on two busy cores.
const LANE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// The longest of the tools takes as long as it is told, ten minutes if nobody does.
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
        Step {
            name: "long-busy",
            needs: Some("long-programs"),
            run: |repo, log| tool(repo, log, &["busy", "roomcast", "5"]),
        },
    ]
}

/// The search of the write lane with more packets, and loom with more switches of threads.
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

/// Three servers over a Redis that is well, which may count no loss: ten minutes, or the time that is given.
fn healthy(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let seconds = Options::of_process()?.time.map_or(600, |time| time.as_secs()).to_string();
    let mut cargo = repo.cargo(&["run", "--release", "--package", "roomcast-redis", "--example", "healthy", "--"]);
    cargo.arg(seconds);
    log.run(cargo, TOOL_LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

/// A Redis that is 3 ms away, calm and with a cut.
fn far(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    for how in [&[][..], &["60000", "10", "cut"]] {
        let mut cargo =
            repo.cargo(&["run", "--release", "--package", "roomcast-redis", "--example", "far_redis", "--"]);
        cargo.args(how);
        log.run(cargo, TOOL_LIMIT)?;
    }
    Ok(Outcome::Passed(String::new()))
}

/// Eight servers with members in 5 % of the rooms: what each reads of all that is published, by the way in which it hears.
fn rooms(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let example = ["run", "--release", "--package", "roomcast-redis", "--example", "exact_rooms"];
    log.run(repo.cargo(&example), TOOL_LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

/// The conformance server, and the tools that talk to it.
fn programs(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let conformance = ["build", "--release", "--package", "roomcast", "--example", "conformance"];
    log.run(repo.cargo(&conformance), BUILD_LIMIT)?;
    log.run(repo.cargo(&["build", "--release", "--package", "roomcast-benches", "--bins"]), BUILD_LIMIT)?;
    Ok(Outcome::Passed(String::new()))
}

/// Clients that keep the pace, with random pauses: ten minutes, or the time that is given.
fn pace(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let seconds = Options::of_process()?.time.map_or(600, |time| time.as_secs()).to_string();
    tool(repo, log, &["readers", "pace", "roomcast", "100", &seconds])
}

/// A tool of the benches; its last line says `ok`.
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

/// The steps to run. A step is called by its name with or without `long-`, which its log has so that it does not
/// overwrite that of the test run.
fn chosen(steps: Vec<Step>, options: &Options) -> Result<Vec<Step>, String> {
    let Some(only) = &options.only else { return Ok(steps) };
    let names: Vec<&str> = steps.iter().map(|step| step.name.trim_start_matches("long-")).collect();
    let missing = format!("there is no long step `{only}`; there are {}", names.join(", "));
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
    fn one_step_is_chosen_by_its_name() {
        let only = |name: &str| Options { only: Some(name.into()), time: None, limit: LIMIT };
        for step in steps() {
            let short = step.name.trim_start_matches("long-");
            for name in [step.name, short] {
                let found = chosen(steps(), &only(name)).unwrap();
                assert!(matches!(found.as_slice(), [one] if one.name == step.name), "{name}");
            }
        }
        let error = chosen(steps(), &only("nothing")).err().unwrap();
        assert!(error.contains("there are lane, fuzz"), "{error}");
    }
}

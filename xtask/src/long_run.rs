//! A long step: how long it may take, and how a program that runs until then is started.

use std::time::Duration;

use crate::log::Log;
use crate::repo::{BUILD_LIMIT, Repo};
use crate::step::Outcome;

/// When nobody says how long: a night.
pub(crate) const LIMIT: Duration = Duration::from_secs(10 * 60 * 60);

/// The options of `cargo xtask long`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The one step to run.
    pub(crate) only: Option<String>,
    /// Time for each step; without it a step ends by itself.
    pub(crate) time: Option<Duration>,
    /// A step is ended after it, whatever it does.
    pub(crate) limit: Duration,
}

impl Options {
    pub(crate) fn read(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options { only: None, time: None, limit: LIMIT };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--only" => options.only = Some(value.clone()),
                "--seconds" => {
                    let seconds = value.parse().map_err(|_| format!("--seconds: {value} is no number"))?;
                    options.time = Some(Duration::from_secs(seconds));
                }
                _ => return Err(format!("there is no option {name}; there are --only and --seconds")),
            }
        }
        Ok(options)
    }

    /// The options of this process, for a step, which is a plain function.
    pub(crate) fn of_process() -> Result<Options, String> {
        let arguments: Vec<String> = std::env::args().skip(2).collect();
        Options::read(&arguments)
    }
}

/// Runs a program of the workspace that is built to run for long, until it is done or the step's time is up. The outcome is the last
/// line that has `total` in it.
pub(crate) fn program(
    repo: &Repo,
    log: &mut Log,
    options: &Options,
    [package, name]: [&str; 2],
    arguments: &[&str],
    total: &str,
) -> Result<Outcome, String> {
    log.run(repo.cargo(&["build", "--profile", "fuzz", "--quiet", "--package", package]), BUILD_LIMIT)?;
    let mut command = repo.command(repo.target.join("fuzz").join(name), arguments);
    let mut limit = options.limit;
    if let Some(time) = options.time {
        command.args(["--seconds", &time.as_secs().to_string()]);
        // What is under way when the time is up comes to its end, and a failure is cut down.
        limit = time + Duration::from_secs(15 * 60);
    }
    let result = log.run(command, limit);
    let text = log.text();
    let total = text.lines().rfind(|line| line.contains(total)).unwrap_or("it did not come to an end");
    result.map_err(|error| format!("{total}: {error}"))?;
    Ok(Outcome::Passed(total.to_owned()))
}

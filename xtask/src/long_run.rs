//! The options of `cargo xtask long`, and how its steps run open-ended programs.

use std::time::Duration;

use crate::log::Log;
use crate::repo::{BUILD_LIMIT, Repo};
use crate::step::Outcome;

/// The limit of a step without `--seconds`: a night.
pub(crate) const LIMIT: Duration = Duration::from_secs(10 * 60 * 60);

/// The options of `cargo xtask long`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The only step to run. `None` runs all.
    pub(crate) only: Option<String>,
    /// How long each open-ended step runs. `None` leaves it at the step's default.
    pub(crate) time: Option<Duration>,
    /// A step that takes longer is killed.
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
                    let seconds = value.parse().map_err(|_| format!("--seconds: `{value}` is not a whole number"))?;
                    options.time = Some(Duration::from_secs(seconds));
                }
                _ => return Err(format!("there is no option `{name}`; the options are --only and --seconds")),
            }
        }
        Ok(options)
    }

    /// Reads the options from the arguments of this process. A step is a plain function, to which they cannot be passed.
    pub(crate) fn of_process() -> Result<Options, String> {
        let arguments: Vec<String> = std::env::args().skip(2).collect();
        Options::read(&arguments)
    }
}

/// Builds a program of the workspace with the profile `fuzz` and runs it until it is done or the step's time is up. The outcome is the last
/// line of its output that contains `total`.
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
        // When the time is up, the program still finishes what it has begun and shrinks a failure.
        limit = time + Duration::from_secs(15 * 60);
    }
    let result = log.run(command, limit);
    let text = log.text();
    let total = text.lines().rfind(|line| line.contains(total)).unwrap_or("the program did not finish");
    result.map_err(|error| format!("{total}: {error}"))?;
    Ok(Outcome::Passed(total.to_owned()))
}

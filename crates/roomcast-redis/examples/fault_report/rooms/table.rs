//! [`Run`]: the figures of one run; and the summary of a fault's runs in one row.

use super::direction::Direction;
use crate::fault_stage::PATIENCE;
use std::fmt;

pub(super) const HEAD: &str = "\
| fault | dialect | emitted | expected | got | lost, in each run | of these counted | not countable | skipped | duplicates dropped | twice | out of order | oldest (ms) | resumed after (ms) | ours lost at Node | Node's lost at ours | resumed at Node (ms) |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

pub(super) struct Run {
    pub(super) directions: Vec<Direction>,
    /// Duplicates that the roomcast servers dropped.
    pub(super) doubles: u64,
    /// Contradictions beside those in the directions.
    pub(super) strange: Vec<String>,
}

impl Run {
    fn ours(&self) -> impl Iterator<Item = &Direction> {
        self.directions.iter().filter(|direction| direction.among_ours())
    }

    fn nodes(&self) -> impl Iterator<Item = &Direction> {
        self.directions.iter().filter(|direction| !direction.among_ours())
    }

    /// When the last direction resumed.
    fn resumed<'a>(directions: impl Iterator<Item = &'a Direction>) -> Option<u64> {
        directions.map(|direction| direction.resumed).try_fold(0, |last, resumed| Some(last.max(resumed?)))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.ours().all(Direction::is_counted);
        write!(f, "{}", if counted { "lost = counted" } else { "LOST AND COUNTED DIFFER" })?;
        for direction in &self.directions {
            write!(
                f,
                "; {} to {}: {} of {} lost",
                direction.publisher, direction.receiver, direction.lost, direction.emitted
            )?;
            if direction.among_ours() {
                write!(f, " ({} expected, {} got, {} counted", direction.expected, direction.got, direction.counted)?;
                write!(f, ", {} not countable, {} skipped)", direction.uncountable, direction.passed_over)?;
            }
        }
        let strange = self.directions.iter().flat_map(|direction| {
            direction.strange.iter().map(|what| format!("{} to {}: {what}", direction.publisher, direction.receiver))
        });
        for what in strange.chain(self.strange.iter().cloned()) {
            write!(f, "\n  STRANGE: {what}")?;
        }
        Ok(())
    }
}

/// The columns after the first two.
pub(super) fn summed_up(runs: &[Run]) -> String {
    let ours = || runs.iter().flat_map(Run::ours);
    let sum = |number: fn(&Direction) -> u64| ours().map(number).sum::<u64>();
    let each =
        |number: fn(&Run) -> u64| runs.iter().map(number).map(|it| it.to_string()).collect::<Vec<_>>().join(", ");
    let counted = if ours().all(Direction::is_counted) {
        "all".to_owned()
    } else {
        each(|run| run.ours().map(|direction| direction.counted).sum())
    };
    let oldest = ours().map(|direction| direction.oldest).max().unwrap_or_default();
    let resumed = |of: fn(&Run) -> Option<u64>| {
        let worst = runs.iter().filter_map(of).max().map(|worst| format!("{}", worst / 1_000));
        let never = runs.iter().filter(|run| of(run).is_none()).count();
        let never = (never > 0).then(|| format!("not within {} s in {never} of {}", PATIENCE.as_secs(), runs.len()));
        worst.into_iter().chain(never).collect::<Vec<_>>().join("; ")
    };
    format!(
        "| {} | {} | {} | {} | {counted} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        sum(|direction| direction.emitted),
        sum(|direction| direction.expected),
        sum(|direction| direction.got),
        each(|run| run.ours().map(|direction| direction.lost).sum()),
        each(|run| run.ours().map(|direction| direction.uncountable).sum()),
        sum(|direction| direction.passed_over),
        runs.iter().map(|run| run.doubles).sum::<u64>(),
        sum(|direction| direction.twice),
        sum(|direction| direction.disorder),
        oldest / 1_000,
        resumed(|run| Run::resumed(run.ours())),
        each(|run| run.nodes().filter(|direction| direction.receiver == "n").map(|direction| direction.lost).sum()),
        each(|run| run.nodes().filter(|direction| direction.publisher == "n").map(|direction| direction.lost).sum()),
        resumed(|run| Run::resumed(run.nodes())),
    )
}

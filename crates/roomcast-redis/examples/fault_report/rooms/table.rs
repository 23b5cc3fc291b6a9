//! [`Run`]: what was seen in a run; and how the runs of a fault are summed up in a row.

use super::way::Way;
use crate::fault_stage::PATIENCE;
use std::fmt;

pub(super) const HEAD: &str = "\
| fault | dialect | emitted | expected | got | lost, in each run | of these counted | not countable | passed over | kept back | twice | out of order | oldest (ms) | resumed after (ms) | ours lost at Node | Node's lost at ours | resumed at Node (ms) |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

pub(super) struct Run {
    pub(super) ways: Vec<Way>,
    /// Kept back by the roomcast servers.
    pub(super) doubles: u64,
    /// What must not be, beside what the ways tell.
    pub(super) strange: Vec<String>,
}

impl Run {
    fn ours(&self) -> impl Iterator<Item = &Way> {
        self.ways.iter().filter(|way| way.among_ours())
    }

    fn nodes(&self) -> impl Iterator<Item = &Way> {
        self.ways.iter().filter(|way| !way.among_ours())
    }

    /// The last one of the ways to resume.
    fn resumed<'a>(ways: impl Iterator<Item = &'a Way>) -> Option<u64> {
        ways.map(|way| way.resumed).try_fold(0, |last, resumed| Some(last.max(resumed?)))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = self.ours().all(Way::is_counted);
        write!(f, "{}", if counted { "lost = counted" } else { "LOST AND COUNTED DIFFER" })?;
        for way in &self.ways {
            write!(f, "; {} to {}: {} of {} lost", way.publisher, way.receiver, way.lost, way.emitted)?;
            if way.among_ours() {
                write!(f, " ({} expected, {} got, {} counted", way.expected, way.got, way.counted)?;
                write!(f, ", {} not countable, {} passed over)", way.uncountable, way.passed_over)?;
            }
        }
        let strange = self
            .ways
            .iter()
            .flat_map(|way| way.strange.iter().map(|what| format!("{} to {}: {what}", way.publisher, way.receiver)));
        for what in strange.chain(self.strange.iter().cloned()) {
            write!(f, "\n  STRANGE: {what}")?;
        }
        Ok(())
    }
}

/// The columns after the first two.
pub(super) fn summed_up(runs: &[Run]) -> String {
    let ours = || runs.iter().flat_map(Run::ours);
    let sum = |number: fn(&Way) -> u64| ours().map(number).sum::<u64>();
    let each =
        |number: fn(&Run) -> u64| runs.iter().map(number).map(|it| it.to_string()).collect::<Vec<_>>().join(", ");
    let counted = if ours().all(Way::is_counted) {
        "all".to_owned()
    } else {
        each(|run| run.ours().map(|way| way.counted).sum())
    };
    let oldest = ours().map(|way| way.oldest).max().unwrap_or_default();
    let resumed = |of: fn(&Run) -> Option<u64>| {
        let worst = runs.iter().filter_map(of).max().map(|worst| format!("{}", worst / 1_000));
        let never = runs.iter().filter(|run| of(run).is_none()).count();
        let never = (never > 0).then(|| format!("not within {} s in {never} of {}", PATIENCE.as_secs(), runs.len()));
        worst.into_iter().chain(never).collect::<Vec<_>>().join("; ")
    };
    format!(
        "| {} | {} | {} | {} | {counted} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        sum(|way| way.emitted),
        sum(|way| way.expected),
        sum(|way| way.got),
        each(|run| run.ours().map(|way| way.lost).sum()),
        each(|run| run.ours().map(|way| way.uncountable).sum()),
        sum(|way| way.passed_over),
        runs.iter().map(|run| run.doubles).sum::<u64>(),
        sum(|way| way.twice),
        sum(|way| way.disorder),
        oldest / 1_000,
        resumed(|run| Run::resumed(run.ours())),
        each(|run| run.nodes().filter(|way| way.receiver == "n").map(|way| way.lost).sum()),
        each(|run| run.nodes().filter(|way| way.publisher == "n").map(|way| way.lost).sum()),
        resumed(|run| Run::resumed(run.nodes())),
    )
}

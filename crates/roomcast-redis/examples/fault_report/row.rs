//! [`Row`]: the figures of one direction, from a server to another of either kind; and the summary of several runs.

use crate::fault_stage::{Figures, PATIENCE};
use std::time::Duration;

pub(crate) const HEAD: &str = "\
| fault | servers | emitted | lost | counted | duplicates | out of order | oldest on arrival (ms) | resumed after, worst (ms) | local p99, worst (ms) | local max (ms) |
|---|---|---|---|---|---|---|---|---|---|---|";

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) emitted: u64,
    pub(crate) lost: u64,
    /// The losses that the receiver has counted; a Node server does not count.
    pub(crate) counted: Option<u64>,
    /// With roomcast they arrived over Redis and were dropped; with Node the socket got them.
    pub(crate) doubles: u64,
    /// Messages that arrived after a later one.
    pub(crate) disorder: u64,
    pub(crate) oldest: Duration,
    /// `None` if not within [`PATIENCE`].
    pub(crate) resumed: Option<Duration>,
    pub(crate) local_p99: Duration,
    pub(crate) local_max: Duration,
    /// The last output of a process that has ended by itself.
    pub(crate) died: Option<String>,
}

impl From<Figures> for Row {
    fn from(it: Figures) -> Self {
        // If messages had arrived out of order, or twice at a socket, the talk would have panicked.
        Self {
            emitted: it.emitted,
            lost: it.lost,
            counted: Some(it.counted),
            doubles: it.doubles,
            disorder: 0,
            oldest: it.oldest,
            resumed: Some(it.resumed),
            local_p99: it.local_p99,
            local_max: it.local_max,
            died: None,
        }
    }
}

/// The columns after the first two.
pub(crate) fn summed_up(rows: &[Row]) -> String {
    let each = |number: fn(&Row) -> String| rows.iter().map(number).collect::<Vec<_>>().join(", ");
    let sum = |number: fn(&Row) -> u64| rows.iter().map(number).sum::<u64>();
    let worst = |time: fn(&Row) -> Duration| rows.iter().map(time).max().unwrap_or_default().as_secs_f64() * 1e3;
    let counted = if rows.iter().all(|it| it.counted.is_none()) {
        "–".to_owned()
    } else if rows.iter().all(|it| it.counted == Some(it.lost)) {
        "all".to_owned()
    } else {
        each(|it| it.counted.unwrap_or_default().to_string())
    };
    // Both rows of a run have the same value.
    let (runs, never) = (rows.len() / 2, rows.iter().filter(|it| it.resumed.is_none()).count() / 2);
    let mut resumed = Vec::new();
    if let Some(worst) = rows.iter().filter_map(|it| it.resumed).max() {
        resumed.push(format!("{:.0}", worst.as_secs_f64() * 1e3));
    }
    let died = rows.iter().filter(|it| it.died.is_some()).count();
    if died > 0 {
        resumed.push(format!("{died} of {} processes died", rows.len()));
    } else if never > 0 {
        resumed.push(format!("not within {} s in {never} of {runs}", PATIENCE.as_secs()));
    }
    format!(
        "| {} | {} | {counted} | {} | {} | {:.0} | {} | {:.2} | {:.2} |",
        sum(|it| it.emitted),
        each(|it| it.lost.to_string()),
        sum(|it| it.doubles),
        sum(|it| it.disorder),
        worst(|it| it.oldest),
        resumed.join("; "),
        worst(|it| it.local_p99),
        worst(|it| it.local_max)
    )
}

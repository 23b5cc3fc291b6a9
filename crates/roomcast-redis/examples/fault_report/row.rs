//! [`Row`]: what was seen of one way from a server to another, whoever made the servers; and how runs are summed up.

use crate::fault_stage::{Figures, PATIENCE};
use std::time::Duration;

pub(crate) const HEAD: &str = "\
| fault | servers | emitted | lost | counted | doubles | out of order | oldest that came (ms) | resumed after, worst (ms) | local p99, worst (ms) | local max (ms) |
|---|---|---|---|---|---|---|---|---|---|---|";

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) emitted: u64,
    pub(crate) lost: u64,
    /// What the receiver knows to be lost; a Node server counts nothing.
    pub(crate) counted: Option<u64>,
    /// At roomcast they came over Redis and were kept back; at Node the socket got them.
    pub(crate) doubles: u64,
    /// Messages that came after a later one.
    pub(crate) disorder: u64,
    pub(crate) oldest: Duration,
    /// None: not within [`PATIENCE`].
    pub(crate) resumed: Option<Duration>,
    pub(crate) local_p99: Duration,
    pub(crate) local_max: Duration,
    /// The last words of a process that has ended by itself.
    pub(crate) died: Option<String>,
}

impl From<Figures> for Row {
    fn from(it: Figures) -> Self {
        // Whatever order they came in, or if a socket got one twice, the talk would have ended in a panic.
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

/// The columns after the first two, and a line for each process that died.
pub(crate) fn summed_up(rows: &[Row]) -> String {
    let each = |number: fn(&Row) -> String| rows.iter().map(number).collect::<Vec<_>>().join(", ");
    let sum = |number: fn(&Row) -> u64| rows.iter().map(number).sum::<u64>();
    let worst = |time: fn(&Row) -> Duration| rows.iter().map(time).max().unwrap_or_default().as_secs_f64() * 1e3;
    let counted = if rows.iter().all(|it| it.counted == Some(it.lost)) {
        "all".to_owned()
    } else {
        each(|it| it.counted.map_or("–".to_owned(), |counted| counted.to_string()))
    };
    // Both rows of a run have the same.
    let never = rows.iter().filter(|it| it.resumed.is_none()).count() / 2;
    let resumed = match (never, rows.iter().filter_map(|it| it.resumed).max()) {
        (0, Some(worst)) => format!("{:.0}", worst.as_secs_f64() * 1e3),
        (_, None) => format!("never in {} s", PATIENCE.as_secs()),
        (_, Some(worst)) => {
            format!(
                "{:.0}; never in {} s: {never} of {}",
                worst.as_secs_f64() * 1e3,
                PATIENCE.as_secs(),
                rows.len() / 2
            )
        }
    };
    let mut text = format!(
        "| {} | {} | {counted} | {} | {} | {:.0} | {resumed} | {:.2} | {:.2} |",
        sum(|it| it.emitted),
        each(|it| it.lost.to_string()),
        sum(|it| it.doubles),
        sum(|it| it.disorder),
        worst(|it| it.oldest),
        worst(|it| it.local_p99),
        worst(|it| it.local_max)
    );
    for words in rows.iter().filter_map(|it| it.died.as_ref()) {
        text += &format!("\n<!-- a process died: {words} -->");
    }
    text
}

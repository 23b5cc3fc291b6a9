//! [`Table`]: the file of instruction counts, and the comparison of its counts with new ones.

use std::fmt;

/// A count that is more than this many per cent above its baseline fails. One that is as much below asks for a new baseline.
const MARGIN: u64 = 5;

const HEAD: &str = "\
# Instructions per operation, counted by callgrind. Written by `cargo xtask instructions --accept`, checked by
# `cargo xtask instructions` (docs/benchmarks.md). Counts hold for one compiler, kind of processor and C library.
";

/// A file of baselines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) built_by: String,
    pub(super) counts: Vec<Count>,
}

/// The instructions of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) name: String,
    pub(super) instructions: u64,
}

impl Table {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut table = Self { built_by: String::new(), counts: Vec::new() };
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', '[']) {
                continue;
            }
            let (name, value) =
                line.split_once('=').ok_or_else(|| format!("`{line}` is not of the form `name = value`"))?;
            let (name, value) = (name.trim(), value.trim());
            if name == "built_by" {
                table.built_by = value.trim_matches('"').to_owned();
                continue;
            }
            let instructions = value.replace('_', "").parse().map_err(|_| format!("`{value}` is not a count"))?;
            table.counts.push(Count { name: name.to_owned(), instructions });
        }
        Ok(table)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{HEAD}built_by = \"{}\"\n\n[instructions]", self.built_by)?;
        self.counts.iter().try_for_each(|Count { name, instructions }| writeln!(formatter, "{name} = {instructions}"))
    }
}

/// The baseline and the new count of each operation, in the order of the new counts. Operations that no longer exist come last.
#[derive(Debug)]
pub(super) struct Comparison(Vec<Row>);

#[derive(Debug)]
struct Row {
    name: String,
    baseline: Option<u64>,
    now: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Kept,
    Better,
    Worse,
    New,
    Gone,
}

pub(super) fn compare(baseline: &[Count], now: &[Count]) -> Comparison {
    let find = |counts: &[Count], name: &str| counts.iter().find(|count| count.name == name).map(|it| it.instructions);
    let gone = baseline.iter().filter(|count| find(now, &count.name).is_none());
    let row = |count: &Count| Row {
        name: count.name.clone(),
        baseline: find(baseline, &count.name),
        now: find(now, &count.name),
    };
    Comparison(now.iter().chain(gone).map(row).collect())
}

impl Row {
    fn change(&self) -> Change {
        let (baseline, now) = match (self.baseline, self.now) {
            (Some(baseline), Some(now)) => (u128::from(baseline) * 100, u128::from(now) * 100),
            (None, _) => return Change::New,
            (_, None) => return Change::Gone,
        };
        // In whole numbers, so that a difference of exactly the margin is allowed.
        let margin = baseline / 100 * u128::from(MARGIN);
        if now > baseline + margin {
            Change::Worse
        } else if now + margin < baseline {
            Change::Better
        } else {
            Change::Kept
        }
    }
}

impl Comparison {
    /// The note for the table of steps, or the error.
    pub(super) fn verdict(&self) -> Result<String, String> {
        let names = |wanted: &[Change]| {
            let rows = self.0.iter().filter(|row| wanted.contains(&row.change()));
            rows.map(|row| row.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let (worse, unknown) = (names(&[Change::Worse]), names(&[Change::New, Change::Gone]));
        let accept = "if this is intended, run cargo xtask instructions --accept";
        let mut wrong = Vec::new();
        if !worse.is_empty() {
            wrong.push(format!("more than {MARGIN} % above the baseline: {worse}"));
        }
        if !unknown.is_empty() {
            wrong.push(format!("without a baseline, or only in the baselines: {unknown}"));
        }
        if !wrong.is_empty() {
            return Err(format!("{}; {accept}", wrong.join("; ")));
        }
        let better = names(&[Change::Better]);
        if better.is_empty() {
            return Ok(format!("{} counts within {MARGIN} %", self.0.len()));
        }
        Ok(format!("warning: more than {MARGIN} % better: {better}; {accept}, to keep the gain"))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.name.len()).max().unwrap_or_default();
        write!(formatter, "{:<width$} {:>10} {:>10} {:>9}", "instructions of", "now", "baseline", "change")?;
        for row in &self.0 {
            let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
            let change = match (row.baseline, row.now) {
                (Some(baseline), Some(now)) if baseline > 0 => {
                    format!("{:+.2} %", (now as f64 / baseline as f64 - 1.0) * 100.0)
                }
                _ => "-".to_owned(),
            };
            let (now, baseline) = (number(row.now), number(row.baseline));
            write!(formatter, "\n{:<width$} {now:>10} {baseline:>10} {change:>9}", row.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, Count, Row, Table, compare};

    fn counts(list: &[(&str, u64)]) -> Vec<Count> {
        list.iter().map(|(name, instructions)| Count { name: (*name).into(), instructions: *instructions }).collect()
    }

    #[track_caller]
    fn check(baseline: u64, now: u64, expected: Change) {
        assert_eq!(Row { name: "x".into(), baseline: Some(baseline), now: Some(now) }.change(), expected);
    }

    #[test]
    fn five_per_cent_is_within_the_margin_and_one_instruction_more_is_not() {
        check(1_000, 1_000, Change::Kept);
        check(1_000, 1_050, Change::Kept);
        check(1_000, 1_051, Change::Worse);
        check(1_000, 950, Change::Kept);
        check(1_000, 949, Change::Better);
        // 5 % of 30 is one and a half.
        check(30, 31, Change::Kept);
        check(30, 32, Change::Worse);
        check(0, 0, Change::Kept);
        check(0, 1, Change::Worse);
        check(u64::MAX, u64::MAX, Change::Kept);
    }

    #[test]
    fn only_worse_and_unknown_counts_fail() {
        let verdict = |now: &[(&str, u64)]| compare(&counts(&[("a", 100), ("b", 100)]), &counts(now)).verdict();
        assert_eq!(verdict(&[("a", 105), ("b", 95)]).as_deref(), Ok("2 counts within 5 %"));
        assert!(verdict(&[("a", 100), ("b", 94)]).unwrap().starts_with("warning: more than 5 % better: b;"));
        let worse = verdict(&[("a", 106), ("b", 1)]).unwrap_err();
        assert!(worse.starts_with("more than 5 % above the baseline: a;") && worse.ends_with("--accept"), "{worse}");
        assert!(verdict(&[("a", 100)]).unwrap_err().contains("in the baselines: b;"));
        assert!(verdict(&[("a", 100), ("b", 100), ("c", 1)]).unwrap_err().contains("in the baselines: c;"));
    }

    #[test]
    fn the_comparison_is_printed_as_a_table() {
        let text = compare(&counts(&[("a", 200), ("old", 3)]), &counts(&[("a", 201), ("b", 7)])).to_string();
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let expected = [vec!["a", "201", "200", "+0.50", "%"], vec!["b", "7", "-", "-"], vec!["old", "-", "3", "-"]];
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_written_file_is_read_back() {
        let table = Table { built_by: "rustc 1.2.3 (a b), x86_64, glibc 2.36".into(), counts: counts(&[("a", 12)]) };
        assert_eq!(Table::parse(&table.to_string()), Ok(table));
        assert!(Table::parse("a = b").unwrap_err().contains("`b` is not a count"));
        assert!(Table::parse("a").is_err());
    }
}

//! Runs named steps one after another. Prints a line for each, and a table and a closing line at the end; a step's output goes to a log.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::log::Log;
use crate::repo::Repo;

/// How many of the last lines of a failed step's log are shown: enough for a compiler error or a panic with its backtrace.
const TAIL_LINES: usize = 60;

/// How many lines about errors are shown from the part of the log above those (`test x ... FAILED`, `error: ...`).
const ERROR_LINES: usize = 20;

pub(crate) struct Step {
    /// Also the name of the log file.
    pub(crate) name: &'static str,
    /// The step that builds what this one uses. If it has failed, this step is not run, because it would test an old build.
    pub(crate) needs: Option<&'static str>,
    pub(crate) run: fn(&Repo, &mut Log) -> Result<Outcome, String>,
}

/// The result of a step that has not failed. The text goes into the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed(String),
    Skipped(String),
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    time: Duration,
    result: Result<Outcome, String>,
}

/// Runs every step, even after a failed one. The last line printed is `N passed, N failed`, with `, N skipped` if steps were skipped. The
/// error is an empty text, because everything has been printed.
pub(crate) fn run_all(repo: &Repo, steps: &[Step]) -> Result<(), String> {
    let started = Instant::now();
    let mut rows: Vec<Row> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        print!("[{:>2}/{}] {:<14}", index + 1, steps.len(), step.name);
        // An error is ignored, because this line only shows progress.
        drop(std::io::stdout().flush());
        let row = run_one(repo, step, &rows);
        println!("{:<8}{:>7.1} s  {}", label(&row.result), row.time.as_secs_f64(), first_line(&row.result));
        if row.result.is_err() {
            show_failure(repo, &row);
        }
        rows.push(row);
    }
    println!("\n{}", table(&rows));
    println!("total {:.1} s; logs in {}", started.elapsed().as_secs_f64(), repo.short(&repo.logs()).display());
    println!("{}", closing_line(&rows));
    if rows.iter().all(|row| row.result.is_ok()) { Ok(()) } else { Err(String::new()) }
}

fn run_one(repo: &Repo, step: &Step, earlier: &[Row]) -> Row {
    let started = Instant::now();
    let missing = step.needs.filter(|needed| !earlier.iter().any(|row| row.name == *needed && row.result.is_ok()));
    let result = match missing {
        Some(needed) => Err(format!("not run, because `{needed}` did not pass")),
        None => Log::file(&repo.log_file(step.name)).and_then(|mut log| {
            let result = (step.run)(repo, &mut log);
            if let Err(error) = &result {
                log.say(error);
            }
            result
        }),
    };
    Row { name: step.name, time: started.elapsed(), result }
}

/// Prints an excerpt of the log. A step that was not run has no log of this run; its row says why it was not run.
fn show_failure(repo: &Repo, row: &Row) {
    if row.result.as_ref().is_err_and(|error| error.starts_with("not run")) {
        return;
    }
    let path = repo.log_file(row.name);
    let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).into_owned();
    println!("----- {} (full log: {})", row.name, repo.short(&path).display());
    println!("{}", excerpt(&text));
    println!("----- end of {}", row.name);
}

fn excerpt(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let (before, tail) = lines.split_at(lines.len().saturating_sub(TAIL_LINES));
    let errors = before.iter().filter(|line| is_error(line));
    let mut shown: Vec<&str> = errors.take(ERROR_LINES).copied().collect();
    if !before.is_empty() {
        shown.push("[...]");
    }
    shown.extend(tail);
    shown.join("\n")
}

fn is_error(line: &str) -> bool {
    line.ends_with("... FAILED")
        || line.starts_with("error")
        || line.contains("panicked at")
        || line.starts_with("not ok")
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default().max("step".len());
    let mut text = format!("{:<width$}  result   seconds  note", "step");
    for row in rows {
        let line = format!(
            "\n{:<width$}  {:<8}{:>8.1}  {}",
            row.name,
            label(&row.result),
            row.time.as_secs_f64(),
            first_line(&row.result)
        );
        text.push_str(line.trim_end());
    }
    text
}

fn closing_line(rows: &[Row]) -> String {
    let count = |wanted| rows.iter().filter(|row| label(&row.result) == wanted).count();
    let mut line = format!("{} passed, {} failed", count("ok"), count("FAILED"));
    if count("skipped") > 0 {
        line.push_str(&format!(", {} skipped", count("skipped")));
    }
    line
}

fn label(result: &Result<Outcome, String>) -> &'static str {
    match result {
        Ok(Outcome::Passed(_)) => "ok",
        Ok(Outcome::Skipped(_)) => "skipped",
        Err(_) => "FAILED",
    }
}

fn first_line(result: &Result<Outcome, String>) -> &str {
    let (Ok(Outcome::Passed(text) | Outcome::Skipped(text)) | Err(text)) = result;
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outcome, Row, Step, closing_line, excerpt, run_all, run_one, table};
    use crate::repo::Repo;

    fn repo(name: &str) -> Repo {
        let root = std::env::temp_dir().join(format!("xtask-step-{}-{name}", std::process::id()));
        Repo { target: root.join("target"), root }
    }

    fn row(name: &'static str, result: Result<Outcome, String>) -> Row {
        Row { name, time: Duration::from_millis(1500), result }
    }

    #[test]
    fn the_closing_line_counts_steps_and_mentions_skipped_ones_only_if_there_are_any() {
        let passed = || row("a", Ok(Outcome::Passed(String::new())));
        let failed = row("b", Err("why".into()));
        let skipped = row("c", Ok(Outcome::Skipped("no tool".into())));
        assert_eq!(closing_line(&[passed(), passed()]), "2 passed, 0 failed");
        assert_eq!(closing_line(&[passed(), failed, skipped]), "1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn the_table_has_a_row_per_step_with_the_first_line_of_its_note() {
        let rows = [row("a", Ok(Outcome::Passed("12 tests".into()))), row("long name", Err("why\nmore".into()))];
        let text = table(&rows);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("a          ok           1.5  12 tests"), "{text}");
        assert!(text.ends_with("FAILED       1.5  why"), "{text}");
    }

    #[test]
    fn a_step_is_not_run_if_the_step_it_needs_has_failed_or_did_not_run() {
        let step = Step { name: "use", needs: Some("build"), run: |_, _| Ok(Outcome::Passed("ran".into())) };
        let repo = repo("needs");
        assert!(run_one(&repo, &step, &[]).result.is_err());
        assert!(run_one(&repo, &step, &[row("build", Err("broken".into()))]).result.is_err());
        let built = [row("build", Ok(Outcome::Passed(String::new())))];
        assert_eq!(run_one(&repo, &step, &built).result, Ok(Outcome::Passed("ran".into())));
    }

    #[test]
    fn a_failed_step_fails_the_run_but_later_steps_still_run() {
        let repo = repo("later");
        let failing = Step { name: "failing", needs: None, run: |_, _| Err("broken".into()) };
        let marking = Step {
            name: "marking",
            needs: None,
            run: |_, log| {
                log.say("reached");
                Ok(Outcome::Passed(String::new()))
            },
        };
        assert_eq!(run_all(&repo, &[failing, marking]), Err(String::new()));
        assert_eq!(std::fs::read_to_string(repo.log_file("marking")).unwrap(), "reached\n");
        assert_eq!(std::fs::read_to_string(repo.log_file("failing")).unwrap(), "broken\n");
    }

    #[test]
    fn the_excerpt_has_the_end_of_the_log_and_earlier_lines_about_errors() {
        let log: String =
            (0..200).map(|n| if n == 3 { "test x ... FAILED\n".into() } else { format!("{n}\n") }).collect();
        let text = excerpt(&log);
        assert!(text.starts_with("test x ... FAILED\n[...]\n140\n"), "{text}");
        assert!(text.ends_with("\n199"), "{text}");
        assert_eq!(excerpt("short\nlog"), "short\nlog");
    }
}

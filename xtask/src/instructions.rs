//! `cargo xtask instructions`: counts instructions per operation with callgrind and compares them with `benches/instructions.toml`.
//!
//! On a shared machine times vary by a third. Instruction counts do not depend on the load, so a test can compare them.

mod table;

use std::process::Stdio;

use crate::log::{Log, command_line};
use crate::repo::{BUILD_LIMIT, Repo};
use crate::setup;
use crate::step::Outcome;
use table::{Count, Table};

const BASELINES: &str = "benches/instructions.toml";

/// How often each operation is repeated. The count is divided by it, so the rounding error is less than one instruction. Repeating a
/// broadcast to 1,000 clients so often takes some ten million instructions, less than a second under callgrind.
const TIMES: u64 = 1_000;

pub(crate) fn command(repo: &Repo, arguments: &[String]) -> Result<(), String> {
    let accept = match arguments {
        [] => false,
        [word] if word == "--accept" => true,
        _ => return Err("usage: cargo xtask instructions [--accept]".into()),
    };
    let mut log = Log::Terminal;
    if !accept {
        return step(repo, &mut log).map(|outcome| match outcome {
            Outcome::Passed(note) | Outcome::Skipped(note) => println!("{note}"),
        });
    }
    setup::valgrind(repo, &mut log)?;
    let counted = Table { built_by: built_by(repo)?, counts: count(repo, &mut log)? };
    std::fs::write(repo.root.join(BASELINES), counted.to_string())
        .map_err(|error| format!("cannot write {BASELINES}: {error}"))?;
    println!("wrote {BASELINES}; commit it, and say in the commit message why the counts have changed");
    Ok(())
}

/// Also the step of `test`.
pub(crate) fn step(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    setup::valgrind(repo, log)?;
    let text = std::fs::read_to_string(repo.root.join(BASELINES))
        .map_err(|error| format!("cannot read {BASELINES}: {error}; cargo xtask instructions --accept writes it"))?;
    let baseline = Table::parse(&text).map_err(|error| format!("{BASELINES}: {error}"))?;
    let built_by = built_by(repo)?;
    let counts = count(repo, log)?;
    let comparison = table::compare(&baseline.counts, &counts);
    log.say(&comparison.to_string());
    if built_by != baseline.built_by {
        let warning = format!(
            "not compared: built by {built_by}, but the baselines by {}, which generates different code; --accept writes new baselines",
            baseline.built_by
        );
        log.say(&format!("warning: {warning}"));
        return Ok(Outcome::Skipped(warning));
    }
    comparison.verdict().map(Outcome::Passed)
}

/// Builds the program and counts each of its workloads.
fn count(repo: &Repo, log: &mut Log) -> Result<Vec<Count>, String> {
    // Only this program: another package in the same build could enable more features of shared dependencies.
    let build = repo.cargo(&["build", "--release", "--package", "roomcast-benches", "--bin", "instructions"]);
    log.run(build, BUILD_LIMIT)?;
    let program = repo.release_program("instructions").display().to_string();
    let names = output(repo, &program, &[]).map(|(names, _)| names)?;
    names.lines().map(|name| count_one(repo, &program, name)).collect()
}

fn count_one(repo: &Repo, program: &str, name: &str) -> Result<Count, String> {
    let times = TIMES.to_string();
    let (_, report) = output(
        repo,
        "valgrind",
        &[
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            // The compiler adds a hash to the name.
            "--toggle-collect=instructions::measured*",
            program,
            name,
            &times,
        ],
    )?;
    let all = collected(&report).ok_or_else(|| format!("callgrind counted nothing for {name}:\n{report}"))?;
    Ok(Count { name: name.to_owned(), instructions: all / TIMES })
}

/// The number in the line `==1234== Collected : 5678`; `None` if nothing was collected.
fn collected(report: &str) -> Option<u64> {
    let (_, number) = report.lines().find_map(|line| line.split_once("Collected :"))?;
    number.trim().parse().ok().filter(|number| *number > 0)
}

/// Everything except the source code that the counts depend on: the compiler, the processor architecture, and the C library, whose
/// allocator and copying are counted too.
fn built_by(repo: &Repo) -> Result<String, String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let (rustc, _) = output(repo, &rustc, &["--version"])?;
    let libc = output(repo, "getconf", &["GNU_LIBC_VERSION"]).map_or_else(|_| "another libc".into(), |(text, _)| text);
    Ok(format!("{}, {}, {}", rustc.trim(), std::env::consts::ARCH, libc.trim()))
}

/// Runs a program and returns its standard output and standard error.
fn output(repo: &Repo, program: &str, arguments: &[&str]) -> Result<(String, String), String> {
    let mut command = repo.command(program, arguments);
    let line = command_line(&command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("cannot run `{line}`: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    if output.status.success() { Ok((out, err)) } else { Err(format!("`{line}` failed ({}):\n{err}", output.status)) }
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn the_count_is_found_and_zero_is_not_a_count() {
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 5678\n==7== \n"), Some(5_678));
        assert_eq!(collected("==7== Collected : 0\n"), None, "callgrind did not find the function");
        assert_eq!(collected("==7== Collected : \n"), None);
        assert_eq!(collected(""), None);
    }
}

//! The stable runner: `cargo run --profile fuzz --package roomcast-fuzz -- --help`.
#![allow(clippy::unwrap_used, reason = "a tool of this repository")]

use roomcast_fuzz::campaign::{Plan, campaign, distil, hex, unhex};
use roomcast_fuzz::{Target, targets, watch};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HELP: &str = "\
Runs the fuzz targets: seeds and corpus first, then what a seeded mutator makes of them.

  --target NAME     run only this target; may be given more than once
  --executions N    of all targets together, divided by their cost (default 1000000; suffixes k, m)
  --seconds N       for all targets together; may end a target before its executions
  --seed N          seed of all randomness; printed at the start (default: the time)
  --threads N       default: as many as the machine has
  --journal FOLDER  write each input there before it is run, to find what ends the process
  --keep            add inputs to fuzz/corpus that do something that no seed or input there does
  --input HEX       run one target on this input only
  --file PATH       the same, with the input from a file";

/// An execution that took longer is shown, so that it can be examined.
const SLOW: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Options {
    targets: Vec<&'static Target>,
    executions: Option<u64>,
    seconds: Option<u64>,
    seed: Option<u64>,
    threads: Option<usize>,
    journal: Option<PathBuf>,
    keep: bool,
    input: Option<Vec<u8>>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(input) = &options.input {
        return run_one(&options.targets, input);
    }
    match run_all(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("fuzz: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        if matches!(name.as_str(), "--help" | "-h") {
            return Err(HELP.to_owned());
        }
        if name == "--keep" {
            options.keep = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value; see --help"))?;
        let number = || parse(&value).ok_or_else(|| format!("{name}: {value} is not a number"));
        match name.as_str() {
            "--target" => {
                let target = targets::named(&value);
                let names: Vec<&str> = targets::ALL.iter().map(|target| target.name).collect();
                options.targets.push(target.ok_or_else(|| format!("the targets are {}", names.join(", ")))?);
            }
            "--executions" => options.executions = Some(number()?),
            "--seconds" => options.seconds = Some(number()?),
            "--seed" => options.seed = Some(number()?),
            "--threads" => options.threads = Some(number()? as usize),
            "--journal" => options.journal = Some(value.into()),
            "--input" => options.input = Some(unhex(&value).ok_or("--input needs hexadecimal digits")?),
            "--file" => options.input = Some(std::fs::read(&value).map_err(|error| format!("{value}: {error}"))?),
            _ => return Err(format!("there is no option {name}; see --help")),
        }
    }
    Ok(options)
}

fn parse(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix(['k', 'm']) {
        Some(digits) if text.ends_with('k') => (digits, 1_000),
        Some(digits) => (digits, 1_000_000),
        None => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn run_one(targets: &[&'static Target], input: &[u8]) -> ExitCode {
    let [target] = targets else {
        println!("--input and --file need exactly one --target");
        return ExitCode::FAILURE;
    };
    match watch::run(target.run, input) {
        Ok(()) => {
            println!("{}: no failure", target.name);
            ExitCode::SUCCESS
        }
        Err(fault) => {
            println!("{}: {}: {}", target.name, fault.place, fault.message);
            ExitCode::FAILURE
        }
    }
}

/// Returns whether no target failed.
fn run_all(options: &Options) -> std::io::Result<bool> {
    let chosen: Vec<&Target> = match &options.targets[..] {
        [] => targets::ALL.iter().collect(),
        chosen => chosen.to_vec(),
    };
    let seed =
        options.seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()));
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let unlimited = options.seconds.map_or(1_000_000, |_| u64::MAX);
    let executions = options.executions.unwrap_or(unlimited);
    let shares: u64 = chosen.iter().map(|target| target.share).sum();
    println!("seed {seed}, {threads} threads");
    println!("{:<18} {:>12} {:>9} {:>11} {:>6}", "target", "executions", "seconds", "per second", "new");
    let started = Instant::now();
    let (mut total, mut failed) = (0, 0);
    for (at, target) in chosen.iter().enumerate() {
        // The time that is left, in equal parts.
        let left = options
            .seconds
            .map_or(Duration::MAX, |seconds| Duration::from_secs(seconds).saturating_sub(started.elapsed()));
        let time = left / (chosen.len() - at) as u32;
        let executions = (u128::from(executions) * u128::from(target.share) / u128::from(shares)) as u64;
        let plan = Plan { executions, time, seed, threads, journal: options.journal.clone() };
        let report = campaign(target, &plan)?;
        let seconds = report.time.as_secs_f64();
        let rate = report.executions as f64 / seconds.max(0.001);
        println!("{:<18} {:>12} {seconds:>9.1} {rate:>11.0} {:>6}", target.name, report.executions, report.kept.len());
        if report.slowest.0 >= SLOW {
            println!(
                "  {:.1} s for --target {} --input {}",
                report.slowest.0.as_secs_f64(),
                target.name,
                hex(&report.slowest.1)
            );
        }
        total += report.executions;
        if let Some(failure) = report.failure {
            failed += 1;
            let (name, fault) = (target.name, &failure.fault);
            println!("FAILED {name}, seed {seed}, thread {}, execution {}", failure.thread, failure.execution);
            println!("  {}: {}", fault.place, fault.message);
            println!("  input  {}", hex(&failure.input));
            println!("  again: --target {name} --input {}", hex(&failure.shrunk));
        }
        if options.keep {
            keep(target, report.kept)?;
        }
    }
    println!("{total} executions in {:.1} s, {failed} failed", started.elapsed().as_secs_f64());
    Ok(failed == 0)
}

/// Adds to the corpus the inputs that do something that no seed and no input of the corpus does.
fn keep(target: &Target, kept: Vec<Vec<u8>>) -> std::io::Result<()> {
    let known = [(target.seeds)(), roomcast_fuzz::load(target)?].concat();
    let mut inputs = distil(target, [known.clone(), kept].concat());
    inputs.retain(|input| !known.contains(input));
    for input in &inputs {
        roomcast_fuzz::save(&roomcast_fuzz::folder(target), input)?;
    }
    println!("  {} inputs were added to fuzz/corpus/{}", inputs.len(), target.name);
    Ok(())
}

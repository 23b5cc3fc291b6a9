//! `cargo run -p roomcast-sim -- [--seeds N] [--seconds N] [--from S] [--seed S] [--health] [--whole]`: runs seeds. For
//! a seed that fails, it prints the history of the smallest run found that still fails.

use roomcast_sim::plan::{Only, Plan};
use roomcast_sim::{run, shrink::shrink};
use std::process::ExitCode;
use std::time::Instant;

#[derive(Debug)]
struct Options {
    from: u64,
    seeds: u64,
    one: bool,
    whole: bool,
    keep: bool,
    seconds: u64,
    only: Only,
}

fn read() -> Result<Options, String> {
    let mut options = Options {
        from: 1,
        seeds: 1_000,
        one: false,
        whole: false,
        keep: false,
        seconds: u64::MAX,
        only: Only::default(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut number =
            || arguments.next().and_then(|it| it.parse().ok()).ok_or_else(|| format!("{name} needs a number"));
        match name.as_str() {
            "--seeds" => options.seeds = number()?,
            "--seconds" => options.seconds = number()?,
            "--from" => options.from = number()?,
            "--seed" => {
                options.from = number()?;
                (options.seeds, options.one) = (1, true);
            }
            "--health" => options.only.health = true,
            "--whole" => options.whole = true,
            "--keep-going" => options.keep = true,
            _ => {
                return Err(format!(
                    "there is no option {name}; there are --seeds, --seconds, --from, --seed, --health, --whole and --keep-going"
                ));
            }
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match read() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("sim: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (begin, mut time, mut failures, mut seeds) = (Instant::now(), 0, 0, 0_u64);
    for seed in options.from..options.from + options.seeds {
        if begin.elapsed().as_secs() >= options.seconds {
            break;
        }
        seeds += 1;
        let plan = Plan::new(seed, options.only);
        let report = run(&plan, options.one);
        time += report.time;
        if let Some(why) = report.failure {
            failures += 1;
            if options.keep {
                println!("seed {seed}: {why}");
                continue;
            }
            let lines = if options.whole {
                report.lines
            } else {
                let small = shrink(&plan, &why);
                println!("{} of {} steps; {:?}", small.steps.len(), plan.steps.len(), small.setup);
                let small = run(&small, true);
                println!("it fails: {}", small.failure.unwrap_or_default());
                small.lines
            };
            lines.iter().for_each(|line| println!("{line}"));
            println!("seed {seed} fails: {why}");
            return ExitCode::FAILURE;
        }
        if options.one {
            report.lines.iter().for_each(|line| println!("{line}"));
        }
    }
    let hours = time / 3_600_000;
    let from = options.from;
    println!(
        "{seeds} seeds from {from}, {failures} failed, {hours} hours of their time in {:.1} s",
        begin.elapsed().as_secs_f32()
    );
    if failures > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

//! [`campaign`]: runs a target on several threads, until there are enough executions or something is wrong.

use crate::corpus;
use crate::mutator::{Mutator, Random};
use crate::novelty;
use crate::shrink::shrink;
use crate::targets::Target;
use crate::watch::{self, Fault};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// An execution that takes longer counts as hanging: the slowest take some milliseconds, and in a debug build on a busy
/// machine a hundred times that.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the threads are checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Most inputs that one thread keeps for mutation. Beyond it, a new input replaces an old one.
const MOST_KEPT: usize = 4_096;

/// How long to run, and from which seed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Executions of all threads together, including seeds.
    pub executions: u64,
    /// The campaign ends after this time at the latest.
    pub time: Duration,
    /// The seed of all randomness. The same seed and number of threads make the same inputs, unless the run ends early.
    pub seed: u64,
    /// Number of threads.
    pub threads: usize,
    /// Each input is written here before it is run, into a file for each thread. This is for inputs that end the
    /// process, for instance by a stack overflow.
    pub journal: Option<PathBuf>,
}

/// The result of a campaign.
#[derive(Debug)]
pub struct Report {
    /// Number of executions.
    pub executions: u64,
    /// How long they took.
    pub time: Duration,
    /// The execution that took longest, and its input. This is only a hint, as a busy machine makes any execution slow.
    pub slowest: (Duration, Vec<u8>),
    /// Inputs that did something new, without seeds and corpus.
    pub kept: Vec<Vec<u8>>,
    /// The first failure.
    pub failure: Option<Failure>,
}

/// An input for which a target fails.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What it did.
    pub fault: Fault,
    /// The number of the execution in its thread.
    pub execution: u64,
    /// The number of the thread.
    pub thread: usize,
    /// The input as it was generated.
    pub input: Vec<u8>,
    /// The input, made as short as possible.
    pub shrunk: Vec<u8>,
}

/// What a thread shares with the supervisor.
#[derive(Default)]
struct Worker {
    executions: AtomicU64,
    input: Mutex<Vec<u8>>,
    done: AtomicBool,
}

/// Runs one target.
///
/// # Errors
/// The corpus or the journal cannot be read or written.
pub fn campaign(target: &Target, plan: &Plan) -> std::io::Result<Report> {
    let mut start = (target.seeds)();
    start.extend(corpus::load(target)?);
    let workers: Vec<Worker> = (0..plan.threads.max(1)).map(|_| Worker::default()).collect();
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let results = thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter()
            .enumerate()
            .map(|(number, worker)| {
                let (stop, start) = (&stop, &start);
                scope.spawn(move || {
                    let result = work(target, plan, number, worker, start, stop);
                    worker.done.store(true, Relaxed);
                    result
                })
            })
            .collect();
        supervise(target, plan, &workers, started, &stop);
        let results: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        results
    });
    let executions = workers.iter().map(|worker| worker.executions.load(Relaxed)).sum();
    let slowest = (Duration::ZERO, Vec::new());
    let mut report = Report { executions, time: started.elapsed(), slowest, kept: Vec::new(), failure: None };
    for result in results {
        let Ok(result) = result else { return Err(std::io::Error::other("a thread of the campaign itself panicked")) };
        let result = result?;
        report.kept.extend(result.kept);
        report.failure = report.failure.or(result.failure);
        report.slowest = report.slowest.max(result.slowest);
    }
    Ok(report)
}

/// Stops the threads in time. If a thread hangs, this ends the process, as a thread cannot be ended.
fn supervise(target: &Target, plan: &Plan, workers: &[Worker], started: Instant, stop: &AtomicBool) {
    let mut last: Vec<(u64, Instant)> = workers.iter().map(|_| (0, started)).collect();
    while !workers.iter().all(|worker| worker.done.load(Relaxed)) {
        thread::sleep(CHECK_INTERVAL.min(plan.time));
        if started.elapsed() >= plan.time {
            stop.store(true, Relaxed);
        }
        for (worker, (executions, since)) in workers.iter().zip(&mut last) {
            let now = worker.executions.load(Relaxed);
            if now != *executions {
                (*executions, *since) = (now, Instant::now());
            } else if since.elapsed() >= PATIENCE && !worker.done.load(Relaxed) {
                let input = worker.input.lock().map(|input| hex(&input)).unwrap_or_default();
                let seconds = PATIENCE.as_secs();
                eprintln!(
                    "{}: execution {now} runs for more than {seconds} s: --target {0} --input {input}",
                    target.name
                );
                std::process::exit(1);
            }
        }
    }
}

/// What one thread did.
#[derive(Default)]
struct Work {
    kept: Vec<Vec<u8>>,
    slowest: (Duration, Vec<u8>),
    failure: Option<Failure>,
}

fn work(
    target: &Target,
    plan: &Plan,
    number: usize,
    worker: &Worker,
    start: &[Vec<u8>],
    stop: &AtomicBool,
) -> std::io::Result<Work> {
    novelty::forget();
    let mine = plan.executions / plan.threads.max(1) as u64;
    let random = Random::new(plan.seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
    let mut mutator = Mutator { random, dictionary: target.dictionary, longest: target.longest };
    let mut known: Vec<Vec<u8>> = Vec::new();
    let mut work = Work::default();
    let mut input = Vec::new();
    let journal = plan.journal.as_ref().map(|folder| folder.join(format!("{}-{number}", target.name)));
    for execution in 0..mine.max(start.len() as u64) {
        if stop.load(Relaxed) {
            break;
        }
        let given = usize::try_from(execution).ok().and_then(|at| start.get(at));
        match given {
            Some(seed) => seed.clone_into(&mut input),
            None => mutator.make(&known, &mut input),
        }
        if let Ok(mut shown) = worker.input.lock() {
            input.clone_into(&mut shown);
        }
        if let Some(path) = &journal {
            std::fs::write(path, &input)?;
        }
        let started = Instant::now();
        let ended = watch::run(target.run, &input);
        let time = started.elapsed();
        if time > work.slowest.0 {
            work.slowest = (time, input.clone());
        }
        worker.executions.fetch_add(1, Relaxed);
        if let Err(fault) = ended {
            stop.store(true, Relaxed);
            let still = |bytes: &[u8]| {
                worker.executions.fetch_add(1, Relaxed);
                watch::run(target.run, bytes).is_err_and(|other| other.place == fault.place)
            };
            let shrunk = shrink(&input, still);
            work.failure = Some(Failure { fault, execution, thread: number, input, shrunk });
            return Ok(work);
        }
        if novelty::take_new() || given.is_some() {
            if given.is_none() {
                work.kept.push(input.clone());
            }
            if known.len() < MOST_KEPT {
                known.push(input.clone());
            } else {
                let at = mutator.random.below(MOST_KEPT);
                input.clone_into(&mut known[at]);
            }
        }
    }
    Ok(work)
}

/// The `inputs` that do something that no shorter one does, the shortest first.
pub fn distil(target: &Target, mut inputs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    inputs.sort_by_key(Vec::len);
    novelty::forget();
    let new = |input: &Vec<u8>| watch::run(target.run, input).is_ok() && novelty::take_new();
    inputs.retain(new);
    inputs
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from hexadecimal digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(executions: u64) -> Plan {
        Plan { executions, time: Duration::from_secs(60), seed: 1, threads: 2, journal: None }
    }

    const WORDS: Target = Target {
        name: "a target of this test",
        run: |input| {
            novelty::seen(input.iter().filter(|byte| byte.is_ascii_uppercase()).count());
            assert!(!input.windows(2).any(|pair| pair == b"!?"), "found");
        },
        seeds: || vec![b"hello".to_vec()],
        dictionary: &[b"!", b"?", b"A"],
        share: 0,
        longest: 100,
    };

    #[test]
    fn a_fault_is_found_and_its_input_shortened() {
        let report = campaign(&WORDS, &plan(1_000_000)).unwrap();
        let failure = report.failure.unwrap();
        assert_eq!((failure.fault.message.as_str(), failure.shrunk.as_slice()), ("found", &b"!?"[..]));
        assert!(failure.input.windows(2).any(|pair| pair == b"!?"));
    }

    #[test]
    fn without_a_fault_it_ends_with_its_executions_and_what_it_kept() {
        let fine = Target { run: |input| novelty::seen(input.len()), ..WORDS };
        let report = campaign(&fine, &plan(10_000)).unwrap();
        assert!(report.failure.is_none());
        assert_eq!(report.executions, 10_000);
        let lengths: std::collections::HashSet<usize> = report.kept.iter().map(Vec::len).collect();
        assert!(lengths.len() > 50, "{lengths:?}");
        let distilled = distil(&fine, report.kept);
        assert_eq!(distilled.len(), lengths.len());
    }

    #[test]
    fn hex_is_read_as_it_was_written() {
        assert_eq!(unhex(&hex(&[0, 0x7f, 0xff])), Some(vec![0, 0x7f, 0xff]));
        assert_eq!([unhex("0"), unhex("zz")], [None, None]);
    }
}

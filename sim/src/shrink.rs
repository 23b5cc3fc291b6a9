//! Cuts a plan down to the steps that make it fail.

use crate::exam::run;
use crate::plan::{Plan, StepKind};

/// The smallest plan found that still fails in the same way, judged by the first words of the failure.
pub fn shrink(plan: &Plan, why: &str) -> Plan {
    let mut best = plan.clone();
    let kind = kind(why);
    let mut size = best.steps.len().div_ceil(2).max(1);
    let mut tries = 3_000;
    loop {
        let before = best.steps.len();
        let mut from = 0;
        while from < best.steps.len() && tries > 0 {
            let mut fewer = best.clone();
            let to = (from + size).min(fewer.steps.len());
            fewer.steps.drain(from..to);
            tries -= 1;
            if fails(&fewer, &kind) {
                best = fewer;
            } else {
                from += size;
            }
        }
        if size == 1 && best.steps.len() == before {
            break;
        }
        size = size.div_ceil(2).max(1);
        if tries == 0 {
            break;
        }
    }
    fewer_times(&mut best, &kind);
    best
}

fn fewer_times(best: &mut Plan, kind: &str) {
    for index in 0..best.steps.len() {
        for fewer in [1, 2, 10] {
            let mut plan = best.clone();
            let Some(StepKind::Emit { times, .. }) = plan.steps.get_mut(index).map(|step| &mut step.what) else {
                break;
            };
            if *times <= fewer {
                break;
            }
            *times = fewer;
            if fails(&plan, kind) {
                *best = plan;
                break;
            }
        }
    }
}

/// The failure without its numbers.
fn kind(why: &str) -> String {
    let what = why.rsplit_once(": ").map_or(why, |(_, what)| what);
    what.chars().filter(|it| !it.is_ascii_digit()).take(30).collect()
}

fn fails(plan: &Plan, kind_of: &str) -> bool {
    run(plan, false).failure.is_some_and(|why| kind(&why) == kind_of)
}

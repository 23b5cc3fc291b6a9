//! Warnings begin, last, are repeated and end, by tables of reports.

use super::*;
use crate::watch::figures::RedisBufferLimit;
use std::time::Duration;

const HERE: &str = "127.0.0.1:6379";

fn report(figures: RedisFigures) -> RedisReport {
    reports(&[(HERE, Ok(figures))])
}

fn reports(servers: &[(&str, Result<RedisFigures, String>)]) -> RedisReport {
    let server = |(address, figures): &(&str, Result<RedisFigures, String>)| RedisServer {
        address: (*address).to_owned(),
        must_be_primary: true,
        figures: figures.clone(),
    };
    RedisReport { servers: servers.iter().map(server).collect(), ..RedisReport::default() }
}

fn memory(used: u64) -> RedisFigures {
    let policy = Some("noeviction".to_owned());
    RedisFigures { memory_used: Some(used), memory_max: Some(1_000), policy, ..RedisFigures::default() }
}

fn machine(used: u64) -> RedisFigures {
    RedisFigures { memory_max: Some(0), memory_of_machine: Some(1_000), ..memory(used) }
}

fn clients(clients: u64) -> RedisFigures {
    RedisFigures { clients: Some(clients), clients_max: Some(1_000), ..RedisFigures::default() }
}

fn waits(bytes: u64, hard: u64, soft: u64) -> RedisFigures {
    let output_buffer_limit = Some(RedisBufferLimit { hard, soft });
    RedisFigures { output_buffer: Some(bytes), output_buffer_limit, ..RedisFigures::default() }
}

fn primary(replicas: u64) -> RedisFigures {
    RedisFigures { is_primary: Some(true), replicas: Some(replicas), ..RedisFigures::default() }
}

fn replica(has_primary: Option<bool>) -> RedisFigures {
    RedisFigures { is_primary: Some(false), has_primary, ..RedisFigures::default() }
}

/// Each line: the figures of one report after the other, and whether the warning lasts after each.
#[test]
fn thresholds_at_the_limit_and_one_past_it() {
    let cases: [(Kind, Vec<(RedisFigures, bool)>); 12] = [
        (
            Kind::Memory,
            vec![
                (memory(799), false),
                (memory(800), true),
                (memory(750), true),
                (memory(749), false),
                (memory(799), false),
            ],
        ),
        (Kind::Memory, vec![(machine(799), false), (machine(800), true), (machine(749), false)]),
        // What is not told changes nothing.
        (
            Kind::Memory,
            vec![
                (RedisFigures::default(), false),
                (memory(900), true),
                (RedisFigures::default(), true),
                (memory(0), false),
            ],
        ),
        (Kind::Clients, vec![(clients(799), false), (clients(800), true), (clients(750), true), (clients(749), false)]),
        (Kind::Clients, vec![(RedisFigures { clients_max: Some(0), ..clients(9) }, false)]),
        // The hard limit.
        (
            Kind::OutputBuffer,
            vec![
                (waits(499, 1_000, 0), false),
                (waits(500, 1_000, 0), true),
                (waits(450, 1_000, 0), true),
                (waits(449, 1_000, 0), false),
            ],
        ),
        // The soft limit, at which Redis counts down.
        (
            Kind::OutputBuffer,
            vec![
                (waits(99, 1_000, 100), false),
                (waits(100, 1_000, 100), true),
                (waits(95, 1_000, 100), true),
                (waits(94, 1_000, 100), false),
            ],
        ),
        (Kind::OutputBuffer, vec![(waits(u64::MAX, 0, 0), false)]),
        // Redis' defaults are assumed.
        (
            Kind::OutputBuffer,
            vec![
                (RedisFigures { output_buffer_limit: None, ..waits((8 << 20) - 1, 0, 0) }, false),
                (RedisFigures { output_buffer_limit: None, ..waits(8 << 20, 0, 0) }, true),
            ],
        ),
        (
            Kind::NotPrimary,
            vec![(primary(0), false), (replica(None), true), (RedisFigures::default(), true), (primary(0), false)],
        ),
        (
            Kind::PrimaryAway,
            vec![
                (replica(Some(true)), false),
                (replica(Some(false)), true),
                (replica(None), true),
                (primary(0), false),
            ],
        ),
        (
            Kind::NoReplica,
            vec![
                (primary(0), false),
                (primary(2), false),
                (primary(1), false),
                (primary(0), true),
                (primary(1), false),
            ],
        ),
    ];
    for (line, (kind, steps)) in cases.into_iter().enumerate() {
        let mut warnings = Warnings::new(RedisWatchOptions::default());
        let mut lasted = false;
        for (step, (figures, lasts)) in steps.into_iter().enumerate() {
            let notices = warnings.next(&report(figures), Instant::now());
            let about: Vec<bool> = notices.iter().filter(|it| it.about.kind == kind).map(|it| it.over).collect();
            let expected = if lasts == lasted { vec![] } else { vec![lasted] };
            assert_eq!(about, expected, "line {line} ({kind:?}), step {step}: {notices:?}");
            assert_eq!(warnings.lasting().iter().any(|it| it.kind == kind), lasts, "line {line}, step {step}");
            lasted = lasts;
        }
    }
}

#[test]
fn a_warning_is_repeated_after_a_while_and_not_before() {
    let (mut warnings, now) = (Warnings::new(RedisWatchOptions::default()), Instant::now());
    let repeat = RedisWatchOptions::default().repeat;
    let mut told = |after: Duration| warnings.next(&report(memory(999)), now + after).len();
    assert_eq!(told(Duration::ZERO), 1);
    assert_eq!(told(repeat - Duration::from_millis(1)), 0);
    assert_eq!(told(repeat), 1);
    assert_eq!(told(repeat * 2 - Duration::from_millis(1)), 0);
}

/// Each server has its own warnings. Those of a server that is not used any more are forgotten; those of one that does
/// not answer stay.
#[test]
fn servers_come_and_go() {
    let (mut warnings, now) = (Warnings::new(RedisWatchOptions::default()), Instant::now());
    let full = || Ok(memory(999));
    assert_eq!(warnings.next(&reports(&[("a:1", full()), ("b:1", Ok(memory(1))), ("c:1", full())]), now).len(), 2);
    assert_eq!(warnings.next(&RedisReport { error: Some("no".to_owned()), ..RedisReport::default() }, now), vec![]);
    assert_eq!(warnings.next(&reports(&[("a:1", Err("silent".to_owned())), ("b:1", full())]), now).len(), 1);
    let lasting: Vec<String> = warnings.lasting().into_iter().map(|it| it.address).collect();
    assert_eq!(lasting, ["a:1", "b:1"]);
    // Another server that comes to have a replica and loses it is not the one that had it.
    assert_eq!(warnings.next(&reports(&[("d:1", Ok(primary(1)))]), now), vec![]);
    assert_eq!(warnings.next(&reports(&[("e:1", Ok(primary(0)))]), now), vec![]);
    assert_eq!(warnings.next(&reports(&[("d:1", Ok(primary(0)))]), now), vec![]);
}

#[test]
fn a_node_of_a_cluster_may_be_a_replica() {
    let mut of_cluster = report(replica(Some(true)));
    of_cluster.servers[0].must_be_primary = false;
    assert_eq!(Warnings::new(RedisWatchOptions::default()).next(&of_cluster, Instant::now()), vec![]);
}

/// The advice depends on what happens at the limit.
#[test]
fn advice_says_the_figures_and_what_to_do() {
    let text = |figures: RedisFigures| {
        let notices = Warnings::new(RedisWatchOptions::default()).next(&report(figures), Instant::now());
        notices.into_iter().map(|notice| notice.text).collect::<Vec<_>>().join("\n")
    };
    let (gib, policy) = (1 << 30, |policy: &str| Some(policy.to_owned()));
    let full = || RedisFigures { memory_used: Some(gib), memory_max: Some(gib), ..RedisFigures::default() };
    let refuses = text(RedisFigures { policy: policy("noeviction"), ..full() });
    assert!(refuses.contains("1.0 of 1.0 GiB") && refuses.contains("refuses to store"), "{refuses}");
    let evicts = text(RedisFigures { policy: policy("allkeys-lru"), ..full() });
    assert!(evicts.contains("policy allkeys-lru") && evicts.contains("removes data"), "{evicts}");
    let unlimited = text(RedisFigures { memory_max: Some(0), memory_of_machine: Some(gib), ..full() });
    assert!(unlimited.contains("no maxmemory") && unlimited.contains("Set maxmemory"), "{unlimited}");
    assert!(text(clients(900)).contains("900 of 1000 clients"));
    let slow = text(RedisFigures { output_buffer_limit: None, ..waits(20 << 20, 0, 0) });
    assert!(slow.contains("20.0 MiB wait") && slow.contains("32.0 MiB (hard)") && slow.contains("assumed"), "{slow}");
}

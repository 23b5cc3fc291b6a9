//! Rates of what clients send: each limit at its bound and one past it, and what becomes of a packet over it. The clock stands still
//! but for the tests' own steps.

use crate::common::wire::{Frame, Wire, frame, upgrade};
use crate::common::{Frozen, Log, Server};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use parking_lot::Mutex;
use roomcast_server::{Ack, AckError, Args, Builder, DisconnectReason, OverRate, Rate, RateLimits, Socket, SocketIo};
use std::collections::BTreeMap;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

fn limits(set: impl FnOnce(&mut RateLimits)) -> RateLimits {
    let mut limits = RateLimits::default();
    set(&mut limits);
    limits
}

/// Ten in a second, and so many at once.
fn ten(burst: u32) -> Option<Rate> {
    Rate::per_second(10).map(|rate| rate.burst(burst))
}

/// A rate among the limits.
type Field = fn(&mut RateLimits) -> &mut Option<Rate>;

/// A server whose event `n` is logged and answered with its arguments, and whose event `login` sets the user.
async fn start(limits: RateLimits) -> (Server, Log) {
    let log = Log::default();
    // Without pings, so that clients receive nothing but what is looked for.
    let change = |builder: Builder| builder.rate_limits(limits).ping_interval(Duration::MAX);
    let server = Server::with(change, |io| app(io, &log)).await;
    (server, log)
}

fn app(io: &SocketIo, log: &Log) {
    for name in ["/", "/other"] {
        let (events, ends) = (log.clone(), log.clone());
        let namespace = io.of(name);
        namespace.on("n", move |_: Socket, args: Args, ack: Ack| {
            events.push(args.items());
            ready(ack.send(&args))
        });
        namespace.on("login", |socket: Socket, user: String| {
            socket.set_user(&user);
            ready(())
        });
        namespace.on_connection(move |socket: Socket| {
            let ends = ends.clone();
            socket.on_disconnect(move |_: Socket, reason: DisconnectReason| {
                ends.push(reason.as_str());
                ready(())
            });
            ready(())
        });
    }
}

const REFUSED: &str = r#"{"ok":false,"error":"rate limit exceeded","retryAfterMs":100}"#;

/// Three events are within the limit and the fourth is not; after the time of one event there is room for one.
#[tokio::test]
async fn each_limit_at_its_bound_and_one_past_it() {
    // Of each event `21["n",1]` is what counts: the 4 of Engine.IO's message packet does not.
    let nine = Rate::per_second(90).map(|rate| rate.burst(27));
    let owners: [(&str, [Field; 2]); 3] = [
        ("connection", [|limits| &mut limits.events, |limits| &mut limits.bytes]),
        ("user", [|limits| &mut limits.user_events, |limits| &mut limits.user_bytes]),
        ("address", [|limits| &mut limits.address_events, |limits| &mut limits.address_bytes]),
    ];
    for (owner, [events, bytes]) in owners {
        for (of, rate) in [(events, ten(3)), (bytes, nine)] {
            for over in [OverRate::Drop, OverRate::Error, OverRate::Disconnect] {
                let case = format!("{owner} {rate:?} {over:?}");
                let (server, log) = start(limits(|limits| {
                    *of(limits) = rate;
                    limits.over = over;
                }))
                .await;
                server.io.of("/").middleware(|socket: Socket| {
                    socket.set_user("ann");
                    ready(Ok(()))
                });
                let clock = Frozen::new();
                let mut wire = server.joined().await;
                for n in 1..=3 {
                    wire.say(&format!("42{n}[\"n\",{n}]")).await;
                }
                assert_eq!(wire.texts().await, ["431[1]", "432[2]", "433[3]"], "{case}");
                wire.say("424[\"n\",4]").await;
                if over == OverRate::Disconnect {
                    wire.assert_closed().await;
                    log.expect(&["1", "2", "3", "rate limit exceeded"]).await;
                } else {
                    let answers = if over == OverRate::Error { vec![format!("434[{REFUSED}]")] } else { vec![] };
                    assert_eq!(wire.texts().await, answers, "{case}");
                    clock.advance(100).await;
                    wire.say("425[\"n\",5]").await;
                    wire.say("42[\"n\",6]").await;
                    assert_eq!(wire.texts().await, ["435[5]"], "{case}");
                    log.expect(&["1", "2", "3", "5"]).await;
                }
                drop(clock);
                server.finish().await;
            }
        }
    }
}

/// Connections of one user, or of one address, share a rate; others have their own, and a user set late counts from then on.
#[tokio::test]
async fn who_shares_a_rate() {
    let (server, log) = start(limits(|limits| limits.user_events = ten(3))).await;
    let clock = Frozen::new();
    let (mut first, mut second, mut other) = (server.joined().await, server.joined().await, server.joined().await);
    let mut nobody = server.joined().await;
    for n in 0..10 {
        first.say(&format!("42[\"n\",{n}]")).await;
        nobody.say("42[\"n\",\"nobody\"]").await;
    }
    assert!(first.sync().await.is_empty() && nobody.sync().await.is_empty());
    assert_eq!(log.lines().len(), 20, "without a user nothing is limited");
    // The `login` itself is nobody's.
    for (wire, user) in [(&mut first, "ann"), (&mut second, "ann"), (&mut other, "bob")] {
        wire.say(&format!("42[\"login\",\"{user}\"]")).await;
        assert!(wire.sync().await.is_empty());
    }
    first.say("421[\"n\",1]").await;
    first.say("422[\"n\",2]").await;
    assert_eq!(first.texts().await, ["431[1]", "432[2]"]);
    second.say("423[\"n\",3]").await;
    second.say("424[\"n\",4]").await;
    assert_eq!(second.texts().await, ["433[3]"]);
    other.say("425[\"n\",5]").await;
    assert_eq!(other.texts().await, ["435[5]"]);
    // A connection that takes another key, or none, leaves the user's rate.
    second.say("42[\"login\",\"\"]").await;
    second.say("426[\"n\",6]").await;
    assert!(second.sync().await.is_empty(), "the login was ann's, and over the limit");
    clock.advance(100).await;
    second.say("42[\"login\",\"\"]").await;
    for _ in 0..4 {
        second.say("427[\"n\",7]").await;
    }
    assert_eq!(second.texts().await, ["437[7]"; 4]);
    first.say("428[\"n\",8]").await;
    assert!(first.sync().await.is_empty());
    drop(clock);
    server.finish().await;

    let (server, _) = start(limits(|limits| limits.address_events = ten(3))).await;
    let clock = Frozen::new();
    let (mut first, mut second) = (server.joined().await, server.joined().await);
    for n in 0..3 {
        let wire = if n == 1 { &mut second } else { &mut first };
        wire.say(&format!("42{n}[\"n\"]")).await;
        assert_eq!(wire.text().await, format!("43{n}[]"));
    }
    for wire in [&mut first, &mut second] {
        wire.say("42[\"n\"]").await;
        assert!(wire.sync().await.is_empty());
    }
    drop(clock);
    server.finish().await;
}

/// Behind a trusted proxy, clients have the addresses that the proxy names.
#[tokio::test]
async fn addresses_behind_a_proxy() {
    let limits = limits(|limits| limits.address_events = ten(1));
    let log = Log::default();
    let change = |builder: Builder| builder.rate_limits(limits).trusted_proxies("127.0.0.1".parse().unwrap());
    let server = Server::with(change, |io| app(io, &log)).await;
    let clock = Frozen::new();
    for (address, handled) in [("192.0.2.1", true), ("192.0.2.2", true), ("192.0.2.1", false)] {
        let mut wire = server.connect().await;
        let target = server.target("EIO=4&transport=websocket");
        wire.send(upgrade(&target, "13", &[("X-Forwarded-For", address)])).await;
        assert_eq!(wire.answer("GET").await.status(), 101);
        assert!(wire.text().await.starts_with('0'));
        server.join(&mut wire, "/").await;
        wire.say("421[\"n\",1]").await;
        assert_eq!(wire.texts().await, if handled { vec!["431[1]"] } else { vec![] }, "{address}");
    }
    drop(clock);
    server.finish().await;
}

/// One connection has one rate, in however many namespaces it is.
#[tokio::test]
async fn namespaces_of_a_connection_share_its_rate() {
    // The second CONNECT counts as an event too.
    let (server, _) = start(limits(|limits| {
        limits.events = ten(3);
        limits.over = OverRate::Error;
    }))
    .await;
    let clock = Frozen::new();
    let mut wire = server.joined().await;
    server.join(&mut wire, "/other").await;
    for say in ["421[\"n\"]", "42/other,2[\"n\"]", "423[\"n\"]", "42/other,4[\"n\"]"] {
        wire.say(say).await;
    }
    let refused = [format!("433[{REFUSED}]"), format!("43/other,4[{REFUSED}]")];
    assert_eq!(wire.texts().await, [&["431[]".into(), "43/other,2[]".into()], &refused[..]].concat());
    drop(clock);
    server.finish().await;
}

/// The attachments of a dropped event are read with it, and their bytes count.
#[tokio::test]
async fn binary_events() {
    let header = |id: u32| format!(r#"451-{id}["n",{{"_placeholder":true,"num":0}}]"#);
    // Without Engine.IO's 4, and with 100 bytes beside the text.
    let size = u32::try_from(header(1).len() - 1 + 100).unwrap();
    for (set, past) in [
        ((|limits, _| limits.events = ten(2)) as fn(&mut RateLimits, u32), 100),
        (|limits, size| limits.bytes = Rate::per_second(10 * size).map(|rate| rate.burst(2 * size)), 100),
        // One byte less than two events.
        (|limits, size| limits.bytes = Rate::per_second(10 * size).map(|rate| rate.burst(2 * size - 1)), 0),
    ] {
        let (server, log) = start(limits(|limits| set(limits, size))).await;
        let clock = Frozen::new();
        let mut wire = server.joined().await;
        for id in 1..=3 {
            wire.say(&header(id)).await;
            wire.say_bytes(&[7; 100]).await;
        }
        let handled = if past == 0 { 1 } else { 2 };
        let answers = wire.sync().await;
        assert_eq!(answers.len(), 2 * handled, "{answers:?}");
        assert_eq!(answers[1], Frame::Binary(vec![7; 100]));
        clock.advance(100).await;
        wire.say("429[\"n\",9]").await;
        assert_eq!(wire.texts().await, ["439[9]"]);
        assert_eq!(log.lines().len(), handled + 1);
        drop(clock);
        server.finish().await;
    }
}

/// A packet that no empty bucket could ever hold is possible, and paid for afterwards.
#[tokio::test]
async fn an_event_larger_than_the_burst() {
    let (server, _) = start(limits(|limits| limits.bytes = Rate::per_second(1_000).map(|rate| rate.burst(100)))).await;
    let clock = Frozen::new();
    let mut wire = server.joined().await;
    // 1,000 bytes, of which 100 were there: 900 ms, and 9 ms for the next packet.
    let long = "x".repeat(1_000 - "21[\"n\",\"\"]".len());
    wire.say(&format!("421[\"n\",\"{long}\"]")).await;
    assert_eq!(wire.texts().await, [format!("431[\"{long}\"]")]);
    for (wait, answers) in [(908, &[][..]), (1, &["432[2]"])] {
        clock.advance(wait).await;
        wire.say("422[\"n\",2]").await;
        assert_eq!(wire.texts().await, answers);
    }
    drop(clock);
    server.finish().await;
}

/// A flood is read and counted, and leaves everybody else alone.
#[tokio::test]
async fn a_flood_of_events() {
    const EVENTS: usize = 100_000;
    let counters = Counters::default();
    let _recorder = metrics::set_default_local_recorder(&counters);
    let (server, log) = start(limits(|limits| limits.events = ten(50))).await;
    let clock = Frozen::new();
    let (mut flooder, mut bystander) = (server.joined().await, server.joined().await);
    let batch = frame(1, b"42[\"n\"]").repeat(EVENTS / 100);
    for n in 0..100 {
        flooder.send(&batch).await;
        if n % 10 == 0 {
            bystander.say(&format!("42{n}[\"n\",\"bystander\"]")).await;
            assert_eq!(bystander.text().await, format!("43{n}[\"bystander\"]"));
        }
    }
    assert!(flooder.sync().await.is_empty());
    let handled = log.lines();
    assert_eq!(handled.iter().filter(|line| line.is_empty()).count(), 50);
    assert_eq!(handled.len(), 60);
    let dropped = u64::try_from(EVENTS - 50).unwrap();
    assert_eq!(counters.of("roomcast_packets_over_rate_total limit=connection what=events"), dropped);
    // It may go on as soon as it keeps to the limit.
    clock.advance(100).await;
    flooder.say("421[\"n\",1]").await;
    assert_eq!(flooder.texts().await, ["431[1]"]);
    drop(clock);
    server.finish().await;
}

/// A warning comes with the first packet over a limit, and then not for ten seconds.
#[tokio::test]
async fn a_client_is_warned_first() {
    for over in [OverRate::Drop, OverRate::Error] {
        let (server, _) = start(limits(|limits| {
            limits.events = Rate::per_second(1);
            limits.over = over;
            limits.warning = Some("slow down".into());
        }))
        .await;
        let clock = Frozen::new();
        let mut wire = server.joined().await;
        let warning = r#"42["slow down",{"limit":"connection","retryAfterMs":1000}]"#;
        let refused = |id: u32| format!("43{id}[{}]", REFUSED.replace("100", "1000"));
        let refusals = |ids: &[u32]| match over {
            OverRate::Error => ids.iter().map(|id| refused(*id)).collect(),
            _ => Vec::new(),
        };
        wire.say("421[\"n\"]").await;
        assert_eq!(wire.texts().await, ["431[]"]);
        wire.say("422[\"n\"]").await;
        wire.say("423[\"n\"]").await;
        assert_eq!(wire.texts().await, [vec![warning.to_owned()], refusals(&[2, 3])].concat());
        clock.advance(9_999).await;
        wire.say("424[\"n\"]").await;
        wire.say("425[\"n\"]").await;
        assert_eq!(wire.texts().await, [vec!["434[]".to_owned()], refusals(&[5])].concat());
        clock.advance(1).await;
        wire.say("426[\"n\"]").await;
        let texts = wire.texts().await;
        assert!(texts[0].starts_with("42[\"slow down\",") && texts.len() == 1 + refusals(&[6]).len(), "{texts:?}");
        drop(clock);
        server.finish().await;
    }
}

/// With a warning, the first excess warns and the second one disconnects, but not before a client can have heeded the warning.
#[tokio::test]
async fn after_a_warning_who_goes_on_is_disconnected() {
    for (wait, ends) in [(1_999, false), (2_000, true), (9_999, true), (10_000, false)] {
        let (server, log) = start(limits(|limits| {
            limits.events = Rate::new(1, Duration::from_secs(100));
            limits.over = OverRate::Disconnect;
            limits.warning = Some("slow down".into());
        }))
        .await;
        let clock = Frozen::new();
        let mut wire = server.joined().await;
        for id in 1..=3 {
            wire.say(&format!("42{id}[\"n\",{id}]")).await;
        }
        let texts = wire.texts().await;
        assert!(texts[1].starts_with("42[\"slow down\",") && texts.len() == 4, "{texts:?}");
        assert!(texts[2].starts_with("432[{\"ok\":false,") && texts[3].starts_with("433[{\"ok\":false,"), "{texts:?}");
        clock.advance(wait).await;
        wire.say("424[\"n\",4]").await;
        if ends {
            wire.assert_closed().await;
            log.expect(&["1", "rate limit exceeded"]).await;
        } else {
            let texts = wire.texts().await;
            let warned = usize::from(wait == 10_000);
            assert!(texts.len() == 1 + warned && texts[warned].starts_with("434[{"), "{texts:?}");
            log.expect(&["1"]).await;
        }
        drop(clock);
        server.finish().await;
    }
}

/// A reserved name cannot be emitted. It counts as none, so that the client is disconnected at once.
#[tokio::test]
async fn a_warning_that_cannot_be_sent() {
    let (server, log) = start(limits(|limits| {
        limits.events = ten(1);
        limits.over = OverRate::Disconnect;
        limits.warning = Some("disconnect".into());
    }))
    .await;
    let clock = Frozen::new();
    let mut wire = server.joined().await;
    wire.send([frame(1, b"42[\"n\",1]"), frame(1, b"42[\"n\",2]")].concat()).await;
    wire.assert_closed().await;
    log.expect(&["1", "rate limit exceeded"]).await;
    drop(clock);
    server.finish().await;
}

/// CONNECT counts as an event and is answered; the first of a connection is free; DISCONNECT is never dropped.
#[tokio::test]
async fn joining_and_leaving() {
    let (server, log) = start(limits(|limits| limits.events = ten(2))).await;
    let clock = Frozen::new();
    let mut wire = server.joined().await;
    for n in 0..2 {
        wire.say("41").await;
        wire.say("40").await;
        let texts = wire.texts().await;
        assert!(texts[0].starts_with("40{\"sid\":") && texts.len() == 1, "{n} {texts:?}");
    }
    wire.say("41").await;
    wire.say("40").await;
    let refused = r#"44{"message":"rate limit exceeded","data":{"retryAfterMs":100}}"#;
    assert_eq!(wire.texts().await, [refused]);
    log.expect(&["client namespace disconnect"; 3]).await;
    clock.advance(100).await;
    server.join(&mut wire, "/").await;
    drop(clock);
    server.finish().await;

    let (server, log) = start(limits(|limits| {
        limits.events = ten(1);
        limits.over = OverRate::Disconnect;
    }))
    .await;
    let clock = Frozen::new();
    let mut wire = server.joined().await;
    server.join(&mut wire, "/other").await;
    wire.say("40/third,").await;
    wire.assert_closed().await;
    log.expect(&["rate limit exceeded"; 2]).await;
    drop(clock);
    server.finish().await;
}

/// Of an acknowledgement the bytes count, and one over the limit does not arrive.
#[tokio::test]
async fn acknowledgements_count_by_their_bytes() {
    for (burst, answered) in [(10, 2), (9, 1)] {
        let (server, log) = start(limits(|limits| {
            limits.events = Rate::new(1, Duration::from_secs(1_000));
            limits.bytes = Rate::new(1, Duration::from_secs(1_000)).map(|rate| rate.burst(burst));
        }))
        .await;
        let seen = log.clone();
        server.io.of("/").on_connection(move |socket: Socket| {
            let seen = seen.clone();
            async move {
                loop {
                    match socket.emit_with_ack("q", &()).await {
                        Ok(answer) => seen.push(answer.items()),
                        Err(AckError::Timeout) => break seen.push("no answer"),
                        Err(error) => break seen.push(error.to_string()),
                    }
                }
            }
        });
        let clock = Frozen::new();
        let mut wire = server.joined().await;
        for id in 0..=answered {
            assert_eq!(wire.text().await, format!("42{id}[\"q\"]"));
            // Of this, all but the first character counts.
            wire.say(&format!("43{id}[{id}]")).await;
        }
        assert!(wire.sync().await.is_empty());
        clock.advance(10_001).await;
        let answers = ["0", "1"].into_iter().take(answered).chain(["no answer"]);
        log.expect(&answers.collect::<Vec<_>>()).await;
        drop(clock);
        server.finish().await;
    }
}

/// By polling each packet of a POST counts, and what is over the limit is answered in the next GET.
#[tokio::test]
async fn by_polling() {
    let (server, log) = start(limits(|limits| {
        limits.events = ten(2);
        limits.over = OverRate::Error;
    }))
    .await;
    let clock = Frozen::new();
    let sid = server.join_by_polling().await;
    let events: Vec<String> = (1..=4).map(|n| format!("42{n}[\"n\",{n}]")).collect();
    assert_eq!(server.post(&sid, &events.join("\u{1e}")).await.text(), "ok");
    let answers = ["431[1]".to_owned(), "432[2]".to_owned(), format!("433[{REFUSED}]"), format!("434[{REFUSED}]")];
    assert_eq!(server.poll(&sid).await.text(), answers.join("\u{1e}"));
    log.expect(&["1", "2"]).await;
    drop(clock);
    server.finish().await;
}

/// What breaks a rule of the protocol ends the connection even over a limit, and what came late is ignored.
#[tokio::test]
async fn faults_are_faults_over_a_limit_too() {
    for fault in ["42/other,[\"n\"]", "43/other,1[]", "44", "4x"] {
        let (server, log) = start(limits(|limits| limits.events = ten(1))).await;
        let clock = Frozen::new();
        let mut wire = server.joined().await;
        for n in 1..=2 {
            wire.say(&format!("42[\"n\",{n}]")).await;
        }
        wire.say(fault).await;
        wire.assert_closed().await;
        log.expect(&["1", "forced close"]).await;
        drop(clock);
        server.finish().await;
    }
}

/// Two clients of one user send at random times, and are handled as a plain model says: levels that rise with time.
#[tokio::test]
async fn random_packets_are_handled_as_a_plain_model_says() {
    /// Rates in thousandths of a token for each millisecond, and bursts in tokens.
    const RATES: [(i64, i64); 6] = [(20, 4), (500, 60), (25, 7), (800, 120), (40, 8), (1_000, 150)];
    let rate = |of: usize| {
        let (tokens, burst) = RATES[of];
        Rate::per_second(u32::try_from(tokens).unwrap()).map(|rate| rate.burst(u32::try_from(burst).unwrap()))
    };
    let (server, log) = start(limits(|limits| {
        (limits.events, limits.bytes) = (rate(0), rate(1));
        (limits.user_events, limits.user_bytes) = (rate(2), rate(3));
        (limits.address_events, limits.address_bytes) = (rate(4), rate(5));
    }))
    .await;
    server.io.of("/").middleware(|socket: Socket| {
        let user = if socket.handshake().url().contains("user=bob") { "bob" } else { "ann" };
        socket.set_user(user);
        ready(Ok(()))
    });
    let clock = Frozen::new();
    let mut wires = Vec::new();
    for user in ["ann", "ann", "bob"] {
        let mut wire = server.upgrade(&format!("EIO=4&transport=websocket&user={user}")).await;
        assert!(wire.text().await.starts_with('0'));
        server.join(&mut wire, "/").await;
        wires.push(wire);
    }
    let full = |of: usize| RATES[of].1 * 1_000;
    // Three connections, two users, one address: the levels of events and of bytes of each.
    let mut levels: Vec<(usize, i64)> =
        [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 4, 5].into_iter().map(|of| (of, full(of))).collect();
    let mut state = 7_u64;
    let mut draw = move |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % most
    };
    let mut handled = Vec::new();
    let mut counts = BTreeMap::<usize, usize>::new();
    for n in 0..3_000 {
        let wait = if draw(3) == 0 { draw(120) } else { 0 };
        clock.advance(wait).await;
        for (of, level) in &mut levels {
            *level = (*level + i64::try_from(wait).unwrap() * RATES[*of].0).min(full(*of));
        }
        let (who, long) = (usize::try_from(draw(3)).unwrap(), "x".repeat(usize::try_from(draw(40)).unwrap()));
        let text = format!("42[\"n\",\"{n}{long}\"]");
        let costs = [1_000, i64::try_from(text.len() - 1).unwrap() * 1_000];
        let user = usize::from(who == 2);
        let mine = [2 * who, 2 * who + 1, 6 + 2 * user, 7 + 2 * user, 10, 11];
        let fits = |(at, index): (usize, &usize)| {
            let (of, level) = levels[*index];
            level >= costs[at % 2] || level == full(of)
        };
        match mine.iter().enumerate().position(|limit| !fits(limit)) {
            None => {
                for (at, index) in mine.into_iter().enumerate() {
                    levels[index].1 -= costs[at % 2];
                }
                handled.push(format!("\"{n}{long}\""));
            }
            Some(limit) => *counts.entry(limit).or_default() += 1,
        }
        wires[who].say(&text).await;
        assert!(wires[who].sync().await.is_empty());
        assert_eq!(log.lines().last(), handled.last(), "packet {n}: {levels:?}");
    }
    assert_eq!(log.lines(), handled);
    assert!(counts.len() == 6 && handled.len() > 300, "each limit was reached: {counts:?}, {}", handled.len());
    drop(clock);
    drop::<Vec<Wire>>(wires);
    server.finish().await;
}

/// Counts what this thread counts, by name and labels.
#[derive(Default)]
struct Counters(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counters {
    fn of(&self, name: &str) -> u64 {
        self.0.lock().get(name).map_or(0, |count| count.load(SeqCst))
    }
}

impl metrics::Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
        let name = labels.fold(key.name().to_owned(), |name, label| name + &label);
        Counter::from_arc(self.0.lock().entry(name).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

//! The upgrade from polling to a WebSocket over real sockets.

use crate::common::streams::over_streams;
use crate::common::wire::{BINARY, CLOSE, Frame, PING, PONG, TEXT, Wire, frame, head, request};
use crate::common::{Server, polling, say, until};
use roomcast_engine::{CloseReason, Transport};
use std::time::Duration;
use tokio::sync::watch;

/// A WebSocket whose probe was answered.
async fn probed(server: &Server, sid: &str) -> Wire {
    let mut wire = server.probing(sid).await;
    wire.say("2probe").await;
    assert_eq!(wire.text().await, "3probe");
    wire
}

/// The session is on the WebSocket, and polling is over.
async fn assert_switched(server: &Server, sid: &str, wire: &mut Wire) {
    wire.assert_alive("via-ws").await;
    assert_eq!(server.connection().transport(), Transport::WebSocket);
    assert_eq!(server.poll(sid).await.error(), (400, 3, "Bad request".to_owned()));
    let post = server.ask("POST", &polling(sid), &[], "4x").await;
    assert_eq!(post.error(), (400, 3, "Bad request".to_owned()));
    wire.assert_alive("still").await;
}

/// The session is still on polling, and works.
async fn assert_polling(server: &Server, sid: &str) {
    assert_eq!(server.connection().transport(), Transport::Polling);
    server.post(sid, "4by-polling").await.assert_ok();
    server.poll(sid).await.assert_payload("4by-polling");
}

async fn a_probe_and_an_upgrade_switch_the_session() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut wire = probed(&server, &sid).await;
    wire.say("5").await;
    assert_switched(&server, &sid, &mut wire).await;
    assert_eq!(server.log.texts(0), ["via-ws", "still"]);
    assert_eq!(server.log.opened(), 1);
    drop(wire);
    assert_eq!(server.closed(0).await, CloseReason::TransportClose);
    server.finish().await;
}

async fn a_held_get_is_answered_with_a_noop_soon_after_the_probe() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    let mut wire = probed(&server, &sid).await;
    let begun = tokio::time::Instant::now();
    held.answer().await.assert_payload("6");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // It is answered as often as needed.
    let mut held = server.hold(&sid).await;
    held.answer().await.assert_payload("6");
    wire.say("5").await;
    assert_switched(&server, &sid, &mut wire).await;
    server.finish().await;
}

async fn a_get_is_held_until_the_probe() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    let _wire = server.probing(&sid).await;
    server.say("x");
    held.answer().await.assert_payload("4x");
    server.finish().await;
}

async fn what_is_sent_between_probe_and_upgrade_leaves_through_a_held_get() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    let mut wire = probed(&server, &sid).await;
    server.say("x");
    held.answer().await.assert_payload("4x");
    wire.say("5").await;
    assert_switched(&server, &sid, &mut wire).await;
    server.finish().await;
}

async fn what_is_sent_between_probe_and_upgrade_waits_for_the_switch() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut wire = probed(&server, &sid).await;
    for number in 0..100 {
        server.say(&number.to_string());
    }
    wire.say("5").await;
    for number in 0..100 {
        assert_eq!(wire.text().await, format!("4{number}"));
    }
    assert_switched(&server, &sid, &mut wire).await;
    server.finish().await;
}

async fn an_upgrade_without_a_probe_is_accepted() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    let mut wire = server.probing(&sid).await;
    wire.say("5").await;
    held.answer().await.assert_payload("6");
    assert_switched(&server, &sid, &mut wire).await;
    server.finish().await;
}

async fn probe_upgrade_and_messages_may_come_in_one_segment() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut wire = server.connect().await;
    let target = format!("/engine.io/?EIO=4&transport=websocket&sid={sid}");
    let frames = [frame(TEXT, b"2probe"), frame(TEXT, b"5"), frame(TEXT, b"4a"), frame(BINARY, b"b")].concat();
    wire.send([crate::common::wire::upgrade(&target, &[]).into_bytes(), frames].concat()).await;
    assert_eq!(wire.answer().await.status, 101);
    assert_eq!(wire.text().await, "3probe");
    assert_eq!(wire.text().await, "4a");
    assert_eq!(wire.frame().await, Frame { first: BINARY, payload: b"b".to_vec() });
    assert_switched(&server, &sid, &mut wire).await;
    server.finish().await;
}

async fn anything_else_closes_the_probing_websocket_alone() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let cases = [
        frame(TEXT, b"4x"),
        frame(TEXT, b"2"),
        frame(TEXT, b"2prob"),
        frame(TEXT, b"3probe"),
        frame(TEXT, b""),
        frame(TEXT, b"garbage"),
        frame(TEXT, b"bAQID"),
        frame(BINARY, b"2probe"),
    ];
    for bytes in cases {
        let mut wire = server.probing(&sid).await;
        wire.send(&bytes).await;
        wire.assert_closed(None).await;
        let mut wire = probed(&server, &sid).await;
        wire.send(&bytes).await;
        wire.assert_closed(None).await;
        assert_polling(&server, &sid).await;
    }
    // A broken frame has its own code.
    let mut wire = probed(&server, &sid).await;
    wire.send(b"\xb1\x81\0\0\0\x002").await;
    wire.assert_closed(Some(1002)).await;
    assert_polling(&server, &sid).await;
    assert!(server.log.texts(0).iter().all(|text| text == "by-polling"));
    // After all of these it can still be upgraded.
    let mut wire = probed(&server, &sid).await;
    wire.say("5").await;
    assert_switched(&server, &sid, &mut wire).await;
    server.finish().await;
}

async fn control_pings_are_answered_while_probing() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut wire = server.probing(&sid).await;
    wire.send(frame(PING, b"a")).await;
    assert_eq!(wire.frame().await, Frame { first: PONG, payload: b"a".to_vec() });
    wire.say("2probe").await;
    wire.send(frame(PING, b"b")).await;
    assert_eq!(wire.text().await, "3probe");
    assert_eq!(wire.frame().await, Frame { first: PONG, payload: b"b".to_vec() });
    wire.say("5").await;
    assert_switched(&server, &sid, &mut wire).await;
    server.finish().await;
}

async fn an_upgrade_that_takes_too_long_is_over_and_polling_goes_on() {
    let server = Server::with(|config| config.upgrade_timeout = Duration::from_millis(150)).await;
    let sid = server.handshake().await;
    // With and without a probe.
    server.probing(&sid).await.assert_closed(None).await;
    probed(&server, &sid).await.assert_closed(None).await;
    assert_polling(&server, &sid).await;
    let mut wire = probed(&server, &sid).await;
    wire.say("5").await;
    assert_switched(&server, &sid, &mut wire).await;
    server.finish().await;
}

async fn a_second_websocket_is_refused_during_and_after_the_upgrade() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut wire = probed(&server, &sid).await;
    server.probing(&sid).await.assert_closed(None).await;
    wire.say("5").await;
    assert_switched(&server, &sid, &mut wire).await;
    server.probing(&sid).await.assert_closed(None).await;
    wire.assert_alive("after").await;
    // Its packets do not count either.
    let mut second = server.probing(&sid).await;
    second.try_send(frame(TEXT, b"5")).await;
    second.assert_closed(None).await;
    wire.assert_alive("after all").await;
    server.finish().await;
}

async fn a_probing_websocket_that_ends_leaves_the_session_on_polling() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut wire = probed(&server, &sid).await;
    wire.send(frame(CLOSE, &4_000_u16.to_be_bytes())).await;
    assert_eq!(wire.frame().await, Frame { first: CLOSE, payload: 4_000_u16.to_be_bytes().to_vec() });
    wire.assert_ended().await;
    assert_polling(&server, &sid).await;
    drop(probed(&server, &sid).await);
    probed_again(&server, &sid).await;
    probed(&server, &sid).await.reset();
    let mut wire = probed_again(&server, &sid).await;
    wire.say("5").await;
    assert_switched(&server, &sid, &mut wire).await;
    server.finish().await;
}

/// A WebSocket whose probe is answered, once the server has seen that the previous one has gone.
async fn probed_again(server: &Server, sid: &str) -> Wire {
    for _ in 0..1_000 {
        let mut wire = server.probing(sid).await;
        wire.say("2probe").await;
        if wire.frame().await.payload == b"3probe" {
            return wire;
        }
    }
    panic!("the upgrade that was given up is still under way");
}

async fn posts_are_taken_during_the_probe() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut wire = probed(&server, &sid).await;
    server.post(&sid, "4!a").await.assert_ok();
    server.post(&sid, "4!b").await.assert_ok();
    wire.say("5").await;
    assert_switched(&server, &sid, &mut wire).await;
    assert_eq!(server.log.texts(0)[..2], ["!a", "!b"]);
    server.finish().await;
}

/// A POST that is still being read when the session moves: its connection ends, as in Node, and its packets are
/// discarded, as they would come after what the WebSocket has brought. If it fails, that does not affect the session.
async fn a_post_that_the_upgrade_overtakes_is_discarded() {
    for dropped in [false, true] {
        let server = Server::start().await;
        let sid = server.handshake().await;
        let post = server.begin(format!("{}Content-Length: 4\r\n\r\n4!", head("POST", &polling(&sid), &[]))).await;
        let mut wire = probed(&server, &sid).await;
        wire.say("5").await;
        if dropped {
            drop(post);
        } else {
            server.assert_unanswered(post).await;
        }
        wire.assert_alive("x").await;
        assert_eq!(server.log.texts(0), ["x"]);
        assert_switched(&server, &sid, &mut wire).await;
        drop(wire);
        assert_eq!(server.closed(0).await, CloseReason::TransportClose);
        server.finish().await;
    }
}

/// A POST whose packets were handled, and whose answer is held back until the handler takes more, is answered when the
/// session moves: from then on only the WebSocket asks the handler.
async fn a_post_that_is_held_back_is_answered_by_the_upgrade() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    server.log.pause();
    let mut post = server.begin(request("POST", &polling(&sid), &[], "4!a")).await;
    let mut wire = probed(&server, &sid).await;
    wire.say("5").await;
    post.answer().await.assert_ok();
    assert_eq!(server.log.texts(0), ["!a"]);
    server.log.resume();
    assert_switched(&server, &sid, &mut wire).await;
    server.finish().await;
}

/// A WebSocket that has broken off its upgrade does not prevent another upgrade, although it stays open for its close.
async fn a_probe_that_breaks_or_closes_ends_its_upgrade_at_once() {
    let server = Server::with(|config| config.close_timeout = Duration::from_secs(60)).await;
    let sid = server.handshake().await;
    let mut broken = probed(&server, &sid).await;
    broken.send(b"\xb1\x81\0\0\0\x002").await;
    assert_eq!(broken.frame().await, Frame { first: CLOSE, payload: 1_002_u16.to_be_bytes().to_vec() });
    let mut next = probed(&server, &sid).await;
    // Its end does not end the current upgrade.
    drop(broken);
    next.send([frame(TEXT, b"2probe"), frame(CLOSE, b"")].concat()).await;
    assert_eq!(next.text().await, "3probe");
    assert_eq!(next.frame().await, Frame { first: CLOSE, payload: vec![] });
    let mut wire = probed(&server, &sid).await;
    wire.say("5").await;
    assert_switched(&server, &sid, &mut wire).await;
    server.finish().await;
}

async fn a_heartbeat_does_not_disturb_the_upgrade() {
    let server = Server::with(|config| {
        config.ping_interval = Duration::from_millis(200);
        config.ping_timeout = Duration::from_millis(2_000);
    })
    .await;
    let sid = server.handshake().await;
    let mut wire = probed(&server, &sid).await;
    // The ping leaves by polling; noops come before it.
    loop {
        let answer = server.poll(&sid).await;
        if answer.body == "2" {
            break;
        }
        answer.assert_payload("6");
    }
    server.post(&sid, "3").await.assert_ok();
    wire.say("5").await;
    // The next one comes over the WebSocket, and the heartbeat goes on there.
    for _ in 0..3 {
        assert_eq!(wire.text().await, "2");
        wire.say("3").await;
    }
    assert_eq!(server.log.closed(0), None);
    server.finish().await;
}

async fn a_ping_of_the_old_transport_may_be_answered_on_the_new_one() {
    let server = Server::with(|config| {
        config.ping_interval = Duration::from_millis(100);
        config.ping_timeout = Duration::from_millis(300);
    })
    .await;
    let sid = server.handshake().await;
    let mut held = server.hold(&sid).await;
    held.answer().await.assert_payload("2");
    let mut wire = probed(&server, &sid).await;
    wire.send([frame(TEXT, b"5"), frame(TEXT, b"3")].concat()).await;
    for _ in 0..5 {
        assert_eq!(wire.text().await, "2");
        wire.say("3").await;
    }
    // A ping that is never answered ends the session.
    assert_eq!(wire.text().await, "2");
    wire.assert_closed(None).await;
    assert_eq!(server.closed(0).await, CloseReason::PingTimeout);
    server.finish().await;
}

async fn a_session_that_ends_takes_its_probing_websocket_with_it() {
    // Long before the upgrade's own timeout, with and without a probe.
    let server = Server::with(|config| config.upgrade_timeout = Duration::from_secs(60)).await;
    for probe in [true, false] {
        let sid = server.handshake().await;
        let wire = if probe { probed(&server, &sid).await } else { server.probing(&sid).await };
        server.post(&sid, "1").await.assert_ok();
        wire.assert_closed(None).await;
        assert_eq!(server.closed(usize::from(!probe)).await, CloseReason::TransportClose);
    }
    server.finish().await;
}

/// Nothing is lost, doubled or reordered while the server sends without a pause and the client moves as the official
/// one does: it pauses its polling after `3probe`, then sends `5`.
async fn a_counted_stream_survives_the_upgrade() {
    for round in 0..20 {
        let server = Server::start().await;
        let sid = server.handshake().await;
        let connection = server.connection();
        // What the client has received, and whether it has enough.
        let (taken, mut progress) = watch::channel((0_u64, false));
        let sending = tokio::spawn({
            async move {
                let mut sent = 0_u64;
                // The client sets the pace: it is never behind by as much as its outbox takes.
                while !progress.wait_for(|(taken, enough)| *enough || sent - taken <= 500).await.unwrap().1 {
                    say(&connection, &sent.to_string());
                    sent += 1;
                    if sent.is_multiple_of(3) {
                        tokio::task::yield_now().await;
                    }
                }
                sent
            }
        });
        let take = |packet: &str| {
            if packet != "6" {
                assert_eq!(packet, format!("4{}", taken.borrow().0), "round {round}");
                taken.send_modify(|(taken, _)| *taken += 1);
            }
        };
        for _ in 0..round {
            server.poll(&sid).await.body.split('\u{1e}').for_each(take);
        }
        let mut held = server.connect().await;
        held.send(request("GET", &polling(&sid), &[], "")).await;
        let mut wire = server.probing(&sid).await;
        wire.say("2probe").await;
        assert_eq!(wire.text().await, "3probe");
        held.answer().await.body.split('\u{1e}').for_each(take);
        wire.say("5").await;
        for _ in 0..1_000 {
            take(&wire.text().await);
        }
        taken.send_modify(|(_, enough)| *enough = true);
        let sent = sending.await.unwrap();
        wire.say("4end").await;
        loop {
            let text = wire.text().await;
            if text == "4end" {
                break;
            }
            take(&text);
        }
        assert_eq!(taken.borrow().0, sent, "round {round}");
        drop(wire);
        server.finish().await;
    }
}

/// As above, but polls go on until the very moment of the switch, so that GETs are overtaken by it.
async fn polls_that_race_with_the_switch_lose_nothing() {
    for round in 0..50_u64 {
        let server = Server::start().await;
        let sid = server.handshake().await;
        let mut wire = probed(&server, &sid).await;
        let target = polling(&sid);
        let mut poller = server.connect().await;
        let polls = tokio::spawn(async move {
            let mut bodies = Vec::new();
            loop {
                poller.send(request("GET", &target, &[], "")).await;
                let answer = poller.answer().await;
                if answer.status != 200 {
                    return (answer.error(), bodies);
                }
                bodies.extend(answer.body.split('\u{1e}').map(str::to_owned));
            }
        });
        for number in 0..200 {
            server.say(&number.to_string());
            if number == 100 + round {
                wire.say("5").await;
            }
            tokio::task::yield_now().await;
        }
        let (error, mut packets) = polls.await.unwrap();
        assert_eq!(error, (400, 3, "Bad request".to_owned()));
        wire.say("4end").await;
        loop {
            let text = wire.text().await;
            if text == "4end" {
                break;
            }
            packets.push(text);
        }
        packets.retain(|packet| packet != "6");
        let all: Vec<_> = (0..200).map(|number| format!("4{number}")).collect();
        assert_eq!(packets, all, "round {round}");
        assert_eq!(server.log.closed(0), None);
        drop(wire);
        server.finish().await;
    }
}

async fn base64_of_the_websocket_counts_after_the_switch() {
    let server = Server::start().await;
    let sid = server.handshake().await;
    let mut wire = server.upgrade(&format!("EIO=4&transport=websocket&b64=1&sid={sid}")).await;
    wire.say("5").await;
    wire.send(frame(BINARY, &[1, 2])).await;
    assert_eq!(wire.text().await, "bAQI=");
    server.finish().await;
}

async fn an_upgrade_of_a_session_that_is_a_websocket_is_refused() {
    let server = Server::start().await;
    let mut wire = server.websocket().await;
    let sid = server.connection().sid().to_string();
    server.probing(&sid).await.assert_closed(None).await;
    wire.assert_alive("x").await;
    drop(wire);
    until("the session is over", || server.engine.sessions() == 0).await;
    server
        .refused(&format!("/engine.io/?EIO=4&transport=websocket&sid={sid}"), &[])
        .await
        .assert_refused("Session ID unknown");
    server.finish().await;
}

over_streams! {
    [serve, serve_tls, awkward, tls, axum]
    {
        current_thread: a_probe_and_an_upgrade_switch_the_session,
            a_held_get_is_answered_with_a_noop_soon_after_the_probe, a_get_is_held_until_the_probe,
            what_is_sent_between_probe_and_upgrade_leaves_through_a_held_get,
            what_is_sent_between_probe_and_upgrade_waits_for_the_switch, an_upgrade_without_a_probe_is_accepted,
            probe_upgrade_and_messages_may_come_in_one_segment, anything_else_closes_the_probing_websocket_alone,
            control_pings_are_answered_while_probing, an_upgrade_that_takes_too_long_is_over_and_polling_goes_on,
            a_second_websocket_is_refused_during_and_after_the_upgrade,
            a_probing_websocket_that_ends_leaves_the_session_on_polling, posts_are_taken_during_the_probe,
            a_post_that_the_upgrade_overtakes_is_discarded, a_post_that_is_held_back_is_answered_by_the_upgrade,
            a_probe_that_breaks_or_closes_ends_its_upgrade_at_once, a_heartbeat_does_not_disturb_the_upgrade,
            a_ping_of_the_old_transport_may_be_answered_on_the_new_one,
            a_session_that_ends_takes_its_probing_websocket_with_it, base64_of_the_websocket_counts_after_the_switch,
            an_upgrade_of_a_session_that_is_a_websocket_is_refused;
        multi_thread: a_counted_stream_survives_the_upgrade, polls_that_race_with_the_switch_lose_nothing;
    }
}

//! The first messages after an outage wait until the other servers have subscribed again, and no longer than they must.

use super::gate::{Gate, Publish};
use super::stage::{ACQUAINTED, Server, pass};
use roomcast_adapter::Adapter;
use roomcast_adapter::cluster::MemoryNetwork;
use roomcast_adapter::testkit::eventually;
use std::time::Duration;

/// What does not wait at all arrives within this time, which is less than one poll of the subscribers takes.
const AT_ONCE: Duration = Duration::from_millis(1);

/// The longest wait for other servers.
const LONGEST_WAIT: Duration = Duration::from_millis(1_500);

/// The longest wait for a server's own subscription, before the others have their time.
const LONGEST_OWN_WAIT: Duration = Duration::from_millis(2_500);

const SECOND: Duration = Duration::from_secs(1);

/// Cuts all of them off, or reconnects them.
fn cut(network: &MemoryNetwork, servers: &[&Server], cut: bool) {
    servers.iter().for_each(|server| network.cut_off(&server.broker, cut));
}

#[tokio::test(start_paused = true)]
async fn nothing_was_queued_and_the_first_message_waits_all_the_same() {
    // Shorter than between two announcements, so that nothing failed to go out, and so long that announcements did.
    for outage in [20, 3_000] {
        for away in [10, 240, 480] {
            let network = MemoryNetwork::new();
            let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
            pass(ACQUAINTED).await;
            cut(&network, &[&a, &b], true);
            pass(Duration::from_millis(outage)).await;
            cut(&network, &[&a], false);
            a.emit();
            assert_eq!(a.heard(&a), [1], "local delivery waits");
            pass(Duration::from_millis(away)).await;
            assert_eq!(a.cluster.queued(), 1, "it went out while nobody heard it");
            cut(&network, &[&b], false);
            assert!(eventually(|| b.heard(&a) == [1]).await, "lost after an outage of {outage} ms");
            pass(SECOND * 3).await;
            assert_eq!(b.lost(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_announcement_that_went_out_first_does_not_end_the_wait() {
    let network = MemoryNetwork::new();
    let ((gate, a), b) = (Gate::new(&network).server("a"), Server::new(&network, "b"));
    // Announcements go out at whole seconds.
    pass(ACQUAINTED).await;
    gate.set(Publish::Nothing);
    cut(&network, &[&b], true);
    pass(SECOND * 2).await;
    gate.set(Publish::Through);
    // An announcement went out 100 ms ago, and what is emitted now is the first message.
    pass(SECOND).await;
    a.emit();
    pass(Duration::from_millis(200)).await;
    assert_eq!(a.cluster.queued(), 1, "it went out while nobody heard it");
    cut(&network, &[&b], false);
    assert!(eventually(|| b.heard(&a) == [1]).await);
    assert_eq!(b.lost(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_come_back_is_not_waited_for_for_long() {
    let network = MemoryNetwork::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| Server::new(&network, name));
    pass(ACQUAINTED).await;
    cut(&network, &[&a, &b, &c], true);
    pass(AT_ONCE).await;
    cut(&network, &[&a, &c], false);
    a.emit();
    a.emit();
    pass(LONGEST_WAIT - AT_ONCE).await;
    assert!(c.heard(&a).is_empty());
    pass(AT_ONCE * 30).await;
    assert_eq!(c.heard(&a), [1, 2]);
    // It was waited for once already.
    a.emit();
    pass(AT_ONCE).await;
    assert_eq!(c.heard(&a), [1, 2, 3]);
    // Nor is it waited for if the others had their time before there was a message.
    cut(&network, &[&a, &c], true);
    pass(AT_ONCE).await;
    cut(&network, &[&a, &c], false);
    pass(SECOND * 3).await;
    a.emit();
    pass(AT_ONCE).await;
    assert_eq!(c.heard(&a), [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn messages_do_not_wait_if_no_server_is_missing() {
    let network = MemoryNetwork::new();
    let (a, b) = (Server::new(&network, "a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    cut(&network, &[&a], true);
    pass(AT_ONCE).await;
    cut(&network, &[&a], false);
    a.emit();
    pass(AT_ONCE).await;
    assert_eq!(b.heard(&a), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_subscribed_waits_for_itself_but_not_for_long() {
    let network = MemoryNetwork::new();
    let ((gate, a), b) = (Gate::new(&network).server("a"), Server::new(&network, "b"));
    pass(ACQUAINTED).await;
    gate.deafen().await;
    a.emit();
    pass(LONGEST_OWN_WAIT + LONGEST_WAIT - AT_ONCE).await;
    assert!(b.heard(&a).is_empty(), "who is counted may be itself or the other one");
    pass(AT_ONCE * 30).await;
    assert_eq!(b.heard(&a), [1]);
    // Once it receives announcements again it is one of those that do, and stands for no other server.
    cut(&network, &[&b], true);
    gate.hear();
    a.emit();
    pass(AT_ONCE * 100).await;
    assert_eq!(a.cluster.queued(), 1, "its own subscription was taken for the other's");
    cut(&network, &[&b], false);
    assert!(eventually(|| b.heard(&a) == [1, 2]).await);
}

/// Redis counts a subscription a moment before it confirms it. With very many rooms all servers take seconds until
/// then, and the others have their time after this one.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_counted_before_it_is_told_stands_for_no_other() {
    let just_before = |limit: Duration| limit - AT_ONCE * 30;
    for (told, back) in [(AT_ONCE * 100, AT_ONCE * 100), (just_before(LONGEST_OWN_WAIT), just_before(LONGEST_WAIT))] {
        let network = MemoryNetwork::new();
        let (mut gate, b) = (Gate::new(&network), Server::new(&network, "b"));
        gate.late = true;
        let (gate, a) = gate.server("a");
        gate.tell();
        pass(ACQUAINTED).await;
        cut(&network, &[&a, &b], true);
        pass(AT_ONCE).await;
        cut(&network, &[&a], false);
        a.emit();
        pass(told).await;
        assert_eq!(a.cluster.queued(), 1, "its own subscription was taken for the other's");
        gate.tell();
        pass(back).await;
        assert_eq!(a.cluster.queued(), 1, "it went out while nobody heard it");
        cut(&network, &[&b], false);
        assert!(eventually(|| b.heard(&a) == [1]).await);
        assert_eq!(b.lost(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_is_over_does_not_count_for_the_next() {
    let network = MemoryNetwork::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| Server::new(&network, name));
    pass(ACQUAINTED).await;
    cut(&network, &[&a, &c], true);
    pass(AT_ONCE).await;
    cut(&network, &[&a, &c], false);
    // Nothing is emitted, and then one of the servers that would have been waited for leaves.
    pass(SECOND * 3).await;
    b.adapter.close().await;
    b.cluster.close().await;
    cut(&network, &[&a, &c], true);
    pass(AT_ONCE).await;
    cut(&network, &[&a, &c], false);
    a.emit();
    pass(AT_ONCE).await;
    assert_eq!(c.heard(&a), [1]);
}

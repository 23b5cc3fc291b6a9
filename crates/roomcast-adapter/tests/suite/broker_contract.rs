//! The contract of the `Broker` seam: the memory broker keeps it, and each fault that we could think of is caught.

mod broken;

use broken::{Broken, Fault};
use roomcast_adapter::cluster::{Body, MemoryBroker, MemoryNetwork, Message};
use roomcast_adapter::testkit::{Brokers, Dialect, broker_contract, broker_rules};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn memory(count: usize, delay: Duration) -> Brokers {
    let network = MemoryNetwork::new();
    network.delay(delay);
    let brokers: Vec<Arc<MemoryBroker>> = (0..count).map(|_| network.broker()).collect();
    let all = brokers.clone();
    Brokers::new(brokers).cut_off(move |broker, cut| {
        network.cut_off(&all[broker], cut);
        std::future::ready(())
    })
}

/// A network in which rooms are subscribed one by one.
fn exact_rooms(count: usize, delay: Duration) -> Brokers {
    let network = MemoryNetwork::new();
    network.exact_rooms();
    network.delay(delay);
    let brokers: Vec<Arc<MemoryBroker>> = (0..count).map(|_| network.broker()).collect();
    let all = brokers.clone();
    Brokers::new(brokers).cut_off(move |broker, cut| {
        network.cut_off(&all[broker], cut);
        std::future::ready(())
    })
}

fn broken(count: usize, fault: Fault) -> Brokers {
    let network = MemoryNetwork::new();
    if fault.is_of_rooms() {
        network.exact_rooms();
    }
    let counts = fault != Fault::CountsAllTheSame;
    let brokers: Vec<Arc<Broken>> = (0..count).map(|_| Broken::new(network.broker(), fault)).collect();
    let (all, injected) = (brokers.clone(), brokers.clone());
    Brokers::new(brokers)
        .dialect(Dialect { counts, ..Dialect::default() })
        .cut_off(move |broker, cut| {
            all[broker].cut_off(&network, cut);
            std::future::ready(())
        })
        .inject(move |namespace, _| {
            injected.iter().for_each(|broker| broker.garbage(&namespace));
            std::future::ready(())
        })
}

#[tokio::test(start_paused = true)]
async fn the_memory_broker_keeps_the_contract() {
    broker_contract(async |count| memory(count, Duration::ZERO)).await;
}

#[tokio::test(start_paused = true)]
async fn the_memory_broker_keeps_the_contract_on_a_slow_network() {
    broker_contract(async |count| memory(count, Duration::from_millis(30))).await;
}

#[tokio::test(start_paused = true)]
async fn the_memory_broker_keeps_the_contract_with_rooms_subscribed_one_by_one() {
    broker_contract(async |count| exact_rooms(count, Duration::ZERO)).await;
    broker_contract(async |count| exact_rooms(count, Duration::from_millis(30))).await;
}

/// The suite also runs in real time, on a multi-threaded runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_can_be_checked_in_real_time() {
    broker_contract(async |count| memory(count, Duration::ZERO)).await;
}

/// Each fault, and the rule that must catch it.
const FAULTS: &[(Fault, &str)] = &[
    (Fault::DeafToItself, "delivery::everyone"),
    (Fault::Twice, "delivery::everyone"),
    (Fault::AllNamespaces, "delivery::other_namespaces"),
    (Fault::PrefixesMatch, "delivery::names"),
    (Fault::CutRoomAtSeparator, "delivery::rooms"),
    (Fault::FirstRoomDecides, "delivery::not_only_that_room"),
    (Fault::NoMessagesForOne, "delivery::one_server"),
    (Fault::PublishOnlyWhenOpen, "delivery::unopened"),
    (Fault::NoTimeout, "fields::bodies"),
    (Fault::NoTrailer, "fields::envelope"),
    (Fault::ForgetsWhatNobodyWants, "delivery::passed_over"),
    (Fault::SaysThatItHearsAll, "delivery::passed_over"),
    (Fault::EmptySender, "fields::envelope"),
    (Fault::EmptyAttachmentsAreText, "fields::attachments"),
    (Fault::NoNul, "fields::text"),
    (Fault::DropLarge, "fields::large"),
    (Fault::BatchBackwards, "order::batch"),
    (Fault::SwapNow, "order::publishers"),
    (Fault::LoseOneInAThousand, "order::publishers"),
    (Fault::RoadsByNumber, "roads::one_order"),
    (Fault::ChannelsOfARoomChange, "roads::one_order"),
    (Fault::OneBatchAtATime, "roads::at_once"),
    (Fault::RoadsMeet, "roads::at_once"),
    (Fault::NeverReady, "roads::ready_again"),
    (Fault::NeverReadyAgain, "roads::ready_again"),
    (Fault::ReadyNeverAnswers, "roads::ready_again"),
    (Fault::NeverConnected, "lifecycle::connected_first"),
    (Fault::ConnectedLate, "lifecycle::connected_first"),
    (Fault::LastInboxHears, "lifecycle::open_twice"),
    (Fault::NeverCloses, "lifecycle::close"),
    (Fault::ClosesForGood, "lifecycle::open_again"),
    (Fault::CountsItselfAlways, "lifecycle::peers"),
    (Fault::CountsNobody, "lifecycle::peers"),
    (Fault::CountsAllTheSame, "lifecycle::peers"),
    (Fault::CountedLate, "lifecycle::counted_first"),
    (Fault::LookedEarly, "rooms::looked"),
    (Fault::NeverLooked, "rooms::looked"),
    (Fault::LooksOnce, "rooms::others_left"),
    (Fault::LeavesAllRooms, "rooms::others_left"),
    (Fault::RemembersRoomsClosed, "rooms::opened_again"),
    (Fault::ForgetsRooms, "rooms::interrupted"),
    (Fault::DeafToLooksWhenCutOff, "rooms::interrupted"),
    (Fault::SilentAboutGarbage, "faults::malformed"),
    (Fault::DeafAfterGarbage, "faults::malformed"),
    (Fault::PublishesIntoTheVoid, "faults::publish_cut_off"),
    (Fault::KeepsWhatFailed, "faults::publish_cut_off"),
    (Fault::NeverLost, "faults::hear_again"),
    (Fault::DeafAfterReconnect, "faults::hear_again"),
];

#[tokio::test(start_paused = true)]
async fn each_fault_is_caught_by_its_rule() {
    for (fault, name) in FAULTS {
        let rule = broker_rules().iter().find(|rule| rule.name == *name);
        let rule = rule.unwrap_or_else(|| panic!("there is no rule {name}"));
        let caught = rule.check(async |count| broken(count, *fault)).await;
        let caught = caught.expect_err(&format!("{fault:?} is not caught by {name}"));
        println!("{fault:?}: {caught}");
    }
}

/// It must not be the wrapper that is caught.
#[tokio::test(start_paused = true)]
async fn without_a_fault_the_wrapper_keeps_the_contract() {
    broker_contract(async |count| broken(count, Fault::None)).await;
    broker_contract(async |count| broken(count, Fault::NoneInRooms)).await;
    broker_contract(async |count| broken(count, Fault::NoneOnRoads)).await;
}

#[test]
fn each_rule_has_a_fault_and_a_name_of_its_own() {
    let names: BTreeSet<&str> = broker_rules().iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), broker_rules().len());
    assert_eq!(names, FAULTS.iter().map(|(_, name)| *name).collect());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the broker breaks 1 of 31 rules:\n- faults::hear_again: A broker that was cut off reports")]
async fn a_broken_contract_panics_with_the_rule() {
    broker_contract(async |count| broken(count, Fault::NeverLost)).await;
}

/// As the classic dialect of Node's servers does.
fn without_timeout(mut message: Message) -> Option<Message> {
    if let Body::BroadcastWithAck { timeout, .. } = &mut message.body {
        *timeout = None;
    }
    Some(message)
}

#[tokio::test(start_paused = true)]
async fn a_loss_that_the_dialect_states_breaks_no_rule() {
    let dialect = Dialect { arrives: without_timeout, ..Dialect::default() };
    broker_contract(async |count| broken(count, Fault::NoTimeout).dialect(dialect)).await;
    let dialect = Dialect { echo: false, ..Dialect::default() };
    broker_contract(async |count| broken(count, Fault::DeafToItself).dialect(dialect)).await;
    let dialect = Dialect { counts: false, ..Dialect::default() };
    broker_contract(async |count| broken(count, Fault::CountsNobody).dialect(dialect)).await;
}

#[tokio::test(start_paused = true)]
async fn a_dialect_cannot_give_up_what_matters() {
    let nothing = Dialect { arrives: |_| None, ..Dialect::default() };
    let rule = broker_rules().iter().find(|rule| rule.name == "fields::bodies").unwrap();
    let caught = rule.check(async |count| memory(count, Duration::ZERO).dialect(nothing)).await.unwrap_err();
    assert!(caught.seen.starts_with("the dialect states a loss that no dialect may have"), "{caught}");
}

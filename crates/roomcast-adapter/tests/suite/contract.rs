//! The contract of the `Adapter` seam: the in-memory adapter keeps it, and so do several that are linked; each way of
//! breaking it that we could think of is caught.

mod broken;
mod linked;

use broken::{Broken, Fault};
use linked::Network;
use roomcast_adapter::testkit::{NAMESPACE, Servers, adapter_contract, adapter_rules};
use roomcast_adapter::{Adapter, Details, Local, Recipient, Wakes};
use roomcast_protocol::{Packet, SocketId};
use std::collections::BTreeSet;
use std::sync::Arc;

fn linked(servers: usize, fault: Fault) -> Servers {
    let network = Arc::new(Network::default());
    Servers::new(servers, |number, context| {
        let events = context.server_events.clone();
        Broken::new(network.join(number, context), events, fault)
    })
}

fn local(fault: Fault) -> Servers {
    Servers::new(1, |_, context| {
        let local = Local::of(&context);
        Broken::new(local, context.server_events, fault)
    })
}

#[tokio::test(start_paused = true)]
async fn the_adapter_in_memory_keeps_the_contract() {
    adapter_contract(async || Servers::new(1, |_, context| Local::of(&context))).await;
}

#[tokio::test(start_paused = true)]
async fn two_linked_servers_keep_the_contract() {
    adapter_contract(async || linked(2, Fault::None)).await;
}

#[tokio::test(start_paused = true)]
async fn three_linked_servers_keep_the_contract() {
    let network = async || {
        let network = Arc::new(Network::default());
        Servers::new(3, |number, context| network.join(number, context))
    };
    adapter_contract(network).await;
}

/// The suite also runs in real time, on a multi-threaded runtime.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_can_be_checked_in_real_time() {
    for rule in adapter_rules()
        .iter()
        .filter(|rule| ["order::same_for_all", "acks::at_once", "acks::silent", "delivery::once"].contains(&rule.name))
    {
        rule.check(async || linked(2, Fault::None)).await.unwrap();
    }
}

/// Each fault, the rule that must catch it, and the number of servers (one: a wrapped `Local`).
const FAULTS: &[(Fault, &str, usize)] = &[
    (Fault::OtherNamespace, "delivery::everyone", 1),
    (Fault::RoomsMeanEveryone, "delivery::room", 1),
    (Fault::OncePerRoom, "delivery::once", 1),
    (Fault::OncePerRoom, "delivery::once", 2),
    (Fault::ExceptOnlyForEveryone, "delivery::except_wins", 1),
    (Fault::NotInOwnRoom, "delivery::own_room", 1),
    (Fault::LateJoin, "delivery::join_then_emit", 1),
    (Fault::IgnoreLocal, "delivery::local_flag", 2),
    (Fault::SwapAttachments, "delivery::attachments", 1),
    (Fault::NeverVolatile, "delivery::volatile", 1),
    (Fault::SwallowTooLarge, "delivery::too_large", 1),
    (Fault::RoomsOfTwice, "membership::rooms_of", 1),
    (Fault::CountJoins, "membership::join_again", 1),
    (Fault::NoLeave, "membership::leave", 1),
    (Fault::LeaveOwnRoomLeavesAll, "membership::own_room_stays", 1),
    (Fault::NoRemove, "membership::remove", 1),
    (Fault::JoinBringsBack, "membership::join_after_remove", 1),
    (Fault::NoReplace, "membership::replace", 1),
    (Fault::ReplaceLeavesRooms, "membership::replace", 1),
    (Fault::ReplaceBringsBack, "membership::replace_after_remove", 1),
    (Fault::LastInsertWins, "membership::insert_twice", 1),
    (Fault::UnknownIdIsAnError, "membership::unknown_ids", 1),
    (Fault::CutRoomNames, "limits::room_name", 1),
    (Fault::JoinOneByOne, "limits::rooms_per_socket", 1),
    (Fault::JoinIgnoresExcept, "actions::join", 1),
    (Fault::NoActionLeave, "actions::leave", 1),
    (Fault::NeverClose, "actions::disconnect", 1),
    (Fault::IgnoreLocal, "actions::local_flag", 2),
    (Fault::SwapTwoEvents, "order::one_caller", 1),
    (Fault::OwnOrder, "order::same_for_all", 1),
    (Fault::AlwaysWait, "acks::complete", 1),
    (Fault::WaitForNobody, "acks::nobody", 1),
    (Fault::NobodyMissing, "acks::silent", 1),
    (Fault::NobodyMissing, "acks::silent", 2),
    (Fault::SecondAnswers, "acks::second_answers", 1),
    (Fault::AnyoneAnswers, "acks::strangers", 1),
    (Fault::NoRemove, "acks::removed", 1),
    (Fault::LoseEarlyAnswers, "acks::at_once", 1),
    (Fault::IdsFromOne, "acks::ids", 1),
    (Fault::AskPastTheLimit, "ack_limits::pending", 1),
    (Fault::TimeoutLeavesRest, "ack_limits::timed_out", 1),
    (Fault::DropLeavesRest, "ack_limits::dropped", 1),
    (Fault::NoDetails, "questions::fetch_sockets", 1),
    (Fault::CountPerRoom, "questions::count", 1),
    (Fault::RoomsTwice, "questions::all_rooms", 1),
    (Fault::ServerCountTwo, "servers::server_count", 1),
    (Fault::EventToItself, "servers::server_side_emit", 2),
    (Fault::AlwaysWait, "servers::server_side_answers", 2),
    (Fault::SilenceIsComplete, "servers::server_side_silence", 2),
    (Fault::DeafAfterClose, "servers::close", 1),
    (Fault::NoRoomsAtInsert, "entry::in_rooms", 1),
    (Fault::WelcomeAfterwards, "entry::welcome_first", 1),
    (Fault::RoomsAfterInsert, "entry::all_or_nothing", 1),
    (Fault::OneIsARoom, "acks::one", 1),
    (Fault::NeverVolatileAcks, "acks::volatile", 1),
];

#[tokio::test(start_paused = true)]
async fn each_fault_is_caught_by_its_rule() {
    for (fault, name, servers) in FAULTS {
        let rule = adapter_rules().iter().find(|rule| rule.name == *name);
        let rule = rule.unwrap_or_else(|| panic!("there is no rule {name}"));
        let make = async |fault| {
            if *servers == 1 { local(fault) } else { linked(*servers, fault) }
        };
        let caught = rule.check(async || make(*fault).await).await;
        let caught = caught.expect_err(&format!("{fault:?} on {servers} servers is not caught by {name}"));
        println!("{fault:?}: {caught}");
        // It must not be the wrapper that is caught.
        rule.check(async || make(Fault::None).await)
            .await
            .unwrap_or_else(|broken| panic!("without {fault:?}: {broken}"));
    }
}

#[test]
fn each_rule_has_a_fault_and_a_name_of_its_own() {
    let names: BTreeSet<&str> = adapter_rules().iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), adapter_rules().len());
    assert_eq!(names, FAULTS.iter().map(|(_, name, _)| *name).collect());
}

#[tokio::test(start_paused = true)]
#[should_panic(
    expected = "the adapter breaks 1 of 52 rules:\n- delivery::except_wins: A socket in a room of `except` gets nothing"
)]
async fn a_broken_contract_panics_with_the_rule() {
    adapter_contract(async || local(Fault::ExceptOnlyForEveryone)).await;
}

/// What the seam does not show: `Local` itself keeps nothing.
#[tokio::test(start_paused = true)]
async fn local_is_empty_after_each_rule() {
    for rule in adapter_rules() {
        let local = Local::new(NAMESPACE);
        rule.check(async || Servers::new(1, |_, _| local.clone())).await.unwrap();
        for room in local.rooms() {
            if let Ok(id) = room.parse() {
                local.remove(id);
            }
        }
        assert_eq!(local.sizes(), (0, 0, 0), "after {}", rule.name);
    }
}

/// Calls the adapter from another thread when it is dropped, so that a held lock shows as a missing answer.
#[derive(Debug)]
struct Curious(std::sync::Weak<Local>, std::sync::mpsc::Sender<bool>);

impl Recipient for Curious {
    fn deliver(&self, _packet: &Arc<Packet>, _wakes: &mut Wakes) {}

    fn disconnect(&self, _close: bool) {}

    fn details(&self) -> Details {
        Details::default()
    }
}

impl Drop for Curious {
    fn drop(&mut self) {
        let (local, (answer, answered)) = (self.0.clone(), std::sync::mpsc::channel());
        std::thread::spawn(move || {
            let _ = answer.send(local.upgrade().map(|local| local.sizes()));
        });
        let _ = self.1.send(answered.recv_timeout(std::time::Duration::from_secs(5)) == Ok(Some((0, 0, 0))));
    }
}

#[test]
fn a_recipient_is_dropped_outside_the_lock() {
    let (local, id) = (Local::new("/"), SocketId::random().unwrap());
    let (told, dropped) = std::sync::mpsc::channel();
    local.insert(id, Arc::new(Curious(Arc::downgrade(&local), told)), &[], None).unwrap();
    local.remove(id);
    assert_eq!(dropped.try_recv(), Ok(true), "the namespace's lock was held while a recipient was dropped");
}

//! [`Rule`]: one sentence of the adapters' contract, and its check.

mod ack_limits;
mod acks;
mod actions;
mod delivery;
mod entry;
mod limits;
mod membership;
mod order;
mod questions;
mod servers;

use crate::testkit::servers::Servers;
use crate::testkit::stage::{Outcome, Stage};
use std::fmt;
use std::pin::Pin;

/// One sentence of the adapters' contract.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its short name: a group, `::`, and a name in that group.
    pub name: &'static str,
    /// What must hold.
    pub says: &'static str,
    check: Check,
}

type Check = for<'a> fn(&'a mut Stage) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// A rule that does not hold.
#[derive(Debug, Clone)]
pub struct BrokenRule {
    /// The rule.
    pub rule: Rule,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for BrokenRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "- {}: {} But: {}.", self.rule.name, self.rule.says, self.seen)
    }
}

macro_rules! rule {
    ($module:ident::$name:ident, $says:literal) => {
        Rule {
            name: concat!(stringify!($module), "::", stringify!($name)),
            says: $says,
            check: |stage| Box::pin($module::$name(stage)),
        }
    };
}

/// The contract.
const RULES: &[Rule] = &[
    rule!(
        delivery::everyone,
        "An emit without rooms reaches every socket of the namespace once, as the event that was given."
    ),
    rule!(delivery::room, "An emit to a room reaches its members and nobody else."),
    rule!(delivery::once, "A socket that is in several of the target's rooms gets a packet once."),
    rule!(delivery::except_wins, "A socket in a room of `except` gets nothing, whatever other rooms it is in."),
    rule!(delivery::own_room, "A socket is always in the room named after its id, and can be excluded by that room."),
    rule!(
        delivery::join_then_emit,
        "After a join, an emit by the same caller reaches the socket on this server at once."
    ),
    rule!(delivery::local_flag, "An emit with `local` reaches only this server's sockets."),
    rule!(delivery::attachments, "Binary attachments arrive unharmed and in order."),
    rule!(delivery::volatile, "A volatile emit is delivered as a volatile packet, and any other emit is not."),
    rule!(delivery::too_large, "An event that is too large for a packet is refused as too large, and nothing is sent."),
    rule!(
        membership::rooms_of,
        "rooms_of returns exactly the rooms that were joined and not left, and the socket's own."
    ),
    rule!(membership::join_again, "Joining a room again changes nothing: one leave is enough."),
    rule!(membership::leave, "A socket that has left a room gets nothing that is emitted to it afterwards."),
    rule!(membership::own_room_stays, "A socket cannot leave the room named after its id."),
    rule!(membership::remove, "A removed socket is in no room, and nothing more is delivered to it."),
    rule!(membership::join_after_remove, "A join after remove does nothing."),
    rule!(
        membership::replace,
        "A recipient that replaces another gets what is delivered from then on, in the same rooms, and the one before gets nothing more."
    ),
    rule!(membership::replace_after_remove, "A replacement after remove does nothing."),
    rule!(membership::insert_twice, "An id that is taken is refused with Duplicate, and its first recipient stays."),
    rule!(membership::unknown_ids, "Unknown socket ids and ack ids are ignored in every call."),
    rule!(
        entry::in_rooms,
        "A socket that is inserted with rooms is in each of them once, and gets what is emitted to them."
    ),
    rule!(
        entry::welcome_first,
        "The welcome given to insert arrives once and before any broadcast, however many are in progress."
    ),
    rule!(
        entry::all_or_nothing,
        "An insert that is refused for its rooms leaves nothing behind: no room, no delivery, and the id is free."
    ),
    rule!(
        limits::room_name,
        "A room name of MAX_ROOM_BYTES is allowed; one byte more is refused with RoomName and nothing is joined."
    ),
    rule!(
        limits::rooms_per_socket,
        "MAX_ROOMS_PER_SOCKET rooms are allowed besides the socket's own; one more is refused with TooManyRooms and nothing is joined."
    ),
    rule!(actions::join, "Action::Join puts the sockets that the target selects into the rooms, and no others."),
    rule!(actions::leave, "Action::Leave takes the sockets that the target selects out of the rooms, and no others."),
    rule!(
        actions::disconnect,
        "Action::Disconnect calls the recipients that the target selects once, with its `close`, and no others."
    ),
    rule!(actions::local_flag, "An action with `local` changes only this server's sockets."),
    rule!(order::one_caller, "Emits of one caller arrive in order at every recipient, whatever their targets."),
    rule!(order::same_for_all, "All recipients get the emits of concurrent callers of one adapter in the same order."),
    rule!(
        acks::complete,
        "Acknowledgements are complete once every asked socket has answered, without waiting for the timeout."
    ),
    rule!(acks::nobody, "If nobody is asked, acknowledgements are complete at once."),
    rule!(
        acks::silent,
        "Sockets that do not answer until the timeout are counted, and the answers of the others are kept."
    ),
    rule!(acks::second_answers, "A socket's second answer is ignored."),
    rule!(acks::strangers, "Answers of sockets that were not asked are ignored."),
    rule!(acks::removed, "A socket of this server that is removed is no longer awaited, and counts as missing."),
    rule!(acks::at_once, "An answer given while the event is still being delivered is not lost."),
    rule!(
        acks::one,
        "An emit with acknowledgement to one socket asks only that socket, whoever else has joined the room of its id, on its own server."
    ),
    rule!(
        acks::volatile,
        "A volatile emit with acknowledgement is delivered as a volatile packet, and any other emit is not."
    ),
    rule!(acks::ids, "Ack ids count up from 0, one for each emit that wants acknowledgements."),
    rule!(
        ack_limits::pending,
        "A socket that has MAX_PENDING_ACKS answers to give is not asked for another one, which counts as missing at once; an answer makes room."
    ),
    rule!(
        ack_limits::timed_out,
        "Acknowledgements that timed out leave nothing behind: they are no longer pending, and late answers are ignored."
    ),
    rule!(
        ack_limits::dropped,
        "Acknowledgements that the caller dropped leave nothing behind: they are no longer pending."
    ),
    rule!(
        questions::fetch_sockets,
        "fetch_sockets returns id, rooms and details of exactly the sockets that the target selects."
    ),
    rule!(questions::count, "count returns the number of sockets that the target selects."),
    rule!(
        questions::all_rooms,
        "all_rooms returns each room with members once, including those of socket ids, and no room that everybody has left."
    ),
    rule!(servers::server_count, "server_count returns the number of servers, on each of them."),
    rule!(
        servers::server_side_emit,
        "server_side_emit reaches every other server once, not the sender, and no client."
    ),
    rule!(
        servers::server_side_answers,
        "server_side_emit_with_ack is complete once every other server has answered, without waiting for the timeout."
    ),
    rule!(
        servers::server_side_silence,
        "A server that does not answer in time makes the answer a partial one, which says so."
    ),
    rule!(
        servers::close,
        "After close a server's own sockets go on as in memory, the other servers go on without it, and closing again is harmless."
    ),
];

/// The rules of the contract.
pub fn adapter_rules() -> &'static [Rule] {
    RULES
}

impl Rule {
    /// Checks this rule on a new cluster.
    ///
    /// # Errors
    /// [`BrokenRule`] with what was seen.
    pub async fn check(&self, make: impl AsyncFn() -> Servers) -> Result<(), BrokenRule> {
        let outcome = match Stage::open(make().await).await {
            Ok(mut stage) => {
                let outcome = (self.check)(&mut stage).await;
                outcome.and(stage.close().await)
            }
            Err(seen) => Err(seen),
        };
        outcome.map_err(|seen| BrokenRule { rule: *self, seen })
    }
}

/// Checks every rule, each on a cluster of its own. Returns the broken rules, with which
/// [`adapter_contract`](super::adapter_contract) panics.
pub async fn broken_rules(make: impl AsyncFn() -> Servers) -> Vec<BrokenRule> {
    let mut broken = Vec::new();
    for rule in RULES {
        broken.extend(rule.check(&make).await.err());
    }
    broken
}

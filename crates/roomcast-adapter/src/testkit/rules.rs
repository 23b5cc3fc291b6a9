//! [`Rule`]: one sentence of the contract, and its check.

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

/// One sentence of the contract.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Its short name: a group, `::`, and the name in it.
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
    rule!(delivery::except_wins, "Who is in a room of `except` gets nothing, whatever other rooms they are in."),
    rule!(delivery::own_room, "A socket is always in the room named by its id, and may be left out by it."),
    rule!(
        delivery::join_then_emit,
        "A join, then an emit by the same caller reaches the joiner on this server at once."
    ),
    rule!(delivery::local_flag, "An emit with `local` reaches this server's sockets only."),
    rule!(delivery::attachments, "Binary attachments arrive unharmed and in order."),
    rule!(delivery::volatile, "A volatile emit is delivered as a volatile packet, any other as one that is not."),
    rule!(delivery::too_large, "An event too large for a packet is refused as too large, and nothing of it is sent."),
    rule!(
        membership::rooms_of,
        "rooms_of tells exactly the rooms that were joined and not left, and the socket's own."
    ),
    rule!(membership::join_again, "Joining a room again changes nothing: one leave is enough."),
    rule!(membership::leave, "Who leaves a room gets nothing that is emitted to it afterwards."),
    rule!(membership::own_room_stays, "Nobody leaves the room of their own id."),
    rule!(membership::remove, "A removed socket is in no room and is delivered nothing more."),
    rule!(membership::join_after_remove, "A join after remove does nothing."),
    rule!(
        membership::insert_twice,
        "An id that is in the namespace is refused with Duplicate, and its first recipient stays."
    ),
    rule!(membership::unknown_ids, "Unknown socket ids and ack ids are ignored, whatever is asked of them."),
    rule!(entry::in_rooms, "Who is inserted with rooms is in them, each once, and gets what is emitted to them."),
    rule!(
        entry::welcome_first,
        "The welcome that insert is given comes once, and before any broadcast, however many are under way."
    ),
    rule!(
        entry::all_or_nothing,
        "An insert that is refused for its rooms leaves nothing: no room, no delivery, and the id is free."
    ),
    rule!(
        limits::room_name,
        "A room name of MAX_ROOM_BYTES is allowed; one byte more is refused with RoomName and nothing is joined."
    ),
    rule!(
        limits::rooms_per_socket,
        "MAX_ROOMS_PER_SOCKET rooms are allowed besides the socket's own; one more is refused with TooManyRooms and nothing is joined."
    ),
    rule!(actions::join, "Action::Join puts the sockets that the target names into the rooms, and no others."),
    rule!(actions::leave, "Action::Leave takes the sockets that the target names out of the rooms, and no others."),
    rule!(
        actions::disconnect,
        "Action::Disconnect is told once, with its `close`, to the recipients that the target names, and to no others."
    ),
    rule!(actions::local_flag, "An action with `local` changes this server's sockets only."),
    rule!(order::one_caller, "Emits of one caller arrive in order at every recipient, whatever their targets."),
    rule!(order::same_for_all, "All recipients get the emits of concurrent callers of one adapter in the same order."),
    rule!(
        acks::complete,
        "Acknowledgements are complete once every asked socket has answered, without waiting for the timeout."
    ),
    rule!(acks::nobody, "Where nobody is asked, acknowledgements are complete at once."),
    rule!(
        acks::silent,
        "Sockets that do not answer until the timeout are counted, and the answers of the others are kept."
    ),
    rule!(acks::second_answers, "A socket's second answer is ignored."),
    rule!(acks::strangers, "Answers of sockets that were not asked are ignored."),
    rule!(acks::removed, "A socket of this server that is removed is not waited for any more, and counts as missing."),
    rule!(acks::at_once, "An answer that is given while the event is still being delivered is not lost."),
    rule!(
        acks::one,
        "A question to one socket is put to that socket alone, whoever else joined the room of its id, on its own server."
    ),
    rule!(
        acks::volatile,
        "A volatile emit with acknowledgement is delivered as a volatile packet, any other as one that is not."
    ),
    rule!(acks::ids, "Ack ids count up from 0, one for each emit that wants acknowledgements."),
    rule!(
        ack_limits::pending,
        "A socket that owes MAX_PENDING_ACKS answers is not asked for another, which counts as missing at once; an answer makes room."
    ),
    rule!(
        ack_limits::timed_out,
        "Nothing is left of acknowledgements that timed out: they do not count as owed, and late answers are ignored."
    ),
    rule!(
        ack_limits::dropped,
        "Nothing is left of acknowledgements that the caller dropped: they do not count as owed."
    ),
    rule!(
        questions::fetch_sockets,
        "fetch_sockets tells id, rooms and details of exactly the sockets that the target names."
    ),
    rule!(questions::count, "count agrees with the number of sockets that the target names."),
    rule!(
        questions::all_rooms,
        "all_rooms tells each room with members once, those of socket ids among them, and no room that was left."
    ),
    rule!(servers::server_count, "server_count is the number of servers, on each of them."),
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
        "A server that does not answer in time makes the answer a partial one that says so."
    ),
    rule!(
        servers::close,
        "After close a server's own sockets go on as in memory, the others go on without it, and closing again is harmless."
    ),
];

/// The contract's rules.
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

/// Checks every rule on a cluster of its own; what [`adapter_contract`](super::adapter_contract) panics with.
pub async fn broken_rules(make: impl AsyncFn() -> Servers) -> Vec<BrokenRule> {
    let mut broken = Vec::new();
    for rule in RULES {
        broken.extend(rule.check(&make).await.err());
    }
    broken
}

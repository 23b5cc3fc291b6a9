//! [`BrokerRule`]: one sentence of the brokers' contract, and its check.

mod bodies;
mod delivery;
mod faults;
mod fields;
mod lifecycle;
mod order;
mod roads;
mod rooms;

use crate::testkit::broker::brokers::Brokers;
use crate::testkit::broker::stage::BrokerStage;
use crate::testkit::stage::Outcome;
use std::fmt;
use std::pin::Pin;

/// One sentence of the brokers' contract.
#[derive(Debug, Clone, Copy)]
pub struct BrokerRule {
    /// Its short name: a group, `::`, and a name in that group.
    pub name: &'static str,
    /// What must hold.
    pub says: &'static str,
    /// The number of brokers that it needs.
    brokers: usize,
    check: Check,
}

type Check = for<'a> fn(&'a mut BrokerStage) -> Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// A rule that does not hold.
#[derive(Debug, Clone)]
pub struct BrokenBrokerRule {
    /// The rule.
    pub rule: BrokerRule,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for BrokenBrokerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "- {}: {} But: {}.", self.rule.name, self.rule.says, self.seen)
    }
}

macro_rules! rule {
    ($module:ident::$name:ident, $brokers:literal, $says:literal) => {
        BrokerRule {
            name: concat!(stringify!($module), "::", stringify!($name)),
            says: $says,
            brokers: $brokers,
            check: |stage| Box::pin($module::$name(stage)),
        }
    };
}

/// The contract.
const RULES: &[BrokerRule] = &[
    rule!(
        delivery::everyone,
        3,
        "A message reaches every open inbox of its namespace once, including the publisher's own where the dialect echoes."
    ),
    rule!(delivery::other_namespaces, 2, "A message reaches no inbox of another namespace."),
    rule!(
        delivery::names,
        2,
        "Namespaces that are prefixes of each other, or contain separators and glob characters, are kept apart."
    ),
    rule!(
        delivery::rooms,
        2,
        "A broadcast to one room arrives wherever that room has members, whatever characters its name has."
    ),
    rule!(
        delivery::not_only_that_room,
        2,
        "An inbox without any rooms gets broadcasts to everybody and to several rooms, and everything that is not a broadcast."
    ),
    rule!(
        delivery::passed_over,
        2,
        "A broadcast to a room that has no members here arrives as a message or as its trailer, in order with the others: it is not a loss."
    ),
    rule!(delivery::one_server, 3, "A message for one server reaches that server, once."),
    rule!(delivery::unopened, 2, "A broker can publish without having a namespace open."),
    rule!(
        fields::bodies,
        2,
        "Every kind of message arrives with every field, except for what the dialect states that it loses."
    ),
    rule!(fields::envelope, 2, "Sender and trailer arrive as they were given, or are absent as they were."),
    rule!(fields::attachments, 2, "Binary arguments arrive unharmed: none, empty ones, all byte values, several."),
    rule!(fields::text, 2, "Text arrives unharmed: escapes, quotes, line ends, characters of every plane, long names."),
    rule!(fields::large, 2, "A message with 1 MB of text, and one with 1 MB of binary, arrive."),
    rule!(order::batch, 2, "The messages of a batch arrive in order."),
    rule!(
        order::publishers,
        3,
        "10,000 messages of each of two concurrent publishers all arrive once, and each publisher's arrive in order in each series."
    ),
    rule!(
        roads::one_order,
        1,
        "Messages of a series share a road and a channel. Where order holds within each room only, the messages of a room do."
    ),
    rule!(
        roads::at_once,
        2,
        "Messages that are published on several roads at the same time arrive once, and in order on each channel."
    ),
    rule!(
        roads::ready_again,
        2,
        "A road is ready unless something blocks it: before it was cut off, and some time after. What is then published there goes out."
    ),
    rule!(
        lifecycle::connected_first,
        2,
        "An inbox is told that messages arrive before the first one does, and from then on they arrive."
    ),
    rule!(
        lifecycle::open_twice,
        2,
        "Opening a namespace twice changes nothing: only the first inbox gets messages, and gets them once."
    ),
    rule!(
        lifecycle::close,
        2,
        "After close nothing more arrives here; other servers go on, and closing again is harmless."
    ),
    rule!(lifecycle::open_again, 2, "A namespace that was closed can be opened again, with another inbox."),
    rule!(
        lifecycle::peers,
        3,
        "count is the number of brokers that have the namespace open, whichever broker is asked; it is always None in a dialect that does not count."
    ),
    rule!(
        lifecycle::counted_first,
        2,
        "A broker is counted from the moment in which its inbox is told that messages arrive. Its server relies on no count before that."
    ),
    rule!(rooms::looked, 2, "What is published to a room after a look at it has resolved arrives once."),
    rule!(
        rooms::others_left,
        2,
        "Broadcasts to a room that its last member here has left need not arrive; other rooms go on, and those to this room arrive again after a new look."
    ),
    rule!(
        rooms::opened_again,
        2,
        "Closing a namespace ends its rooms, and looks start them anew after it is opened again."
    ),
    rule!(
        rooms::interrupted,
        2,
        "Rooms that were looked at before or during an interruption are subscribed when the inbox is told that messages arrive again."
    ),
    rule!(faults::malformed, 2, "Input that is not a message is reported to the inbox, and messages after it arrive."),
    rule!(
        faults::publish_cut_off,
        2,
        "A broker that is cut off fails to publish, does not keep what it failed to publish, and can publish again once it is reconnected."
    ),
    rule!(
        faults::hear_again,
        2,
        "A broker that was cut off reports that messages do not arrive, then that they arrive again, and then they do."
    ),
];

/// The rules of the contract.
pub fn broker_rules() -> &'static [BrokerRule] {
    RULES
}

impl BrokerRule {
    /// Checks this rule on new brokers. `make` gets the number of brokers that are needed.
    ///
    /// # Errors
    /// [`BrokenBrokerRule`] with what was seen.
    pub async fn check(&self, make: impl AsyncFn(usize) -> Brokers) -> Result<(), BrokenBrokerRule> {
        let outcome = match BrokerStage::new(make(self.brokers).await, self.brokers) {
            Ok(mut stage) => {
                let outcome = (self.check)(&mut stage).await;
                outcome.and(stage.end().await)
            }
            Err(seen) => Err(seen),
        };
        outcome.map_err(|seen| BrokenBrokerRule { rule: *self, seen })
    }
}

/// Checks every rule, each on brokers of its own. Returns the broken rules; [`broker_contract`] panics with them.
pub async fn broken_broker_rules(make: impl AsyncFn(usize) -> Brokers) -> Vec<BrokenBrokerRule> {
    let mut broken = Vec::new();
    for rule in RULES {
        broken.extend(rule.check(&make).await.err());
    }
    broken
}

/// Checks every [`BrokerRule`] on brokers of its own. `make` gets how many brokers are needed.
///
/// ```
/// use roomcast_adapter::cluster::MemoryNetwork;
/// use roomcast_adapter::testkit::{Brokers, broker_contract};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
/// # runtime.block_on(async {
/// broker_contract(async |count| {
///     let network = MemoryNetwork::new();
///     Brokers::new((0..count).map(|_| network.broker()))
/// })
/// .await;
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// If a rule is broken: the message names each, says what must hold, and what was seen instead.
#[allow(clippy::panic)] // A test library reports by panicking, as `assert!` does.
pub async fn broker_contract(make: impl AsyncFn(usize) -> Brokers) {
    let broken = broken_broker_rules(make).await;
    if !broken.is_empty() {
        let list: String = broken.iter().map(|rule| format!("\n{rule}")).collect();
        panic!("the broker breaks {} of {} rules:{list}", broken.len(), broker_rules().len());
    }
}

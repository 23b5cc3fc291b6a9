//! [`BrokerRule`]: one sentence of the contract of brokers, and its check.

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

/// One sentence of the contract of brokers.
#[derive(Debug, Clone, Copy)]
pub struct BrokerRule {
    /// Its short name: a group, `::`, and the name in it.
    pub name: &'static str,
    /// What must hold.
    pub says: &'static str,
    /// Brokers that it needs.
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
        "A message reaches every open inbox of its namespace once, the publisher's own too where the dialect echoes."
    ),
    rule!(delivery::other_namespaces, 2, "A message reaches no inbox of another namespace."),
    rule!(
        delivery::names,
        2,
        "Namespaces that are prefixes of each other, or hold separators and glob characters, are kept apart."
    ),
    rule!(
        delivery::rooms,
        2,
        "A broadcast to one room comes wherever somebody is in that room, whatever characters its name has."
    ),
    rule!(
        delivery::not_only_that_room,
        2,
        "An inbox where nobody is in any room gets what is for everybody, for several rooms, and what is no broadcast."
    ),
    rule!(
        delivery::passed_over,
        2,
        "What is for a room that nobody here is in comes as a message or as its trailer, in its order among the rest: it is no loss."
    ),
    rule!(delivery::one_server, 3, "A message for one server reaches that server, once."),
    rule!(delivery::unopened, 2, "A broker that has no namespace open can publish."),
    rule!(
        fields::bodies,
        2,
        "Every kind of message arrives with every field, but for what the dialect is said to lose."
    ),
    rule!(fields::envelope, 2, "Sender and trailer arrive as they were given, and so does their absence."),
    rule!(fields::attachments, 2, "Binary arguments arrive unharmed: none, empty ones, all byte values, several."),
    rule!(fields::text, 2, "Text arrives unharmed: escapes, quotes, line ends, characters of every plane, long names."),
    rule!(fields::large, 2, "A message with 1 MB of text, and one with 1 MB of binary, arrive."),
    rule!(order::batch, 2, "The messages of a batch arrive in its order."),
    rule!(
        order::publishers,
        3,
        "10,000 messages of each of two publishers at the same time all arrive once, each publisher's in order in each series."
    ),
    rule!(
        roads::one_order,
        1,
        "Messages of a series take one road and have one channel, and where rooms are heard each by itself, those of a room do."
    ),
    rule!(
        roads::at_once,
        2,
        "What is published on several roads at the same time comes once, and in order on each channel."
    ),
    rule!(
        roads::ready_again,
        2,
        "A road that nothing bars is ready: before it was cut off, and some time after. What is published there then goes out."
    ),
    rule!(
        lifecycle::connected_first,
        2,
        "An inbox is told that messages come before the first comes, and from then on they do."
    ),
    rule!(lifecycle::open_twice, 2, "Opening a namespace twice changes nothing: the first inbox hears, and once."),
    rule!(lifecycle::close, 2, "After close nothing more comes here; others go on, and closing again is harmless."),
    rule!(lifecycle::open_again, 2, "A namespace that was closed can be opened again, with another inbox."),
    rule!(
        lifecycle::peers,
        3,
        "count is the number of brokers that have the namespace open, whoever asks; always none in a dialect that counts nobody."
    ),
    rule!(
        lifecycle::counted_first,
        2,
        "A broker is among the peers from the moment on in which its inbox is told that messages come: until then its server counts nobody."
    ),
    rule!(rooms::looked, 2, "What is published to a room after a look at it is done comes, once."),
    rule!(
        rooms::others_left,
        2,
        "What is for a room that its last member here has left need not come; other rooms go on, and that one comes again after a new look."
    ),
    rule!(
        rooms::opened_again,
        2,
        "Close ends the rooms of a namespace, and looks after it is opened again begin them anew."
    ),
    rule!(
        rooms::interrupted,
        2,
        "Rooms that were looked at before an interruption or in it are heard from when the inbox is told that messages come again."
    ),
    rule!(faults::malformed, 2, "What is no message is told to the inbox, and what comes after it is heard."),
    rule!(
        faults::publish_cut_off,
        2,
        "A broker that is cut off fails to publish, does not keep what it failed to publish, and publishes again after."
    ),
    rule!(
        faults::hear_again,
        2,
        "A broker that was cut off tells that messages are lost, then that they come again, and then they do."
    ),
];

/// The contract's rules.
pub fn broker_rules() -> &'static [BrokerRule] {
    RULES
}

impl BrokerRule {
    /// Checks this rule on new brokers. `make` gets how many are needed.
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

/// Checks every rule on brokers of its own; what [`broker_contract`](super::broker_contract) panics with.
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

//! The contracts of the two seams, [`Adapter`](crate::Adapter) and [`Broker`](crate::cluster::Broker), as suites that
//! every adapter and every broker runs, and recipients that stand in for sockets.
//!
//! Give [`adapter_contract`] a function that makes a cluster of your adapters. It calls the function once for each
//! [`Rule`] and panics with the rules that were broken. One server is a cluster, too:
//!
//! ```
//! use roomcast_adapter::Local;
//! use roomcast_adapter::testkit::{Servers, adapter_contract};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
//! # runtime.block_on(async {
//! adapter_contract(async || Servers::new(1, |_, context| Local::of(&context))).await;
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! With two or more servers the same rules are checked across them: each part is then played by one socket on every
//! server. Nothing waits for a fixed time: conditions are polled for [`CONDITION_TIMEOUT`] in tokio's time, so an
//! adapter without I/O can be tested under a paused clock.
//!
//! [`broker_contract`] does the same for brokers.
//!
//! Adapters need not offer [`Recovery`](crate::Recovery); for those that do there is [`recovery_contract`].

mod broker;
mod random;
mod recipient;
mod recovery;
mod rules;
mod servers;
mod stage;

pub use broker::{BrokenBrokerRule, BrokerRule, Brokers, Dialect, broken_broker_rules, broker_contract, broker_rules};
pub use random::{Random, mix};
pub use recipient::{CountingRecipient, FakeRecipient, ReceivedEvent};
pub use recovery::{RecoveryRule, recovery_contract, recovery_rules};
pub use rules::{BrokenRule, Rule, adapter_rules, broken_rules};
pub use servers::{NAMESPACE, Server, Servers};
pub use stage::{CONDITION_TIMEOUT, eventually};

/// Checks every [`Rule`], each on a cluster of its own.
///
/// # Panics
/// If a rule is broken. The message names each broken rule, says what must hold, and what was seen instead.
#[allow(clippy::panic)] // A test library reports by panicking, as `assert!` does.
pub async fn adapter_contract(make: impl AsyncFn() -> Servers) {
    let broken = broken_rules(make).await;
    if !broken.is_empty() {
        let list: String = broken.iter().map(|rule| format!("\n{rule}")).collect();
        panic!("the adapter breaks {} of {} rules:{list}", broken.len(), adapter_rules().len());
    }
}

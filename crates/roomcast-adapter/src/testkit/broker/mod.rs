//! The contract of the [`Broker`](crate::cluster::Broker) seam as a suite that every broker runs.

mod brokers;
mod rules;
mod stage;

pub use brokers::{Brokers, Dialect};
pub use rules::{BrokenBrokerRule, BrokerRule, broken_broker_rules, broker_contract, broker_rules};

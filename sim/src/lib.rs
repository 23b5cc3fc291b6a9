//! Simulations of clusters: servers of the product over a network that misbehaves by a seed, in virtual time, beside a model that
//! says what each socket must have got, what is counted as lost, and how questions end. `README.md` says which rule holds when.

mod announced;
mod broker;
mod drawing;
mod exam;
mod got;
mod habits;
mod model;
mod network;
pub mod plan;
mod question;
pub mod random;
mod recipient;
pub mod shrink;
mod state;
mod trouble;
mod world;

pub use exam::{Report, run};

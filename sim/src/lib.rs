//! Simulates clusters: servers of the product over a network that fails as a seed says, in virtual time, beside a model
//! that says what each socket must have got, what must be counted as lost, and how questions must end. `README.md`
//! lists the rules and when each one holds.

mod act;
mod announced;
mod broker;
mod comeback;
mod delivery;
mod drawing;
mod exam;
mod got;
mod habits;
mod keeping;
mod lifecycle;
mod mark;
mod model;
mod network;
mod place;
pub mod plan;
mod puppets;
mod question;
pub mod random;
mod recipient;
mod session;
pub mod shrink;
mod state;
mod trouble;
mod world;

pub use exam::{Report, run};

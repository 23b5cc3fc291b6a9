//! The contracts of the seams, and what implements them. This is one program, as each test program is linked
//! separately; only `told_after_the_lock.rs` is another one, as it listens to the logs of the whole process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod allocations;
mod broker_contract;
mod cable;
mod cluster;
mod cluster_faults;
mod codec;
mod contract;
mod nats_broker;
mod recovery;
mod recovery_cluster;
mod recovery_contract;
mod rooms_model;
mod tcp_broker;

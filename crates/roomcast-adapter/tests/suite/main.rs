//! The contracts of the seams, and what stands behind them. One program, as each one is linked by itself; only
//! `told_after_the_lock.rs` is another, as it listens to what the whole process logs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod allocations;
mod broker_contract;
mod cable;
mod cluster;
mod cluster_faults;
mod codec;
mod contract;
mod nats_broker;
mod rooms_model;
mod tcp_broker;

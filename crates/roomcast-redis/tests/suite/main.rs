//! Brokers over Redis servers of the tests' own. All tests are one program, as each program is linked by itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod broadcasts;
mod certificates;
mod classic;
mod closing;
#[path = "../common/mod.rs"]
mod common;
mod counting;
mod credentials;
mod failovers;
mod faults;
mod idle;
mod inbound;
mod measured;
mod refusals;
mod replicas;
mod sentinels;
mod sharded;
mod sharded_cluster;
mod timeouts;
mod tls;
mod watch;

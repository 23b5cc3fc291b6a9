//! The server over real sockets. These tests are one program, because linking each file by itself is slow. Only `told.rs` is another, as
//! it reads what the whole process logs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod acks;
mod answers;
mod at_fault;
mod bursts;
mod busy;
#[path = "../common/mod.rs"]
mod common;
mod connect_order;
mod connects;
mod disconnects;
mod drain;
mod edges;
mod ends;
mod handlers;
mod handshakes;
mod health;
mod listeners;
mod moments;
mod namespaces;
mod options;
mod outgoing;
mod packed;
mod rates;
mod recovery;
mod regressions;
mod room_events;
mod statistics;
mod vectors;
mod verbs;

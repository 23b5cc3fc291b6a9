//! What a network that misbehaves does to a cluster, over the memory network and a paused clock: every loss is counted
//! exactly, doubles reach nobody, order holds, queues keep their bounds, and partial answers say what is missing.

#![allow(clippy::unwrap_used)] // Helpers of tests, where a failure is a panic.

#[path = "cluster_faults/gate.rs"]
mod gate;
#[path = "cluster_faults/stage.rs"]
mod stage;

#[path = "cluster_faults/answers.rs"]
mod answers;
#[path = "cluster_faults/losses.rs"]
mod losses;
#[path = "cluster_faults/membership.rs"]
mod membership;
#[path = "cluster_faults/outage.rs"]
mod outage;
#[path = "cluster_faults/questions.rs"]
mod questions;
#[path = "cluster_faults/queue.rs"]
mod queue;
#[path = "cluster_faults/roads.rs"]
mod roads;
#[path = "cluster_faults/together.rs"]
mod together;

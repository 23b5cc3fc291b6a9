//! What a failing network does to a cluster, over the memory network and a paused clock: every loss is counted exactly,
//! doubles reach nobody, order holds, queues keep to their limits, and partial answers say what is missing.

mod gate;
mod stage;

mod answers;
mod losses;
mod membership;
mod outage;
mod questions;
mod queue;
mod roads;
mod together;

//! What this server publishes: the queue, its roads, the numbers of its messages, and its announcements.

mod announcing;
pub(crate) mod asker;
mod backlog;
mod drain;
mod notices;
mod numbers;
mod outage;
pub(crate) mod pace;
pub(crate) mod queue;
mod queued;
mod road;

//! What this server publishes: the queue, its roads, the numbers of its messages, and its announcements.

pub(crate) mod announcer;
pub(crate) mod asker;
mod backlog;
mod drain;
mod numbers;
mod outage;
pub(crate) mod queue;
mod queued;
mod road;
mod telling;

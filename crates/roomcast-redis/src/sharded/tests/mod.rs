//! The recorded traffic of Node's servers (`vectors/`): we write the same bytes, and read all of them.

mod inbound;
mod published;
mod recorded;
mod subscriptions;

use crate::js;

//! The recorded traffic of Node's servers (`vectors/`): we write the same bytes, and read them all.

mod inbound;
mod published;
mod recorded;
mod wanted;

use crate::js;

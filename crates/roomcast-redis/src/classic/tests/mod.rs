//! The recorded traffic of Node's servers and emitters (`vectors/`): we write the same bytes, and read all of them.

mod inbound;
mod published;
mod recorded;

use crate::js;

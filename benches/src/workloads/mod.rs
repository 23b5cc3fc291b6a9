//! What the servers are made to do, each a function that measures one server once.

mod beside;
mod connects;
mod crowd;
mod echo;
mod rooms;

pub use beside::{Beside, They, Waits, beside};
pub use connects::{Connects, connects};
pub use echo::echo;
pub use rooms::{Rooms, rooms};

use std::time::Duration;

/// Bytes of a message's text.
pub const PAYLOAD: usize = 128;

/// Nothing came for so long: the measurement has failed.
const SILENCE: Duration = Duration::from_secs(20);

/// What a measurement fails with.
pub type Failure = Box<dyn std::error::Error>;

fn text() -> String {
    "x".repeat(PAYLOAD)
}

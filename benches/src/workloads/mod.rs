//! The workloads: functions that each measure a server once.

mod beside;
mod connects;
mod crowd;
mod echo;
mod message;
mod rooms;

pub use beside::{Beside, They, Waits, beside};
pub use connects::{Connects, connects};
pub use echo::echo;
pub use message::{Failure, PAYLOAD};
pub use rooms::{Rooms, rooms};

//! [`Series`]: which messages of a process are numbered together.

/// Most namespaces that have numbers, each in two series, and that others are told of; what is in others is sent all the same, and
/// its losses are not counted.
pub(crate) const MAX_NUMBERED: usize = 8_192;

/// Which of a process' messages in a namespace are numbered together. A message that nobody at a receiver wants need not be
/// decoded there, and which those are differs: so what goes to a single room has a series of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Series {
    /// Everything that every server needs.
    Main,
    /// Broadcasts to one room.
    Rooms,
}

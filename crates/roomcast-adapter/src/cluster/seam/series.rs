//! [`Series`]: which messages of a process are numbered together.

/// Most namespaces that are numbered, each in two series, and that are announced to other servers. Messages in further
/// namespaces are sent all the same, but their losses are not counted.
pub(crate) const MAX_NUMBERED: usize = 8_192;

/// Which messages of a process in a namespace are numbered together. A message that nobody at a receiver wants is not
/// decoded there, and receivers differ in what they want; so broadcasts to a single room have a series of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Series {
    /// Everything that every server needs.
    Main,
    /// Broadcasts to one room.
    Rooms,
}

//! [`Rooms`]: what may be given where rooms are named.

use roomcast_adapter::Room;
use roomcast_protocol::SocketId;

/// One room or several: a string, a [`Room`], a socket's id, or an array, slice or vector of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name rooms",
    label = "a room is named by text: write `value.to_string()`, a string, a socket's id, or a list of these"
)]
pub trait Rooms {
    /// Adds the rooms.
    fn push_to(self, rooms: &mut Vec<Room>);

    /// The rooms.
    fn into_vec(self) -> Vec<Room>
    where
        Self: Sized,
    {
        let mut rooms = Vec::new();
        self.push_to(&mut rooms);
        rooms
    }
}

macro_rules! one_room {
    ($($type:ty)*) => {
        $(impl Rooms for $type {
            fn push_to(self, rooms: &mut Vec<Room>) {
                rooms.push(self.into());
            }
        })*
    };
}

one_room!(&str String &String Room &Room SocketId);

impl<T: Into<Room>, const N: usize> Rooms for [T; N] {
    fn push_to(self, rooms: &mut Vec<Room>) {
        rooms.extend(self.into_iter().map(Into::into));
    }
}

impl<T: Into<Room>> Rooms for Vec<T> {
    fn push_to(self, rooms: &mut Vec<Room>) {
        rooms.extend(self.into_iter().map(Into::into));
    }
}

impl<T: Into<Room> + Clone> Rooms for &[T] {
    fn push_to(self, rooms: &mut Vec<Room>) {
        rooms.extend(self.iter().cloned().map(Into::into));
    }
}

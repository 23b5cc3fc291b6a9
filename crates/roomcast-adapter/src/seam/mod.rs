//! The [`Adapter`](adapter::Adapter) seam: what a namespace asks of its rooms, and the types that it uses for this.

pub(crate) mod adapter;
pub(crate) mod answer;
pub(crate) mod emit;
pub(crate) mod error;
pub(crate) mod recipient;
pub(crate) mod recovery;
pub(crate) mod room;
pub(crate) mod room_feed;
pub(crate) mod target;

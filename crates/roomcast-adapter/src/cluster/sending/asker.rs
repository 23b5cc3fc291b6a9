//! [`Asker`]: who asked a question.

use crate::cluster::seam::ids::ServerId;

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) id: Option<ServerId>,
    /// It is a roomcast server.
    pub(crate) is_roomcast: bool,
}

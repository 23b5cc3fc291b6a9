//! [`Asker`]: the server that asked a question.

use crate::cluster::seam::ids::ServerId;

/// The server that asked a question.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) id: Option<ServerId>,
    /// Whether it is a roomcast server.
    pub(crate) is_roomcast: bool,
}

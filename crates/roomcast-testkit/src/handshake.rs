//! [`Opened`]: the first packet of a session.

use crate::connect_error::ConnectError;
use serde::Deserialize;

/// What the server says of a session that it has opened.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Opened {
    pub(crate) sid: String,
    pub(crate) max_payload: usize,
}

impl Opened {
    pub(crate) fn read(client: &str, packet: &str) -> Result<Self, ConnectError> {
        let opened = packet.strip_prefix('0').and_then(|json| serde_json::from_str(json).ok());
        opened.ok_or_else(|| ConnectError::new(client, format!("the session began with {packet:?}")))
    }
}

//! [`Query`]: the query parameters of a request.

use crate::engine::Engine;
use crate::http::error::RequestError;
use crate::session::transport::Transport;
use form_urlencoded::parse;
use std::borrow::Cow;

/// The query parameters that matter. Of a repeated one the last counts.
#[derive(Default)]
pub(crate) struct Query<'a> {
    pub(crate) protocol: Option<Cow<'a, str>>,
    pub(crate) transport: Option<Cow<'a, str>>,
    pub(crate) sid: Option<Cow<'a, str>>,
    pub(crate) base64: bool,
    pub(crate) jsonp: bool,
}

impl<'a> Query<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut query = Self::default();
        for (name, value) in parse(text.as_bytes()) {
            match &*name {
                "EIO" => query.protocol = Some(value),
                "transport" => query.transport = Some(value),
                "sid" => query.sid = Some(value),
                "b64" => query.base64 = !value.is_empty(),
                "j" => query.jsonp = true,
                _ => {}
            }
        }
        query
    }

    pub(crate) fn transport(&self, engine: &Engine) -> Result<Transport, RequestError> {
        let transport = match self.transport.as_deref() {
            Some("polling") => Transport::Polling,
            Some("websocket") => Transport::WebSocket,
            _ => return Err(RequestError::UnknownTransport),
        };
        if engine.config().offers(transport) { Ok(transport) } else { Err(RequestError::UnknownTransport) }
    }

    pub(crate) fn sid(&self) -> Option<&str> {
        self.sid.as_deref().filter(|sid| !sid.is_empty())
    }

    pub(crate) fn is_protocol_4(&self) -> bool {
        self.protocol.as_deref() == Some("4")
    }
}

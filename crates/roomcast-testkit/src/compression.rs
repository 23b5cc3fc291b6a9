//! [`Compression`]: what of a client's connection was compressed, and how a client reads it.

use flate2::read::{GzDecoder, ZlibDecoder};
use http::header::{HeaderMap, HeaderValue, SEC_WEBSOCKET_EXTENSIONS};
use roomcast_protocol::limits::DEFLATE_LARGEST;
use std::io::Read;

/// What of a client's connection was compressed so far. All its namespaces share the connection, and a
/// [reconnect](crate::Client::reconnect) begins a new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compression {
    /// Whether the server has agreed to permessage-deflate for the client's WebSocket.
    pub agreed: bool,
    /// Messages of a WebSocket and answers to polls that came compressed. An attachment is a message of its own.
    pub received: u64,
    /// Messages that the client has sent compressed.
    pub sent: u64,
}

/// The offer of a client, and the only answer to it: each message is compressed by itself, on both sides.
pub(crate) const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Whether the server has agreed to permessage-deflate.
///
/// # Errors
/// It has agreed to what was not offered.
pub(crate) fn agreed(headers: &HeaderMap, offered: bool) -> Result<bool, String> {
    let answers: Vec<&HeaderValue> = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().collect();
    match answers[..] {
        [] => Ok(false),
        [answer] if offered && answer == OFFER => Ok(true),
        _ => Err(format!("the server uses extensions that were not offered: {answers:?}")),
    }
}

/// A body as it was before the server compressed it.
///
/// # Errors
/// It is damaged, has an encoding that roomcast does not use, or is larger than what roomcast compresses.
pub(crate) fn decompressed(encoding: &HeaderValue, body: &[u8]) -> Result<Vec<u8>, String> {
    let decompressed = match encoding.as_bytes() {
        b"gzip" => read(GzDecoder::new(body)),
        b"deflate" => read(ZlibDecoder::new(body)),
        _ => Err("the encoding is unknown".to_owned()),
    };
    decompressed.map_err(|why| format!("an answer with the encoding {encoding:?} cannot be read: {why}"))
}

fn read(stream: impl Read) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    stream.take(DEFLATE_LARGEST as u64 + 1).read_to_end(&mut body).map_err(|error| error.to_string())?;
    if body.len() > DEFLATE_LARGEST { Err(format!("it has more than {DEFLATE_LARGEST} bytes")) } else { Ok(body) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_protocol::deflate::{Format, compress_body, negotiate};

    #[test]
    fn the_server_answers_the_offer_with_the_offer() {
        assert_eq!(negotiate(OFFER).unwrap().unwrap().to_string(), OFFER);
        let answer = |values: &[&'static str]| {
            let headers = values.iter().map(|value| (SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(value)));
            HeaderMap::from_iter(headers)
        };
        assert_eq!(agreed(&answer(&[]), true), Ok(false));
        assert_eq!(agreed(&answer(&[]), false), Ok(false));
        assert_eq!(agreed(&answer(&[OFFER]), true), Ok(true));
        assert!(agreed(&answer(&[OFFER]), false).is_err());
        assert!(agreed(&answer(&["permessage-deflate"]), true).is_err(), "the server would need its context");
        assert!(agreed(&answer(&[OFFER, "x"]), true).is_err());
    }

    #[test]
    fn bodies_come_back_up_to_what_roomcast_compresses() {
        for format in [Format::Gzip, Format::Zlib] {
            let encoding = HeaderValue::from_static(format.as_str());
            for length in [100, 70_000, DEFLATE_LARGEST] {
                let body = b"ab".repeat(length / 2);
                let compressed = compress_body(&body, format, 6).unwrap();
                assert!(decompressed(&encoding, &compressed) == Ok(body), "{length} bytes");
                let (_, cut) = compressed.split_last().unwrap();
                assert!(decompressed(&encoding, cut).is_err(), "the end is missing");
            }
        }
        let mut past = Vec::new();
        flate2::read::ZlibEncoder::new(&vec![0; DEFLATE_LARGEST + 1][..], flate2::Compression::fast())
            .read_to_end(&mut past)
            .unwrap();
        assert!(decompressed(&HeaderValue::from_static("deflate"), &past).is_err());
        assert!(decompressed(&HeaderValue::from_static("gzip"), b"plain").is_err());
        assert!(decompressed(&HeaderValue::from_static("br"), b"").is_err());
    }
}

//! What the WebSocket opening handshake (RFC 6455, section 4) needs beyond HTTP: the key, its answer and the
//! subprotocol.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1_smol::Sha1;

/// The constant that RFC 6455 (section 1.3) appends to the key.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Characters of a `Sec-WebSocket-Key`: 16 bytes in base64, of which the last two are padding.
const KEY_LEN: usize = 24;

/// The `Sec-WebSocket-Accept` header that answers a `Sec-WebSocket-Key`: 28 characters. The key is not checked, see
/// [`is_valid_key`].
///
/// ```
/// use roomcast_protocol::websocket::accept_key;
///
/// assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_key(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(KEY_SUFFIX);
    STANDARD.encode(hash.digest().bytes())
}

/// Whether `key` can be a `Sec-WebSocket-Key`: 22 characters of base64 and `==`. As in Node's `ws`, the four surplus
/// bits of the last character need not be zero.
pub fn is_valid_key(key: &[u8]) -> bool {
    key.len() == KEY_LEN
        && key
            .strip_suffix(b"==")
            .is_some_and(|digits| digits.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')))
}

/// The first subprotocol of a `Sec-WebSocket-Protocol` header, which is the one that a Node server answers with.
///
/// `None` if the header is not a comma-separated list of distinct tokens. Such a request is to be refused with 400. The
/// time taken is linear in the length of the header, whatever spaces it contains.
///
/// ```
/// use roomcast_protocol::websocket::first_subprotocol;
///
/// assert_eq!(first_subprotocol("chat, superchat"), Some("chat"));
/// assert_eq!(first_subprotocol("chat, , superchat"), None);
/// ```
pub fn first_subprotocol(header: &str) -> Option<&str> {
    let is_space = |character| matches!(character, ' ' | '\t');
    let mut seen = HashSet::new();
    let mut first = None;
    for item in header.split(',') {
        let token = item.trim_matches(is_space);
        if token.is_empty() || !token.bytes().all(is_token_byte) || !seen.insert(token) {
            return None;
        }
        first = first.or(Some(token));
    }
    first
}

/// `tchar` of RFC 9110, section 5.6.2.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and answer of RFC 6455, section 1.3, and a second pair made with `openssl dgst -sha1 -binary | base64`.
    #[test]
    fn accept_keys() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accept_key(b"AAAAAAAAAAAAAAAAAAAAAA=="), "ICX+Yqv66kxgM0FcWaLWlFLwTAI=");
    }

    #[test]
    fn keys_are_22_characters_of_base64_and_two_of_padding() {
        for valid in [
            "dGhlIHNhbXBsZSBub25jZQ==",
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "+/+/+/+/+/+/+/+/+/+/+z==",
            "0123456789azAZ01234567==",
        ] {
            assert!(is_valid_key(valid.as_bytes()), "{valid}");
        }
        for invalid in [
            "",
            "==",
            "dGhlIHNhbXBsZSBub25jZ===",
            "dGhlIHNhbXBsZSBub25jZQ=",
            "dGhlIHNhbXBsZSBub25jZQ===",
            "dGhlIHNhbXBsZSBub25jZQA=",
            "dGhlIHNhbXBsZSBub25jZQAA",
            "dGhlIHNhbXBsZSBub25jZQA==",
            "dGhlIHNhbXBsZSBub25j-Q==",
            "dGhlIHNhbXBsZSBub25j_Q==",
            " GhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25j\u{e9}==",
        ] {
            assert!(!is_valid_key(invalid.as_bytes()), "{invalid}");
        }
    }

    #[test]
    fn the_first_subprotocol_is_taken() {
        assert_eq!(first_subprotocol("a"), Some("a"));
        assert_eq!(first_subprotocol("a,b"), Some("a"));
        assert_eq!(first_subprotocol("b \t, \ta"), Some("b"));
        assert_eq!(first_subprotocol(" a "), Some("a"));
        assert_eq!(first_subprotocol("!#$%&'*+-.^_`|~09azAZ, b"), Some("!#$%&'*+-.^_`|~09azAZ"));
    }

    #[test]
    fn a_header_that_is_no_list_of_distinct_tokens_is_refused() {
        for invalid in [
            "", " ", ",", "a,", ",a", "a,,b", "a b", "a, b c", "a;b", "a, \"b\"", "a, b=1", "a,\u{e9}", "a\n", "a,\0",
            "a, b, a",
        ] {
            assert_eq!(first_subprotocol(invalid), None, "{invalid:?}");
        }
        // Comparison is by case, as tokens are.
        assert_eq!(first_subprotocol("a, A"), Some("a"));
    }

    #[test]
    fn long_headers_are_read_to_their_end() {
        let spaces = " ".repeat(50_000);
        assert_eq!(first_subprotocol(&format!("a{spaces},b")), Some("a"));
        assert_eq!(first_subprotocol(&format!("a{spaces}b")), None);
        assert_eq!(first_subprotocol(&",".repeat(60_000)), None);
        let tokens: Vec<_> = (0..20_000).map(|number| number.to_string()).collect();
        assert_eq!(first_subprotocol(&tokens.join(",")), Some("0"));
        assert_eq!(first_subprotocol(&format!("{},0", tokens.join(","))), None);
    }
}

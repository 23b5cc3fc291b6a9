//! [`negotiate`]: the answer to a client's `Sec-WebSocket-Extensions` (RFC 7692, section 7.1; RFC 6455, section 9.1).

use crate::websocket::is_token_byte;
use std::fmt;

/// What server and client have agreed on. Its `Display` is the value of the answer's `Sec-WebSocket-Extensions`: the
/// extension without context takeover on either side, which a server may always demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// The client named the server's window, so the answer must name it too.
    names_server_window: bool,
    /// The client's window in bits, if it named one. It is repeated, as Node's `ws` does.
    client_window: Option<u8>,
}

/// The header is no list of extensions. The handshake is to be refused with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header is not a list of extensions")]
pub struct MalformedExtensions;

/// The first offer of permessage-deflate that can be accepted. An offer with an unknown, repeated or impossible parameter
/// is declined, and so is one that wants a smaller window of the server than the 32 KiB that it has; the next one may
/// do. Other extensions are ignored. `None`: the connection goes without.
///
/// Several headers of a request are one list, joined by commas. The time taken is linear in the length of the list.
///
/// # Errors
/// [`MalformedExtensions`]: the list does not have the form of RFC 6455, section 9.1.
pub fn negotiate(offers: &str) -> Result<Option<Agreed>, MalformedExtensions> {
    let mut rest = Scan(offers);
    let mut agreed = None;
    loop {
        let mut offer = Offer { declined: rest.token()? != "permessage-deflate", ..Offer::default() };
        while rest.skip(';') {
            let parameter = rest.token()?;
            let value = if rest.skip('=') { Some(rest.value()?) } else { None };
            offer.add(parameter, value);
        }
        agreed = agreed.or_else(|| offer.accept());
        if !rest.skip(',') {
            return if rest.is_end() { Ok(agreed) } else { Err(MalformedExtensions) };
        }
    }
}

/// One offer, as far as it is read.
#[derive(Default)]
struct Offer {
    declined: bool,
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_window: Option<u8>,
    /// With `None` inside, the client only says that it can limit its window.
    client_window: Option<Option<u8>>,
}

impl Offer {
    fn add(&mut self, parameter: &str, value: Option<&str>) {
        let bits = value.map(window_bits);
        let fits = match (parameter, bits) {
            ("server_no_context_takeover", None) => !std::mem::replace(&mut self.server_no_context_takeover, true),
            ("client_no_context_takeover", None) => !std::mem::replace(&mut self.client_no_context_takeover, true),
            ("server_max_window_bits", Some(Some(bits))) => self.server_window.replace(bits).is_none(),
            ("client_max_window_bits", None) => self.client_window.replace(None).is_none(),
            ("client_max_window_bits", Some(Some(bits))) => self.client_window.replace(Some(bits)).is_none(),
            _ => false,
        };
        self.declined |= !fits;
    }

    fn accept(&self) -> Option<Agreed> {
        if self.declined || self.server_window.is_some_and(|bits| bits < WINDOW_BITS) {
            return None;
        }
        Some(Agreed {
            names_server_window: self.server_window.is_some(),
            client_window: self.client_window.unwrap_or_default(),
        })
    }
}

/// The window of the server's compressor: 32 KiB.
const WINDOW_BITS: u8 = 15;

/// 8 to 15 without leading zeros.
fn window_bits(text: &str) -> Option<u8> {
    match text {
        "8" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "11" => Some(11),
        "12" => Some(12),
        "13" => Some(13),
        "14" => Some(14),
        "15" => Some(15),
        _ => None,
    }
}

impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate; server_no_context_takeover; client_no_context_takeover")?;
        if self.names_server_window {
            write!(f, "; server_max_window_bits={WINDOW_BITS}")?;
        }
        match self.client_window {
            Some(bits) => write!(f, "; client_max_window_bits={bits}"),
            None => Ok(()),
        }
    }
}

/// What is still to be read.
struct Scan<'a>(&'a str);

impl<'a> Scan<'a> {
    /// Skips blanks, and then this character if it is the next.
    fn skip(&mut self, character: char) -> bool {
        self.blanks();
        match self.0.strip_prefix(character) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn blanks(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    fn is_end(&mut self) -> bool {
        self.blanks();
        self.0.is_empty()
    }

    fn token(&mut self) -> Result<&'a str, MalformedExtensions> {
        self.blanks();
        let end = self.0.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() { Err(MalformedExtensions) } else { Ok(token) }
    }

    /// A token, or one between quotation marks.
    fn value(&mut self) -> Result<&'a str, MalformedExtensions> {
        if !self.skip('"') {
            return self.token();
        }
        let token = self.token()?;
        match self.0.strip_prefix('"') {
            Some(rest) => {
                self.0 = rest;
                Ok(token)
            }
            None => Err(MalformedExtensions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BARE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    #[track_caller]
    fn check(offers: &str, more: Option<&str>) {
        let answer = negotiate(offers).expect("well formed").map(|agreed| agreed.to_string());
        assert_eq!(answer, more.map(|more| format!("{BARE}{more}")), "{offers}");
    }

    #[test]
    fn offers_that_are_accepted() {
        for (offers, more) in [
            ("permessage-deflate", ""),
            // What Chrome, Firefox and Node's `ws` send.
            ("permessage-deflate; client_max_window_bits", ""),
            ("permessage-deflate; client_max_window_bits=10", "; client_max_window_bits=10"),
            ("permessage-deflate; client_max_window_bits=\"15\"", "; client_max_window_bits=15"),
            ("permessage-deflate; server_max_window_bits=15", "; server_max_window_bits=15"),
            (
                "permessage-deflate; server_max_window_bits=15; client_max_window_bits=8",
                "; server_max_window_bits=15; client_max_window_bits=8",
            ),
            ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", ""),
            ("\tpermessage-deflate ;client_no_context_takeover\t; server_no_context_takeover ", ""),
            ("x-webkit-deflate-frame, permessage-deflate", ""),
            ("permessage-deflate; server_max_window_bits=9, permessage-deflate", ""),
            ("permessage-deflate; unknown, permessage-deflate; client_max_window_bits=9", "; client_max_window_bits=9"),
            ("permessage-deflate, permessage-deflate; client_max_window_bits=9", ""),
            ("other; a=\"b\"; c, permessage-deflate", ""),
        ] {
            check(offers, Some(more));
        }
    }

    #[test]
    fn offers_that_are_declined() {
        for offers in [
            "x-webkit-deflate-frame",
            "Permessage-Deflate",
            "constructor",
            "__proto__",
            "permessage-deflate; unknown",
            "permessage-deflate; unknown=1",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=true",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=14",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; client_max_window_bits=09",
            "permessage-deflate; client_max_window_bits=1e1",
            "permessage-deflate; client_max_window_bits=-9",
            "permessage-deflate; client_max_window_bits; client_max_window_bits",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
            "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        ] {
            check(offers, None);
        }
    }

    #[test]
    fn what_is_no_list_of_extensions() {
        for offers in [
            "",
            " ",
            ",",
            ",;constructor",
            "permessage-deflate,",
            ",permessage-deflate",
            "permessage-deflate,,permessage-deflate",
            "permessage-deflate;",
            "permessage-deflate; ;",
            "permessage-deflate; a=",
            "permessage-deflate; a==1",
            "permessage-deflate; a=\"",
            "permessage-deflate; a=\"1",
            "permessage-deflate; a=\"\"",
            "permessage-deflate; a=\"1 2\"",
            "permessage-deflate; a=\"1\"2",
            "permessage-deflate a",
            "permessage-deflate; a b",
            "permessage-deflate\n",
            "permessage-d\u{e9}flate",
        ] {
            assert_eq!(negotiate(offers), Err(MalformedExtensions), "{offers:?}");
        }
        let long = "permessage-deflate;".repeat(5_000);
        assert_eq!(negotiate(&long), Err(MalformedExtensions));
        assert_eq!(negotiate(&",".repeat(60_000)), Err(MalformedExtensions));
        let many = vec!["permessage-deflate; unknown"; 2_000].join(",");
        assert_eq!(negotiate(&many), Ok(None));
    }

    /// A parameter and its value, of which many are impossible.
    fn parameter() -> impl Strategy<Value = (String, Option<String>)> {
        let name = prop_oneof![
            4 => prop::sample::select(vec![
                "server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits", "client_max_window_bits"
            ]).prop_map(str::to_owned),
            1 => "[a-z]{1,8}",
        ];
        let value = prop_oneof![
            2 => Just(None),
            3 => (7..17_u8).prop_map(|bits| Some(bits.to_string())),
            2 => Just(Some("15".to_owned())),
            1 => "[a-z0-9]{1,3}".prop_map(Some),
        ];
        (name, value)
    }

    /// The rules as plain lists: at most one of each parameter, each with a value that it may have.
    fn model(name: &str, parameters: &[(String, Option<String>)]) -> Option<String> {
        let number = |value: &str| (8..16).find(|bits: &u8| bits.to_string() == value);
        let given = |wanted: &str| parameters.iter().filter(|(name, _)| name == wanted).collect::<Vec<_>>();
        let known = |(name, value): &(String, Option<String>)| match &**name {
            "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
            "server_max_window_bits" => value.as_deref() == Some("15"),
            "client_max_window_bits" => value.as_deref().is_none_or(|value| number(value).is_some()),
            _ => false,
        };
        let once = parameters.iter().all(|(name, _)| given(name).len() == 1);
        if name != "permessage-deflate" || !once || !parameters.iter().all(known) {
            return None;
        }
        let mut answer = BARE.to_owned();
        if !given("server_max_window_bits").is_empty() {
            answer += "; server_max_window_bits=15";
        }
        if let [(_, Some(bits))] = &given("client_max_window_bits")[..] {
            answer += &format!("; client_max_window_bits={bits}");
        }
        Some(answer)
    }

    proptest! {
        #[test]
        fn random_offers_are_answered_as_the_rules_say(
            offers in prop::collection::vec(
                (prop::sample::select(vec!["permessage-deflate", "other"]), prop::collection::vec(parameter(), 0..4)),
                1..4,
            ),
            blank in prop::sample::select(vec!["", " ", "\t "]),
            quoted in any::<bool>(),
        ) {
            let write = |(name, value): &(String, Option<String>)| match value {
                Some(value) if quoted => format!(";{blank}{name}{blank}={blank}\"{value}\""),
                Some(value) => format!("{blank};{name}={value}{blank}"),
                None => format!(";{blank}{name}"),
            };
            let text: Vec<String> = offers
                .iter()
                .map(|(name, parameters)| format!("{blank}{name}{}", parameters.iter().map(write).collect::<String>()))
                .collect();
            let expected = offers.iter().find_map(|(name, parameters)| model(name, parameters));
            let answer = negotiate(&text.join(",")).expect("well formed").map(|agreed| agreed.to_string());
            prop_assert_eq!(answer, expected);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "[ a-z;,=\"\\\\_0-9\t-]{0,60}") {
            let _ = negotiate(&text);
        }
    }
}

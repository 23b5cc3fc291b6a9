//! The encoding of an answer's body, by the request's `Accept-Encoding`.

use http::header::{ACCEPT_ENCODING, HeaderMap};
use roomcast_protocol::deflate::Format;

/// How well an encoding is accepted: its weight, whether it is named itself, and its place in the list. More is better.
type Rank = (u16, bool, std::cmp::Reverse<usize>);

/// The encoding that the client prefers, of those that there are. As Node's `negotiator`: the greater weight first, then
/// one that is named before `*`, then the order of the list, then gzip. Without the header nothing is compressed.
pub(crate) fn preferred(headers: &HeaderMap) -> Option<Format> {
    let rank = |format| best(headers, format).filter(|(weight, ..)| *weight > 0);
    match (rank(Format::Gzip), rank(Format::Zlib)) {
        (Some(gzip), Some(zlib)) if zlib > gzip => Some(Format::Zlib),
        (Some(_), _) => Some(Format::Gzip),
        (None, Some(_)) => Some(Format::Zlib),
        (None, None) => None,
    }
}

/// What the header says about an encoding. An item that names it counts more than `*`; of several the heaviest.
fn best(headers: &HeaderMap, format: Format) -> Option<Rank> {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let items = values.flat_map(|value| value.split(',')).enumerate();
    let ranks = items.filter_map(|(place, item)| {
        let (name, parameters) = item.split_once(';').map_or((item, ""), |(name, rest)| (name, rest));
        let name = name.trim();
        let named = name.eq_ignore_ascii_case(format.as_str());
        (named || name == "*").then(|| (weight(parameters), named, std::cmp::Reverse(place)))
    });
    ranks.max_by_key(|(weight, named, place)| (*named, *weight, *place))
}

/// The parameter `q` in thousandths; 1,000 without one, and 0 if it is no number.
fn weight(parameters: &str) -> u16 {
    let q =
        parameters.split(';').filter_map(|parameter| parameter.split_once('=')).find(|(name, _)| name.trim() == "q");
    let Some((_, text)) = q else { return 1_000 };
    match text.trim().parse::<f32>() {
        // Rounded, as 0.251 is a little less in binary.
        Ok(weight) if weight >= 0.0 => (weight.min(1.0) * 1_000.0).round() as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    /// The results of Node's `accepts` 1.3.8 for `["gzip", "deflate"]`.
    #[test]
    fn preferences() {
        for (header, expected) in [
            ("", None),
            ("identity", None),
            ("br", None),
            ("br, zstd;q=0.9", None),
            ("gzip", Some(Format::Gzip)),
            ("GZIP", Some(Format::Gzip)),
            ("deflate", Some(Format::Zlib)),
            ("gzip, deflate, br, zstd", Some(Format::Gzip)),
            ("deflate, gzip", Some(Format::Zlib)),
            ("*", Some(Format::Gzip)),
            ("*;q=0", None),
            ("gzip;q=0, *", Some(Format::Zlib)),
            ("gzip;q=0", None),
            ("gzip;q=0.5, deflate;q=0.8", Some(Format::Zlib)),
            ("gzip;q=0.8, deflate;q=0.5", Some(Format::Gzip)),
            ("gzip ; q=0.001 , deflate;q=0", Some(Format::Gzip)),
            ("gzip;q=x", None),
            ("gzip;q=-1", None),
            ("gzip;q=0.250, deflate;q=0.251", Some(Format::Zlib)),
            ("gzip;q=2", Some(Format::Gzip)),
            ("gzip;a=1;q=0", None),
            ("*;q=0.5, deflate;q=0.4", Some(Format::Gzip)),
            ("deflate, *", Some(Format::Zlib)),
            ("*, deflate", Some(Format::Zlib)),
            ("gzip;q=0, gzip", Some(Format::Gzip)),
        ] {
            let mut headers = HeaderMap::new();
            assert_eq!(preferred(&headers), None);
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(header));
            assert_eq!(preferred(&headers), expected, "{header}");
        }
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("gzip;q=0.1"));
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("deflate"));
        assert_eq!(preferred(&headers), Some(Format::Zlib), "several headers are one list");
    }

    #[test]
    fn each_thousandth_is_a_weight_of_its_own() {
        for thousandths in 0..=1_000 {
            let text = format!("q={}", f64::from(thousandths) / 1_000.0);
            assert_eq!(weight(&text), thousandths, "{text}");
        }
    }
}

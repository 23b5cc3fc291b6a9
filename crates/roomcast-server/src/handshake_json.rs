//! A handshake as JSON, in the form of Node's `socket.handshake`, for `fetch_sockets`.

use roomcast_engine::Handshake;
use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Headers of which Node keeps only the first (`message.headers` of `http.IncomingMessage`).
const ONCE: [&str; 18] = [
    "age",
    "authorization",
    "content-length",
    "content-type",
    "etag",
    "expires",
    "from",
    "host",
    "if-modified-since",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "proxy-authorization",
    "referer",
    "retry-after",
    "server",
    "user-agent",
];

/// `{headers, time, address, xdomain, secure, issued, url, query, auth}`, in Node's order. `since` is the time in milliseconds from the
/// session's first request to the socket's CONNECT; `time` and `issued` are the time of the CONNECT.
pub(crate) fn handshake_json(handshake: &Handshake, since: u32, auth: Option<&str>) -> String {
    let mut headers = Map::new();
    for (name, value) in handshake.headers() {
        match (headers.get_mut(name), name) {
            (None, "set-cookie") => drop(headers.insert(name.to_owned(), json!([value]))),
            (None, _) => drop(headers.insert(name.to_owned(), json!(value))),
            (Some(Value::Array(list)), _) => list.push(json!(value)),
            (Some(Value::String(joined)), _) if !ONCE.contains(&name) => {
                joined.push_str(if name == "cookie" { "; " } else { ", " });
                joined.push_str(value);
            }
            (Some(_), _) => {}
        }
    }
    let query: Map<String, Value> = handshake.query().map(|(name, value)| (name.into_owned(), json!(value))).collect();
    let issued = milliseconds(handshake.time()).saturating_add(u64::from(since));
    let address = handshake.address().map(|address| address.ip().to_string()).unwrap_or_default();
    format!(
        r#"{{"headers":{},"time":{},"address":{},"xdomain":{},"secure":{},"issued":{issued},"url":{},"query":{},"auth":{}}}"#,
        Value::Object(headers),
        json!(date(issued)),
        json!(address),
        handshake.is_cross_domain(),
        handshake.is_secure(),
        json!(handshake.url()),
        Value::Object(query),
        auth.unwrap_or("{}"),
    )
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The text of a JavaScript `Date` in UTC, such as `Tue Nov 24 2026 06:13:54 GMT+0000 (Coordinated Universal Time)`.
fn date(milliseconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    let seconds = milliseconds / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March here, so that the leap day is the last; 719,468 days lie between 1 March 0000 and 1970.
    let day = days + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    format!(
        "{} {} {day_of_month:02} {year:04} {:02}:{:02}:{:02} GMT+0000 (Coordinated Universal Time)",
        DAYS.get((days % 7) as usize).copied().unwrap_or_default(),
        MONTHS.get(month as usize).copied().unwrap_or_default(),
        second / 3_600,
        second / 60 % 60,
        second % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(headers: &[(&str, &str)], secure: bool) -> Handshake {
        let mut request = http::Request::new(()).into_parts().0;
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers.append(name, http::HeaderValue::from_str(value).unwrap());
        }
        if secure {
            request.extensions.insert(roomcast_engine::Secure);
        }
        Handshake::new(&request)
    }

    fn told(handshake: &Handshake, since: u32) -> Value {
        serde_json::from_str(&handshake_json(handshake, since, None)).unwrap()
    }

    /// Seen with Node 20.20: `socket.handshake.headers` of a request with each header twice.
    #[test]
    fn repeated_headers_are_as_in_node() {
        let names = ONCE.iter().chain(&["x-a", "accept", "origin", "cookie", "set-cookie"]);
        let headers: Vec<_> = names.clone().flat_map(|name| [(*name, "a=1"), (*name, "b=2")]).collect();
        let told = told(&handshake(&headers, false), 0);
        for name in names {
            let expected = match *name {
                "cookie" => json!("a=1; b=2"),
                "set-cookie" => json!(["a=1", "b=2"]),
                "x-a" | "accept" | "origin" => json!("a=1, b=2"),
                _ => json!("a=1"),
            };
            assert_eq!(told["headers"][name], expected, "{name}");
        }
    }

    #[test]
    fn time_is_that_of_the_connect_and_tls_is_told() {
        let first = handshake(&[], false);
        let issued = |since| told(&first, since)["issued"].as_u64().unwrap();
        assert_eq!(issued(3_600_000) - issued(0), 3_600_000);
        assert_eq!(told(&first, 0)["secure"], json!(false));
        assert_eq!(told(&handshake(&[], true), 0)["secure"], json!(true));
    }

    #[test]
    fn dates_are_spelled_as_javascript_does() {
        for (milliseconds, expected) in [
            (0, "Thu Jan 01 1970 00:00:00"),
            (951_782_400_000, "Tue Feb 29 2000 00:00:00"),
            (951_868_800_000, "Wed Mar 01 2000 00:00:00"),
            (1_795_500_834_000, "Tue Nov 24 2026 06:13:54"),
            (4_102_444_799_999, "Thu Dec 31 2099 23:59:59"),
        ] {
            assert_eq!(date(milliseconds), format!("{expected} GMT+0000 (Coordinated Universal Time)"));
        }
    }
}

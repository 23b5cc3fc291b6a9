//! A Redis URL in its parts, as far as the `redis` crate does not read it, and as it may be shown.

use percent_encoding::percent_decode_str;

/// `scheme://credentials@hosts/path?query`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// `user:password@`, or nothing.
    pub(crate) credentials: &'a str,
    pub(crate) hosts: &'a str,
    pub(crate) path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    /// Takes apart what follows `scheme://`. A password may have a raw `@`; other signs of URLs must be percent-encoded in it.
    pub(crate) fn of(rest: &'a str) -> Result<Self, &'static str> {
        if rest.ends_with("#insecure") {
            return Err(INSECURE);
        }
        if rest.contains('#') {
            return Err("it has a #; in a password write %23");
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, rest) = match rest.rfind('@') {
            Some(at) => rest.split_at(at + 1),
            None => ("", rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self { credentials, hosts, path, query })
    }

    /// The values of the query's parameters, decoded, in the order of `names`. Others are refused, as one that is misspelt would
    /// pass in silence. They are not named: what is taken for a name may be a part of a password with a raw `?` or `&`.
    pub(crate) fn parameters<const N: usize>(&self, names: [&str; N]) -> Result<[Option<String>; N], String> {
        let mut values = [const { None }; N];
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let known = names.iter().zip(&mut values).find(|(known, _)| **known == name);
            let Some((name, given)) = known else {
                return Err(match N {
                    0 => "it takes no query parameters; in a password write %3F for ?".to_owned(),
                    _ => format!(
                        "a query parameter is unknown; known are {}; in a password write %3F for ? and %26 for &",
                        names.join(" and ")
                    ),
                });
            };
            // Not as in forms: a + is a +.
            let value = percent_decode_str(value).decode_utf8().map_err(|_| format!("{name} is not UTF-8"))?;
            if value.is_empty() {
                return Err(format!("{name} has no value"));
            }
            if given.replace(value.into_owned()).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(values)
    }
}

/// Why `#insecure`, which the `redis` crate knows, is refused.
pub(crate) const INSECURE: &str =
    "#insecure is not supported, certificates are always checked; name the file of your own CA in SSL_CERT_FILE";

/// The URL as it may stand in a log: without passwords, and without the query, where passwords may be too. Also for what is no
/// good URL, as a wrong one has the right password as often as not.
pub(crate) fn hide_secrets(url: &str) -> String {
    let scheme = |scheme: &&str| scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'+');
    let Some((scheme, rest)) = url.split_once("://").filter(|(it, _)| scheme(it)) else {
        return "(not a URL)".to_owned();
    };
    let visible = rest.split(['?', '#']).next().unwrap_or_default();
    let (credentials, hosts) = match rest.rfind('@') {
        Some(at) if at < visible.len() => (&visible[..at], Some(&visible[at + 1..])),
        // Either the query has an @, or the password has a ? before one: all may be a password from the first : on.
        Some(_) => (visible, None),
        None => ("", Some(visible)),
    };
    let user = credentials.split_once(':').map(|(user, _)| format!("{user}:***"));
    let user = user.unwrap_or_else(|| credentials.to_owned());
    match hosts {
        Some(hosts) if credentials.is_empty() => format!("{scheme}://{hosts}"),
        Some(hosts) => format!("{scheme}://{user}@{hosts}"),
        None => format!("{scheme}://{user}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let parts = Parts::of("u:p@ss@a:1,b:2/main/3?x=1%2B+&y=%40").unwrap();
        assert_eq!((parts.credentials, parts.hosts, parts.path), ("u:p@ss@", "a:1,b:2", "main/3"));
        let values = parts.parameters(["y", "z", "x"]).unwrap();
        assert_eq!(values, [Some("@".to_owned()), None, Some("1++".to_owned())]);
        assert_eq!(Parts::of("h").unwrap(), Parts { credentials: "", hosts: "h", path: "", query: "" });
    }

    #[test]
    fn parameters_that_are_refused() {
        for (query, why) in [
            ("?a=1&c=2", "a query parameter is unknown; known are a and b"),
            ("?A=1", "is unknown"),
            ("?a", "a has no value"),
            ("?a=", "a has no value"),
            ("?a=1&a=1", "a is given twice"),
            ("?b=%ff", "b is not UTF-8"),
        ] {
            let error = Parts::of(query).unwrap().parameters(["a", "b"]).unwrap_err();
            assert!(error.contains(why), "{query}: {error}");
        }
        assert!(Parts::of("h?a=1").unwrap().parameters([]).unwrap_err().contains("no query parameters"));
        assert_eq!(Parts::of("h?").unwrap().parameters([]).unwrap(), [None::<String>; 0]);
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        for (url, shown) in [
            ("redis://user:secret@h:1/2", "redis://user:***@h:1/2"),
            ("redis://:secret@h", "redis://:***@h"),
            ("redis://h", "redis://h"),
            ("redis://h?secret", "redis://h"),
            ("redis://h#secret", "redis://h"),
            ("unix:///run/r.sock?pass=secret", "unix:///run/r.sock"),
            ("unix:///run/r.sock?user=u&pass=secret@secret", "unix:///run/r.sock"),
            ("redis+sentinel://u:se@secret@a:1/m", "redis+sentinel://u:***@a:1/m"),
            ("redis+sentinel://u:secret@a:1/m?sentinel_password=secret", "redis+sentinel://u:***@a:1/m"),
            ("redis+sentinel://u:%73ecret@a:1/m?sentinel_password=%73ecret", "redis+sentinel://u:***@a:1/m"),
            ("redis+sentinel://a:1/m?sentinel_password=secret@secret", "redis+sentinel://a:***"),
            // No good URLs.
            ("redis://u:secret?secret@h", "redis://u:***"),
            ("redis://u:secret#secret@h", "redis://u:***"),
            ("redis://u:secret/secret@h", "redis://u:***@h"),
            ("redis://u:sec:ret@secret?x@h", "redis://u:***"),
            ("u:secret@redis://h", "(not a URL)"),
            ("u:secret@h", "(not a URL)"),
        ] {
            assert_eq!(hide_secrets(url), shown, "{url}");
        }
    }
}

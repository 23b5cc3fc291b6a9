//! [`Parts`]: a Redis URL taken apart, as far as the `redis` crate does not do it; and the URL without its secrets.

use super::advice;
use percent_encoding::percent_decode_str;
use std::net::Ipv6Addr;

/// `scheme://credentials@hosts/path?query`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts<'a> {
    /// `user:password@`, or nothing.
    pub(crate) credentials: &'a str,
    pub(crate) hosts: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
}

impl<'a> Parts<'a> {
    /// Takes apart the text after `scheme://`. A password may contain a raw `@`; other special characters must be
    /// percent-encoded in it.
    pub(crate) fn of(rest: &'a str) -> Result<Self, &'static str> {
        no_fragment(rest)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, rest) = match rest.rfind('@') {
            Some(at) => rest.split_at(at + 1),
            None => ("", rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let parts = Self { credentials, hosts, path, query };
        match parts.check() {
            Err(_) if query.contains('@') => Err("there is a ? before the @; in a password write %3F"),
            checked => checked.map(|()| parts),
        }
    }

    /// Finds the mistakes that people make with passwords and hosts.
    fn check(&self) -> Result<(), &'static str> {
        if self.credentials.contains('/') {
            return Err("there is a / before the @; in a password write %2F");
        }
        let mut percents = self.credentials.bytes().enumerate().filter(|(_, byte)| *byte == b'%');
        let is_hex = |at: usize| self.credentials.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
        if percents.any(|(at, _)| !is_hex(at + 1) || !is_hex(at + 2)) {
            return Err("user or password has a % that is not followed by two hexadecimal digits; write %25 for it");
        }
        if percent_decode_str(self.credentials).decode_utf8().is_err() {
            return Err("user or password is not UTF-8");
        }
        for host in self.hosts.split(',') {
            if host.parse::<Ipv6Addr>().is_ok() {
                return Err("an IPv6 address must be in brackets: redis://[::1]:6379");
            }
            if host.is_empty() || host.starts_with(':') {
                return Err("the host is missing: redis://user:password@host:6379");
            }
            if !has_valid_port(host) {
                return Err(
                    "the text after a host and its : is not a port; if it is a password, the host after it is missing: redis://user:password@host:6379",
                );
            }
        }
        Ok(())
    }
}

/// The text in place of the port in `host:port`.
pub(crate) fn port(host: &str) -> Option<&str> {
    let (name, port) = host.rsplit_once(':')?;
    // The colons of an IPv6 address are inside brackets.
    (!name.starts_with('[') || name.ends_with(']')).then_some(port)
}

fn has_valid_port(host: &str) -> bool {
    port(host).is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// The database number, read from the text after the hosts.
pub(crate) fn database(path: &str) -> Result<i64, String> {
    match path.trim_end_matches('/') {
        "" => Ok(0),
        digits => {
            let number = digits.parse::<i64>().ok().filter(|number| *number >= 0);
            number.ok_or_else(|| {
                "the database must be a number: redis://host:6379/5, or ?db=5 in a unix:// URL".to_owned()
            })
        }
    }
}

/// Refuses a `#`, which would cut off what follows it.
pub(crate) fn no_fragment(rest: &str) -> Result<(), &'static str> {
    match rest {
        _ if rest.ends_with("#insecure") => Err(INSECURE),
        _ if rest.contains('#') => Err("it has a #; in a password write %23"),
        _ => Ok(()),
    }
}

/// The decoded values of a query's parameters, in the order of `names`. Other parameters are refused: a misspelt one
/// would otherwise have no effect, and nobody would notice.
pub(crate) fn parameters<const N: usize>(query: &str, names: [&str; N]) -> Result<[Option<String>; N], String> {
    let mut values = [const { None }; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = names.iter().zip(&mut values).find(|(known, _)| **known == name);
        let Some((name, given)) = known else { return Err(advice::refused(name, &names)) };
        // A + is a +, unlike in forms.
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

/// Why `#insecure`, which the `redis` crate knows, is refused.
pub(crate) const INSECURE: &str = "#insecure is not supported, certificates are always checked; name the file of your own CA in REDIS_TLS_CA_FILE or SSL_CERT_FILE";

/// The URL as it may appear in a log: without passwords, and without the query, which may contain passwords too. It
/// also works for invalid URLs: they often contain the right password.
pub(crate) fn hide_secrets(url: &str) -> String {
    let scheme = |scheme: &&str| scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'+');
    let Some((scheme, rest)) = url.split_once("://").filter(|(it, _)| scheme(it)) else {
        return "(not a URL)".to_owned();
    };
    let visible = rest.split(['?', '#']).next().unwrap_or_default();
    let (credentials, hosts) = match rest.rfind('@') {
        Some(at) if at < visible.len() => (&visible[..at], Some(&visible[at + 1..])),
        // Either the query contains an @, or the password contains a ? before one: everything after the first : may be
        // a password.
        Some(_) => (visible, None),
        None => ("", Some(visible)),
    };
    let user = credentials.split_once(':').map(|(user, _)| format!("{user}:***"));
    let user = user.unwrap_or_else(|| credentials.to_owned());
    let hosts = hosts.map(hide_invalid_ports);
    match hosts {
        Some(hosts) if credentials.is_empty() => format!("{scheme}://{hosts}"),
        Some(hosts) => format!("{scheme}://{user}@{hosts}"),
        None => format!("{scheme}://{user}"),
    }
}

/// Hosts as they may be shown. Text in place of a port that is not a port is taken for a password whose host was
/// forgotten.
fn hide_invalid_ports(hosts: &str) -> String {
    let (named, _) = hosts.split_once('/').unwrap_or((hosts, ""));
    match named.split(',').find(|host| !has_valid_port(host)) {
        Some(_) => named.split_once(':').map_or_else(String::new, |(user, _)| format!("{user}:***")),
        None => hosts.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let parts = Parts::of("u:p@ss@a:1,b:2/main/3?x=1%2B+&y=%40").unwrap();
        assert_eq!((parts.credentials, parts.hosts, parts.path), ("u:p@ss@", "a:1,b:2", "main/3"));
        let values = parameters(parts.query, ["y", "z", "x"]).unwrap();
        assert_eq!(values, [Some("@".to_owned()), None, Some("1++".to_owned())]);
        assert_eq!(Parts::of("h").unwrap(), Parts { credentials: "", hosts: "h", path: "", query: "" });
    }

    #[test]
    fn refused_parameters() {
        for (query, why) in [
            ("alpha=1&gamma=2", "an unknown query parameter; known are alpha, beta"),
            ("Alpha=1", "did you mean alpha?"),
            ("alpha", "alpha has no value"),
            ("alpha=", "alpha has no value"),
            ("alpha=1&alpha=1", "alpha is given twice"),
            ("beta=%ff", "beta is not UTF-8"),
        ] {
            let error = parameters(query, ["alpha", "beta"]).unwrap_err();
            assert!(error.contains(why), "{query}: {error}");
        }
        assert!(parameters("a=1", []).unwrap_err().contains("no query parameters"));
        assert_eq!(parameters("", []).unwrap(), [None::<String>; 0]);
    }

    #[test]
    fn mistakes_with_passwords_and_hosts() {
        for (rest, why) in [
            (":p#ss@h", "write %23"),
            (":p/ss=@h", "write %2F"),
            (":p?ss@h", "write %3F"),
            ("u:p?ss@h", "write %3F"),
            (":p%ss@h", "write %25"),
            (":p%2@h", "write %25"),
            (":p%@h", "write %25"),
            (":%ff@h", "not UTF-8"),
            (":secret", "the host is missing"),
            ("u:p@", "the host is missing"),
            ("::1", "in brackets"),
            ("u:p@fe80::1", "in brackets"),
            ("u:p@a:1,,b", "the host is missing"),
            ("user:secret", "the host after it is missing"),
            ("h:0", "is not a port"),
            ("h:65536", "is not a port"),
            ("[::1]:x", "is not a port"),
        ] {
            let error = Parts::of(rest).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{rest}: {error}");
        }
        for rest in ["h:65535", "[::1]", "[::1]:1", "u:%70%C3%9f@h", "u:p@h@i"] {
            Parts::of(rest).unwrap();
        }
        assert_eq!((database(""), database("7"), database("7/")), (Ok(0), Ok(7), Ok(7)));
        assert!([" 1", "-1", "x", "1/2"].iter().all(|path| database(path).is_err()));
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
            // Invalid URLs.
            ("redis://u:secret?secret@h", "redis://u:***"),
            ("redis://u:secret#secret@h", "redis://u:***"),
            ("redis://u:secret/secret@h", "redis://u:***@h"),
            ("redis://u:sec:ret@secret?x@h", "redis://u:***"),
            ("redis://user:secret", "redis://user:***"),
            ("redis://user:12secret/secret", "redis://user:***"),
            ("redis://:secret", "redis://:***"),
            ("redis+sentinel://a:1,user:secret/m", "redis+sentinel://a:***"),
            ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
            ("redis://[::1]", "redis://[::1]"),
            ("u:secret@redis://h", "(not a URL)"),
            ("u:secret@h", "(not a URL)"),
        ] {
            assert_eq!(hide_secrets(url), shown, "{url}");
        }
    }
}

//! [`refused`]: what to write in place of a query parameter that other libraries take.

/// Names that other clients take (ioredis, node-redis, redis-py, Lettuce, Jedis, StackExchange.Redis), in lower case
/// without `-` and `_`, with the advice for each. Only the name is looked at: values are often secret.
const FOREIGN: &[(&[&str], &str)] = &[
    (
        &["password", "pass", "auth", "authpassword", "username", "user"],
        "user and password go before the host: redis://user:password@host",
    ),
    (
        &["db", "database", "defaultdatabase"],
        "the database number goes after the host: redis://host:6379/5 (though pub/sub ignores databases)",
    ),
    (&["tls", "ssl"], "the scheme asks for TLS: rediss://host:6380"),
    (&["family"], "leave it out: addresses of both families are tried, and the first that answers is used"),
    (
        &["sslcertreqs", "rejectunauthorized", "checkservername", "sslcheckhostname", "insecure", "verifypeer"],
        "leave it out: certificates are always checked; name the file of your own CA in REDIS_TLS_CA_FILE",
    ),
    (
        &["sslcacerts", "sslca", "ca", "cacert", "sslcertfile", "sslkeyfile", "cert", "key"],
        "name the certificate files in REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE",
    ),
    (
        &["sentineluser", "sentinelusername", "sentinelpassword"],
        "it belongs to a Sentinel URL: redis+sentinel://host:26379,host:26379/master-name?sentinel_password=…",
    ),
    (
        &["sentinelmasterid", "mastername", "sentinelmaster", "sentinels", "servicename", "name"],
        "write Sentinels like this: redis+sentinel://host:26379,host:26379/master-name",
    ),
    (&["cluster", "clustermode"], "the scheme asks for a Cluster: redis+cluster://host:6379,host:6379"),
    (&["protocol", "resp"], "leave it out: RESP3 is used where it is needed"),
    (&["keyprefix", "prefix", "channelprefix"], "the prefix is set in the adapter's options, not in the URL"),
    (
        &["timeout", "connecttimeout", "commandtimeout", "sockettimeout", "socketconnecttimeout"],
        "timeouts are set in RedisTimeouts, not in the URL",
    ),
];

/// A name that differs from a known one by at most this many letters is taken for a typing mistake.
const NEAR: usize = 3;

/// Why a parameter is refused. `known`: the parameters that the URL may have. The text does not quote `name`: it may be
/// a part of a password with a raw `?` or `&`.
pub(crate) fn refused(name: &str, known: &[&str]) -> String {
    let plain: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_ascii_lowercase();
    let near = known.iter().map(|known| (distance(name, known), known)).min().filter(|(distance, _)| *distance <= NEAR);
    if let Some((_, near)) = near {
        return format!("it has an unknown query parameter: did you mean {near}?");
    }
    if let Some((foreign, advice)) =
        FOREIGN.iter().find_map(|(names, advice)| Some((names.iter().find(|it| **it == plain)?, advice)))
    {
        return format!("it has the query parameter {foreign}, which is not supported here: {advice}");
    }
    match known {
        [] => "it takes no query parameters; in a password write %3F for ?".to_owned(),
        [one] => {
            format!("it has an unknown query parameter; known is {one}; in a password write %3F for ? and %26 for &")
        }
        _ => format!(
            "it has an unknown query parameter; known are {}; in a password write %3F for ? and %26 for &",
            known.join(", ")
        ),
    }
}

/// The Levenshtein distance: how many letters must be changed, added or removed. `usize::MAX` if the lengths differ by
/// more than [`NEAR`].
fn distance(one: &str, other: &str) -> usize {
    if one.len().abs_diff(other.len()) > NEAR {
        return usize::MAX;
    }
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().enumerate() {
        let (mut diagonal, mut left) = (above, above + 1);
        for (cell, against) in row.iter_mut().skip(1).zip(&other) {
            let changed = diagonal + usize::from(letter != *against);
            diagonal = *cell;
            left = changed.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("pass", "pas", 1), ("db", "bd", 2)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
        assert_eq!(distance(&"x".repeat(1_000_000), "db"), usize::MAX);
    }

    #[test]
    fn every_name_leads_to_its_advice() {
        for (names, advice) in FOREIGN {
            for name in *names {
                assert_eq!(
                    *name,
                    name.to_ascii_lowercase().replace(['-', '_'], ""),
                    "the form in which names are compared"
                );
                assert!(refused(name, &[]).ends_with(advice), "{name}");
            }
        }
        assert!(refused("ssl_cert_reqs", &[]).contains("always checked"));
        assert!(refused("connectTimeout", &[]).contains("RedisTimeouts"));
        assert!(
            refused("sentinel_pasword", &["sentinel_user", "sentinel_password"])
                .contains("did you mean sentinel_password?")
        );
        assert!(refused("secretsecret", &["user", "pass"]).contains("known are user, pass"));
        assert!(refused("secretsecret", &[]).contains("%3F"));
        assert!(!refused("secretsecret", &[]).contains("secret"));
    }
}

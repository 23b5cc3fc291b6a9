//! What to write instead of a query parameter that Redis URLs of other libraries have.

/// Names that other clients read (ioredis, node-redis, redis-py, Lettuce, Jedis, StackExchange.Redis), without `-` and `_` and in
/// small letters, and what to do. What people meant is told by the name alone: values are often secret.
const KNOWN: &[(&[&str], &str)] = &[
    (
        &["password", "pass", "auth", "authpassword", "username", "user"],
        "user and password stand before the host: redis://user:password@host",
    ),
    (
        &["db", "database", "defaultdatabase"],
        "the database's number stands behind the host: redis://host:6379/5 (though pub/sub knows no databases)",
    ),
    (&["tls", "ssl"], "TLS is a matter of the scheme: rediss://host:6380"),
    (&["family"], "leave it out: addresses of both families are tried, and the first that answers is used"),
    (
        &["sslcertreqs", "rejectunauthorized", "checkservername", "sslcheckhostname", "insecure", "verifypeer"],
        "leave it out: certificates are always checked; name the file of your own CA in REDIS_TLS_CA_FILE",
    ),
    (
        &["sslcacerts", "sslca", "ca", "cacert", "sslcertfile", "sslkeyfile", "cert", "key"],
        "name files of certificates in REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE",
    ),
    (
        &["sentineluser", "sentinelusername", "sentinelpassword"],
        "it is for Sentinel: redis+sentinel://host:26379,host:26379/master-name?sentinel_password=…",
    ),
    (
        &["sentinelmasterid", "mastername", "sentinelmaster", "sentinels", "servicename", "name"],
        "Sentinels are named so: redis+sentinel://host:26379,host:26379/master-name",
    ),
    (&["cluster", "clustermode"], "a Cluster is a matter of the scheme: redis+cluster://host:6379,host:6379"),
    (&["protocol", "resp"], "leave it out: the third protocol is used where it is needed"),
    (&["keyprefix", "prefix", "channelprefix"], "the prefix is no matter of the URL, but of the adapter's options"),
    (
        &["timeout", "connecttimeout", "commandtimeout", "sockettimeout", "socketconnecttimeout"],
        "how long Redis may take is no matter of the URL, but of the options: RedisTimeouts",
    ),
];

/// Letters by which a name may differ from the one that was meant.
const NEAR: usize = 3;

/// Why a parameter is refused. `known`: those that the URL may have. The name itself is not told: what is taken for one may be a part
/// of a password with a raw `?` or `&`.
pub(crate) fn refused(name: &str, known: &[&str]) -> String {
    let small: String = name.chars().filter(|c| !matches!(c, '-' | '_')).collect::<String>().to_ascii_lowercase();
    let near = known.iter().map(|known| (distance(name, known), known)).min().filter(|(distance, _)| *distance <= NEAR);
    if let Some((_, near)) = near {
        return format!("a query parameter is unknown: is {near} meant?");
    }
    if let Some((foreign, advice)) =
        KNOWN.iter().find_map(|(names, advice)| Some((names.iter().find(|it| **it == small)?, advice)))
    {
        return format!("it has a query parameter {foreign} that is not known here: {advice}");
    }
    match known {
        [] => "it takes no query parameters; in a password write %3F for ?".to_owned(),
        [one] => format!("a query parameter is unknown; known is {one}; in a password write %3F for ? and %26 for &"),
        _ => format!(
            "a query parameter is unknown; known are {}; in a password write %3F for ? and %26 for &",
            known.join(", ")
        ),
    }
}

/// How many letters must be changed, added or taken out, as Levenshtein counts; more than [`NEAR`] for what is much longer.
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
        for (names, advice) in KNOWN {
            for name in *names {
                assert_eq!(*name, name.to_ascii_lowercase().replace(['-', '_'], ""), "as it is compared");
                assert!(refused(name, &[]).ends_with(advice), "{name}");
            }
        }
        assert!(refused("ssl_cert_reqs", &[]).contains("always checked"));
        assert!(refused("connectTimeout", &[]).contains("RedisTimeouts"));
        assert!(
            refused("sentinel_pasword", &["sentinel_user", "sentinel_password"])
                .contains("is sentinel_password meant?")
        );
        assert!(refused("secretsecret", &["user", "pass"]).contains("known are user, pass"));
        assert!(refused("secretsecret", &[]).contains("%3F"));
        assert!(!refused("secretsecret", &[]).contains("secret"));
    }
}

//! [`redis_config`]: where Redis is and how to log in, from the settings.

use super::typed::{Adapter, Redis, Secret, Settings};
use roomcast_redis::{Credentials, RedisConfig, RedisTimeouts, RedisTls};
use std::path::Path;

/// Most bytes of a file with the URL of Redis.
const URL_FILE_BYTES: u64 = 64 * 1_024;

/// A setting for Redis that cannot be used, and what to write.
pub(crate) type Mistake = (&'static str, String);

/// The configuration of Redis. `None` if the server is on its own.
pub(crate) fn redis_config(settings: &Settings) -> Result<Option<RedisConfig>, Mistake> {
    if settings.adapter == Adapter::Memory {
        return Ok(None);
    }
    let redis = &settings.redis;
    let (key, url) = match (&redis.url, &redis.url_file) {
        (Some(_), Some(_)) => return Err(("redis.url_file", "redis.url is set too: leave one of them out".to_owned())),
        (Some(url), None) => ("redis.url", url.clone()),
        (None, Some(file)) => (
            "redis.url_file",
            read_url(file).map_err(|error| ("redis.url_file", format!("{}: {error}", file.display())))?,
        ),
        (None, None) if settings.is_production() => {
            return Err((
                "redis.url",
                "NODE_ENV is production, but REDIS_URL is not set: set it (such as redis://127.0.0.1:6379), or pass --adapter memory to run a \
                 server on its own"
                    .to_owned(),
            ));
        }
        (None, None) => {
            return Err((
                "redis.url",
                "the adapter is redis, but REDIS_URL is not set: set it, such as redis://127.0.0.1:6379".to_owned(),
            ));
        }
    };
    let config = url.parse::<RedisConfig>().map_err(|error| (key, error.to_string()))?;
    let mut timeouts = RedisTimeouts::default();
    (timeouts.connect, timeouts.command) = (redis.connect_timeout, redis.command_timeout);
    with_secrets(redis, config.with_timeouts(timeouts)).map(Some)
}

fn read_url(file: &Path) -> Result<String, String> {
    let size = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if size > URL_FILE_BYTES {
        return Err(format!("has {size} bytes; at most {URL_FILE_BYTES} are read"));
    }
    std::fs::read_to_string(file).map_err(|error| error.to_string())
}

/// Adds passwords and TLS files. One that `config` would not use is a mistake.
fn with_secrets(redis: &Redis, mut config: RedisConfig) -> Result<RedisConfig, Mistake> {
    const BOTH: &str = "the password itself is set too: leave one of them out";
    match (&redis.password, &redis.password_file) {
        (Some(_), Some(_)) => return Err(("redis.password_file", BOTH.to_owned())),
        (Some(Secret(password)), None) => config = config.with_credentials(fixed(password)),
        (None, Some(file)) => config = config.with_password_file(file),
        (None, None) => {}
    }
    let sentinel = match (&redis.sentinel_password, &redis.sentinel_password_file) {
        (Some(_), Some(_)) => return Err(("redis.sentinel_password_file", BOTH.to_owned())),
        (Some(_), None) => Some("redis.sentinel_password"),
        (None, Some(_)) => Some("redis.sentinel_password_file"),
        (None, None) => None,
    };
    if let Some(key) = sentinel
        && !config.is_sentinel()
    {
        return Err((key, "REDIS_URL has no Sentinels: write redis+sentinel://…, or leave this out".to_owned()));
    }
    if let Some(Secret(password)) = &redis.sentinel_password {
        config = config.with_sentinel_credentials(fixed(password));
    }
    if let Some(file) = &redis.sentinel_password_file {
        config = config.with_sentinel_password_file(file);
    }
    let mut tls = RedisTls::new();
    if let Some(file) = &redis.tls_ca_file {
        tls = tls.ca_file(file);
    }
    match (&redis.tls_cert_file, &redis.tls_key_file) {
        (Some(certificate), Some(key)) => tls = tls.client_files(certificate, key),
        (None, None) if redis.tls_ca_file.is_none() => return Ok(config),
        (None, None) => {}
        (Some(_), None) => {
            return Err((
                "redis.tls_cert_file",
                "its key is missing: redis.tls_key_file must be set together with it".to_owned(),
            ));
        }
        (None, Some(_)) => {
            return Err((
                "redis.tls_key_file",
                "its certificate is missing: redis.tls_cert_file must be set together with it".to_owned(),
            ));
        }
    }
    if !config.is_tls() {
        let files = [
            ("redis.tls_ca_file", &redis.tls_ca_file),
            ("redis.tls_cert_file", &redis.tls_cert_file),
            ("redis.tls_key_file", &redis.tls_key_file),
        ];
        let key = files.iter().find(|(_, file)| file.is_some()).map_or("redis.url", |(key, _)| key);
        return Err((
            key,
            "REDIS_URL does not use TLS: write rediss:// (or rediss+sentinel://, rediss+cluster://)".to_owned(),
        ));
    }
    Ok(config.with_tls(tls))
}

/// A password that does not change.
fn fixed(
    password: &str,
) -> impl Fn() -> std::future::Ready<Result<Credentials, std::convert::Infallible>> + Send + Sync + 'static {
    let password = password.to_owned();
    move || std::future::ready(Ok(Credentials::password(password.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::resolve::{Given, Resolved};

    fn config(variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let variables = variables.iter().map(|(name, text)| (name.into(), text.into()));
        let resolved = Resolved::new(&Given { variables: variables.collect(), ..Given::default() });
        assert!(resolved.problems.is_empty());
        redis_config(&resolved.settings)
            .map(|config| config.map(|config| config.to_string()))
            .map_err(|(key, _)| key.to_owned())
    }

    #[test]
    fn node_env_chooses_the_adapter_and_adapter_overrides_it() {
        let (production, url) = (("NODE_ENV", "production"), ("REDIS_URL", "redis://h"));
        let [memory, redis] = ["memory", "redis"].map(|adapter| ("ROOMCAST_ADAPTER", adapter));
        let shown = Ok(Some("redis://h".to_owned()));
        assert_eq!(config(&[production, url]), shown);
        assert_eq!(config(&[redis, url]), shown);
        assert_eq!(config(&[production, url, memory]), Ok(None));
        assert_eq!(config(&[url]), Ok(None));
        assert_eq!(config(&[production, memory]), Ok(None));
        for wrong in [&[production][..], &[redis], &[production, ("REDIS_URL", " ")], &[redis, ("REDIS_URL", "none")]] {
            assert_eq!(config(wrong), Err("redis.url".to_owned()));
        }
    }

    #[test]
    fn what_would_not_be_used_is_refused() {
        let config = |url: &str, more: &[(&str, &str)]| {
            config(&[&[("ROOMCAST_ADAPTER", "redis"), ("REDIS_URL", url)], more].concat())
        };
        let (ca, certificate, key) =
            (("REDIS_TLS_CA_FILE", "/ca"), ("REDIS_TLS_CERT_FILE", "/c"), ("REDIS_TLS_KEY_FILE", "/k"));
        let sentinel = ("REDIS_SENTINEL_PASSWORD_FILE", "/s");
        assert!(config("rediss://h", &[ca]).is_ok());
        assert!(config("rediss+cluster://h,i", &[ca, certificate, key]).is_ok());
        assert!(config("redis+sentinel://a:1/m", &[sentinel]).is_ok());
        assert!(config("redis+sentinel://a:1/m", &[("REDIS_SENTINEL_PASSWORD", "x")]).is_ok());
        for (url, more, refused) in [
            ("redis://h", &[ca][..], "redis.tls_ca_file"),
            ("redis+cluster://h", &[certificate, key], "redis.tls_cert_file"),
            ("rediss://h", &[certificate], "redis.tls_cert_file"),
            ("rediss://h", &[ca, key], "redis.tls_key_file"),
            ("redis://h", &[sentinel], "redis.sentinel_password_file"),
            ("redis://h", &[("REDIS_SENTINEL_PASSWORD", "x")], "redis.sentinel_password"),
            ("redis://h", &[("REDIS_PASSWORD", "x"), ("REDIS_PASSWORD_FILE", "/p")], "redis.password_file"),
            ("redis://h", &[("REDIS_URL_FILE", "/u")], "redis.url_file"),
            ("redis://h?password=x", &[], "redis.url"),
        ] {
            assert_eq!(config(url, more), Err(refused.to_owned()), "{url} {more:?}");
        }
    }

    #[test]
    fn the_url_may_be_in_a_file() {
        let folder = std::env::temp_dir().join(format!("roomcast-url-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            config(&[("ROOMCAST_ADAPTER", "redis"), ("REDIS_URL_FILE", path.to_str().unwrap())])
        };
        assert_eq!(file("good", b"redis://u:secret@h:7\n"), Ok(Some("redis://u:***@h:7".to_owned())));
        let longest = format!("{:1$}redis://h", "", URL_FILE_BYTES as usize - "redis://h".len());
        assert_eq!(file("longest", longest.as_bytes()), Ok(Some("redis://h".to_owned())));
        assert_eq!(file("longer", format!(" {longest}").as_bytes()), Err("redis.url_file".to_owned()));
        for text in [&b"http://h"[..], b"", b"\xff", &[b' '; 65_537]] {
            assert_eq!(file("bad", text), Err("redis.url_file".to_owned()));
        }
        assert_eq!(
            config(&[("ROOMCAST_ADAPTER", "redis"), ("REDIS_URL_FILE", "/nowhere")]),
            Err("redis.url_file".to_owned())
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}

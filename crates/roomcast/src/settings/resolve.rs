//! [`Resolved`]: the settings that are in effect. A flag overrides a variable, a variable the configuration file, and the file the default.

use super::file::{self, FromFile, nearest};
use super::key::Key;
use super::keys::KEYS;
use super::problem::{Problem, Source};
use super::typed::{PRODUCTION, Settings};
use super::value::{Kind, NONE, Value};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// What was given from outside.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// The configuration file's path and text, if there is one.
    pub(crate) file: Option<(String, String)>,
    /// The environment.
    pub(crate) variables: BTreeMap<OsString, OsString>,
    /// The keys of the flags, and their texts.
    pub(crate) flags: BTreeMap<&'static str, String>,
}

/// A setting's value, `None` if it has none, and where that comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Set {
    pub(crate) value: Option<Value>,
    pub(crate) source: Source,
}

/// The settings in effect.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) settings: Settings,
    pub(crate) sets: BTreeMap<&'static str, Set>,
    pub(crate) problems: Vec<Problem>,
}

impl Resolved {
    pub(crate) fn new(given: &Given) -> Self {
        let mut resolved = Self::default();
        let FromFile { values, problems } =
            given.file.as_ref().map(|(path, text)| file::read(path, text)).unwrap_or_default();
        resolved.problems = problems;
        for (key, value, source) in values {
            let value = if key.is_optional() && is_none(key, &value) { None } else { Some(value) };
            resolved.sets.insert(key.name, Set { value, source });
        }
        for key in KEYS {
            if let Some(text) = resolved.variable(given, key.variable) {
                resolved.take(key, &text, Source::Variable(key.variable.to_owned()));
            }
            if let Some(text) = given.flags.get(key.name) {
                resolved.take(key, text, Source::Flag(key.flag.to_owned()));
            }
        }
        resolved.unknown_variables(given);
        let production = resolved.sets.get("node_env").and_then(|set| set.value.as_ref());
        let production = production.is_some_and(|value| value.is(PRODUCTION));
        for key in KEYS {
            let set = resolved.sets.entry(key.name).or_insert_with(|| Set {
                value: Some(key.default(production))
                    .filter(|text| !text.is_empty())
                    .and_then(|text| key.kind.read(text).ok()),
                source: Source::Default,
            });
            if let Some(value) = &set.value {
                key.set(&mut resolved.settings, value);
            }
        }
        resolved
    }

    /// Where a setting's value comes from.
    pub(crate) fn source(&self, key: &str) -> Source {
        self.sets.get(key).map(|set| set.source.clone()).unwrap_or_default()
    }

    /// Whether somebody set it.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.source(key) != Source::Default
    }

    pub(crate) fn error(&mut self, key: &'static str, what: impl Into<String>) {
        self.problems.push(Problem::error(self.source(key), Some(key), what));
    }

    pub(crate) fn warn(&mut self, key: &'static str, what: impl Into<String>) {
        self.problems.push(Problem::warning(self.source(key), Some(key), what));
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems.iter().any(|problem| problem.is_error)
    }

    /// The text of a variable. An empty one counts as not set, because `${NAME:-}` in a compose file gives an empty value.
    fn variable(&mut self, given: &Given, name: &str) -> Option<String> {
        let text = given.variables.get(&OsString::from(name))?;
        let Some(text) = text.to_str() else {
            let source = Source::Variable(name.to_owned());
            self.problems.push(Problem::error(source, None, "is no UTF-8 text"));
            return None;
        };
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn take(&mut self, key: &'static Key, text: &str, source: Source) {
        let is_optional = key.is_optional() && !matches!(key.kind, Kind::List | Kind::Choices(_));
        let value = if is_optional && text.trim() == NONE { Ok(None) } else { key.kind.read(text).map(Some) };
        match value {
            Ok(value) => {
                self.sets.insert(key.name, Set { value, source });
            }
            Err(what) => self.problems.push(Problem::error(source, Some(key.name), what)),
        }
    }

    /// Variables that look like ours and are not.
    fn unknown_variables(&mut self, given: &Given) {
        for name in given.variables.keys().filter_map(|name| name.to_str()) {
            let ours = || KEYS.iter().map(|key| key.variable);
            let Some(rest) = name.strip_prefix("ROOMCAST_") else { continue };
            if name == CONFIG || ours().any(|variable| variable == name) || is_of_kubernetes(rest) {
                continue;
            }
            let advice =
                nearest(name, ours()).map_or_else(|| "unset it".to_owned(), |variable| format!("write {variable}"));
            let what = format!("there is no such variable: {advice}");
            self.problems.push(Problem::warning(Source::Variable(name.to_owned()), None, what));
        }
    }
}

/// The variable that names the configuration file.
pub(crate) const CONFIG: &str = "ROOMCAST_CONFIG";

fn is_none(key: &Key, value: &Value) -> bool {
    !matches!(key.kind, Kind::List | Kind::Choices(_)) && value.is(NONE)
}

/// Whether a variable is one that Kubernetes sets for a service called `roomcast` or `roomcast-…`.
fn is_of_kubernetes(rest: &str) -> bool {
    ["SERVICE_HOST", "SERVICE_PORT"].iter().any(|part| rest.contains(part))
        || rest == "PORT"
        || rest.ends_with("_PORT")
        || rest.contains("PORT_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(file: &str, variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Resolved {
        Resolved::new(&Given {
            file: (!file.is_empty()).then(|| ("r.toml".to_owned(), file.to_owned())),
            variables: variables.iter().map(|(name, text)| (name.into(), text.into())).collect(),
            flags: flags.iter().map(|(name, text)| (*name, (*text).to_owned())).collect(),
        })
    }

    fn told(resolved: &Resolved) -> Vec<String> {
        resolved.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_flag_overrides_a_variable_and_that_the_file() {
        let file = "[listen]\nport = 1\nhost = 'f'\npath = '/f/'";
        let resolved = given(file, &[("PORT", "2"), ("HOST", "v"), ("MAX_CONNECTIONS", " ")], &[("listen.port", "3")]);
        assert!(resolved.problems.is_empty());
        let listen = &resolved.settings.listen;
        assert_eq!((listen.port, &*listen.host, &*listen.path, listen.max_connections), (3, "v", "/f/", 100_000));
        let sources = ["listen.port", "listen.host", "listen.path", "listen.max_connections"]
            .map(|key| resolved.source(key).to_string());
        assert_eq!(sources, ["--port", "HOST", "r.toml:4", "default"]);
    }

    #[test]
    fn production_has_other_defaults() {
        for (variables, seconds) in [
            (&[][..], [0, 0]),
            (&[("NODE_ENV", "production")], [5, 10]),
            (&[("NODE_ENV", "production"), ("ROOMCAST_DRAIN_GRACE", "7")], [7, 10]),
            (&[("NODE_ENV", "test"), ("ROOMCAST_DRAIN_WINDOW", "2s")], [0, 2]),
        ] {
            let drain = given("", variables, &[]).settings.drain;
            assert_eq!([drain.grace.as_secs(), drain.window.as_secs()], seconds);
            assert_eq!(drain.deadline().as_secs(), seconds[0] + seconds[1] + 10);
        }
        assert_eq!(given("node_env = 'production'", &[], &[]).settings.drain.grace.as_secs(), 5);
    }

    #[test]
    fn a_value_can_be_taken_away() {
        let file = "client_events = []\n[redis]\nurl = 'redis://h'";
        let resolved = given(file, &[("REDIS_URL", "none")], &[]);
        assert_eq!(resolved.settings.redis.url, None);
        assert!(resolved.settings.client_events.is_empty());
        assert!(given("", &[("ROOMCAST_CLIENT_EVENTS", "none")], &[]).settings.client_events.is_empty());
        assert_eq!(given("", &[], &[]).settings.client_events.len(), 3);
    }

    #[test]
    fn mistakes_name_their_source() {
        let resolved = given("[listen]\nport = -1", &[("PORT", "x")], &[("listen.port", "y")]);
        let told = told(&resolved);
        assert_eq!(told.len(), 3);
        for source in ["r.toml:2: listen.port: -1", "PORT: x is not possible", "--port: y is not possible"] {
            assert!(told.iter().any(|problem| problem.starts_with(source)), "{source}: {told:?}");
        }
        assert!(resolved.has_errors());
    }

    #[test]
    fn variables_that_resemble_ours_are_told() {
        let resolved = given("", &[("ROOMCAST_DRAIN_GRAEC", "1"), ("ROOMCAST_X", "1")], &[]);
        assert_eq!(
            told(&resolved),
            [
                "ROOMCAST_DRAIN_GRAEC: there is no such variable: write ROOMCAST_DRAIN_GRACE",
                "ROOMCAST_X: there is no such variable: unset it"
            ]
        );
        assert!(!resolved.has_errors());
        // Kubernetes sets these for services that are called roomcast or roomcast-internal.
        let kubernetes = [
            "ROOMCAST_PORT",
            "ROOMCAST_SERVICE_HOST",
            "ROOMCAST_SERVICE_PORT_HTTP",
            "ROOMCAST_PORT_3000_TCP_ADDR",
            "ROOMCAST_INTERNAL_PORT",
            "ROOMCAST_INTERNAL_PORT_9090_TCP",
            "ROOMCAST_CONFIG",
        ];
        assert!(given("", &kubernetes.map(|name| (name, "tcp://10.0.0.1:3000")), &[]).problems.is_empty());
    }

    /// Every key has a name, variable and flag of its own by the same rules, and its defaults are possible values.
    #[test]
    fn the_table_of_keys_is_regular() {
        use std::collections::BTreeSet;
        let of_the_field =
            ["NODE_ENV", "APP_URL", "HOST", "PORT", "MAX_CONNECTIONS", "KEEP_ALIVE_TIMEOUT", "LOG_FORMAT", "RUST_LOG"];
        let mut seen = BTreeSet::new();
        for key in KEYS {
            let (upper, dashed) = (key.name.replace('.', "_").to_uppercase(), key.name.replace(['.', '_'], "-"));
            let variable = if upper.starts_with("REDIS_") { upper } else { format!("ROOMCAST_{upper}") };
            assert!(key.variable == variable || of_the_field.contains(&key.variable), "{}", key.variable);
            assert!(key.flag == dashed || dashed.strip_prefix("listen-") == Some(key.flag), "{}", key.flag);
            for name in [key.name.to_owned(), key.variable.to_owned(), format!("--{}", key.flag)] {
                assert!(seen.insert(name.clone()), "{name} twice");
            }
            for production in [false, true] {
                let default = key.default(production);
                assert!(default.is_empty() || key.kind.read(default).is_ok(), "{}: {default}", key.name);
            }
        }
        assert!(given("", &[], &[]).problems.is_empty());
    }
}

//! [`Cli`]: the command line. Each setting has a flag; what they mean is in [`keys`](crate::settings::keys).

use crate::settings::key::Key;
use crate::settings::keys::{KEYS, SECTIONS};
use crate::settings::resolve::{CONFIG, Given};
use crate::settings::value::Kind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the program was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Run a server.
    Serve,
    /// Ask a running server for its health, or whether it is ready for clients.
    Health { ready: bool },
    /// Show the settings in effect.
    Config,
    /// Look for mistakes in the settings.
    CheckConfig,
}

/// The command line.
#[derive(Debug)]
pub(crate) struct Cli {
    pub(crate) action: Action,
    /// The configuration file, if one was named.
    file: Option<PathBuf>,
    flags: BTreeMap<&'static str, String>,
}

/// The file that is read if it exists and none is named.
const DEFAULT_FILE: &str = "roomcast.toml";

/// Flags that `-h` shows; `--help` shows all.
const COMMON: &[&str] = &[
    "listen.host",
    "listen.port",
    "node_env",
    "app_url",
    "adapter",
    "redis.url",
    "redis.dialect",
    "client_events",
    "internal.listen",
    "log.format",
];

const ABOUT: &str = "A Socket.IO server with rooms: clients join rooms, leave them and publish to them. GET / answers with a chat page.";

const LONG_ABOUT: &str = "\
A Socket.IO server with rooms: clients join rooms, leave them and publish to them. GET / answers with a chat page.

The server runs until it receives SIGTERM or Ctrl-C. At SIGTERM it first drains: see --drain-grace and --drain-window. A second \
signal ends it at once.

A flag overrides its environment variable, and that the configuration file. An empty variable counts as not set.";

impl Cli {
    /// Reads the flags. If one is unknown, or for `--help` and `--version`, prints a message and exits.
    pub(crate) fn read() -> Self {
        Self::from_matches(&command().get_matches())
    }

    fn from_matches(matches: &ArgMatches) -> Self {
        let (action, matches) = match matches.subcommand() {
            Some(("health", health)) => (Action::Health { ready: health.get_flag("ready") }, health),
            Some(("config", config)) => (Action::Config, config),
            Some(("check-config", check)) => (Action::CheckConfig, check),
            _ => (Action::Serve, matches),
        };
        let flags =
            KEYS.iter().filter_map(|key| Some((key.name, matches.get_one::<String>(key.name)?.clone()))).collect();
        let named = (action == Action::CheckConfig).then(|| matches.get_one::<PathBuf>("FILE")).flatten();
        let file = named.or_else(|| matches.get_one::<PathBuf>("config")).cloned();
        Self { action, file, flags }
    }

    /// All that was given from outside: the configuration file, the environment and the flags.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn given(self) -> Result<Given, String> {
        let variable = std::env::var_os(CONFIG).filter(|path| !path.to_string_lossy().trim().is_empty());
        let named = self.file.or_else(|| variable.map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let file = match read(&path) {
            Ok(text) => Some((path.display().to_string(), text)),
            Err(Unread::Missing) if named.is_none() => None,
            Err(Unread::Missing) => return Err(format!("there is no configuration file {}", path.display())),
            Err(Unread::Because(why)) => {
                return Err(format!("cannot read the configuration file {}: {why}", path.display()));
            }
        };
        Ok(Given { file, variables: std::env::vars_os().collect(), flags: self.flags })
    }
}

/// Why a file was not read.
enum Unread {
    Missing,
    Because(String),
}

fn read(path: &std::path::Path) -> Result<String, Unread> {
    use crate::settings::file::MAX_BYTES;
    use std::io::{ErrorKind, Read as _};
    let file = std::fs::File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Unread::Missing,
        _ => Unread::Because(error.to_string()),
    })?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| Unread::Because(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Unread::Because(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .global(true)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help(format!(
            "Configuration file. By default {DEFAULT_FILE} in the current folder, if there is one [env: {CONFIG}]"
        ));
    let ready = Arg::new("ready")
        .long("ready")
        .action(ArgAction::SetTrue)
        .help("Ask whether the server is ready for clients (/readyz), and not only whether it answers (/healthz)");
    let file = Arg::new("FILE").value_parser(clap::value_parser!(PathBuf)).help("Configuration file, as --config");
    Command::new("roomcast")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .max_term_width(100)
        .arg(config)
        .args(KEYS.iter().map(flag))
        .subcommand(
            Command::new("health")
                .about("Ask a running server for its health, by HOST and PORT, or by ROOMCAST_INTERNAL_LISTEN if clients use TLS or the PROXY protocol; exits with 0 if it is healthy, else with 1. For containers, whose images have no shell")
                .arg(ready),
        )
        .subcommand(
            Command::new("config").about("Show the settings in effect as a configuration file, and where each comes from; secrets are hidden"),
        )
        .subcommand(
            Command::new("check-config")
                .about("Look for mistakes in the configuration file, the environment and the flags, without starting a server; exits with 1 if a server would not start")
                .arg(file),
        )
}

fn flag(key: &'static Key) -> Arg {
    let default = match (key.default, key.production) {
        ("", _) => String::new(),
        (default, None) => format!(" [default: {default}]"),
        (default, Some(production)) => format!(" [default: {default}, in production {production}]"),
    };
    let names = match key.kind {
        Kind::Choice(names) | Kind::Choices(names) => {
            let names: Vec<_> = names.iter().map(|(name, what)| format!("{name}: {what}")).collect();
            format!(". {}", names.join("; "))
        }
        _ => String::new(),
    };
    let heading = SECTIONS.iter().find(|(section, _)| *section == key.section()).map_or("", |(_, what)| what);
    Arg::new(key.name)
        .long(key.flag)
        .global(true)
        .value_name(match key.kind {
            Kind::Bool => "BOOL",
            Kind::Integer(..) => "NUMBER",
            Kind::Bytes(..) => "BYTES",
            Kind::Time(..) => "SECONDS",
            Kind::Path => "FILE",
            Kind::List | Kind::Choices(_) => "LIST",
            Kind::Rate => "RATE",
            Kind::Text | Kind::Secret | Kind::Choice(_) => "VALUE",
        })
        .allow_hyphen_values(true)
        .hide_short_help(!COMMON.contains(&key.name))
        .help_heading(heading)
        .help(format!("{}{names} [env: {}]{default}", key.what, key.variable))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Cli {
        Cli::from_matches(&command().get_matches_from([&["roomcast"], arguments].concat()))
    }

    #[test]
    fn flags_and_subcommands_are_read_in_any_order() {
        command().debug_assert();
        assert!(COMMON.iter().all(|name| crate::settings::keys::named(name).is_some()));
        for (arguments, action) in [
            (&["--port", "1"][..], Action::Serve),
            (&["--port", "1", "health"], Action::Health { ready: false }),
            (&["health", "--ready", "--port", "1"], Action::Health { ready: true }),
            (&["--port=1", "config"], Action::Config),
            (&["check-config", "--port", "1", "x.toml"], Action::CheckConfig),
        ] {
            let cli = parse(arguments);
            assert_eq!(
                (cli.action, cli.flags.get("listen.port").map(String::as_str)),
                (action, Some("1")),
                "{arguments:?}"
            );
            assert_eq!(cli.file.is_some(), action == Action::CheckConfig);
        }
        assert_eq!(parse(&["--config", "a", "check-config"]).file, Some("a".into()));
        assert_eq!(parse(&["--config", "a", "check-config", "b"]).file, Some("b".into()));
        // What is no number is told with all other mistakes, not by the parser of flags.
        assert_eq!(parse(&["--port", "-1"]).flags["listen.port"], "-1");
    }

    #[test]
    fn every_key_is_a_flag_and_short_help_is_short() {
        // Without the ends of lines, at which long texts are wrapped.
        let help =
            |arguments: &[&str]| command().term_width(0).try_get_matches_from(arguments).unwrap_err().to_string();
        let (short, long) = (help(&["roomcast", "-h"]), help(&["roomcast", "--help"]));
        for key in KEYS {
            assert!(long.contains(&format!("--{} <", key.flag)), "{}", key.flag);
            assert!(long.contains(&format!("[env: {}]", key.variable)), "{}", key.variable);
        }
        assert!(short.lines().count() < 80, "{short}");
    }
}

//! What `roomcast config` prints: the settings in effect, as a configuration file, with where each value comes from.

use super::keys::{KEYS, SECTIONS};
use super::problem::Source;
use super::resolve::Resolved;
use super::value::Kind;
use roomcast_redis::RedisConfig;

/// The settings as TOML. A line without a value is a comment. Secrets are hidden.
pub(crate) fn settings(resolved: &Resolved) -> String {
    let mut text = String::new();
    for (section, what) in SECTIONS {
        if !section.is_empty() {
            text.push_str("\n[");
            text.push_str(section);
            text.push_str("] # ");
            text.push_str(what);
            text.push('\n');
        }
        for key in KEYS.iter().filter(|key| key.section() == *section) {
            let Some(set) = resolved.sets.get(key.name) else { continue };
            let line = match &set.value {
                None => format!("# {} is not set", key.short()),
                Some(value) => match (key.kind, key.name) {
                    (Kind::Secret, _) => format!("{} = \"(hidden)\"", key.short()),
                    (_, "redis.url") => format!("{} = \"{}\"", key.short(), without_password(&value.text())),
                    _ => format!("{} = {value}", key.short()),
                },
            };
            let source = if set.source == Source::Default && set.value.is_none() {
                String::new()
            } else {
                format!(" # {}", set.source)
            };
            text.push_str(&format!("{line}{source}\n"));
        }
    }
    text
}

/// A URL without its password. One that cannot be read is not shown, as it may have a password anywhere.
fn without_password(url: &str) -> String {
    url.parse::<RedisConfig>()
        .map_or_else(|_| "(not a URL of Redis, so it is hidden)".to_owned(), |config| config.to_string())
}

/// The tables of `docs/configuration.md`.
#[cfg(test)]
pub(crate) fn tables() -> String {
    let mut text = String::new();
    for (section, what) in SECTIONS {
        let title = if section.is_empty() { "At the top of the file".to_owned() } else { format!("[{section}]") };
        text.push_str(&format!(
            "\n### {title}\n\n{what}.\n\n| key | variable, flag | default | what |\n|---|---|---|---|\n"
        ));
        for key in KEYS.iter().filter(|key| key.section() == *section) {
            let value = |text: &str| {
                key.kind.read(text).map(|value| format!("`{value}`")).unwrap_or_else(|_| "none".to_owned())
            };
            let value = |text: &str| if text.is_empty() { "none".to_owned() } else { value(text) };
            let default = match key.production {
                None => value(key.default),
                Some(production) => format!("{}, in production {}", value(key.default), value(production)),
            };
            let names = match key.kind {
                Kind::Choice(names) | Kind::Choices(names) => {
                    let names: Vec<_> = names.iter().map(|(name, what)| format!("`{name}`: {what}")).collect();
                    format!(". {}", names.join("; "))
                }
                _ => String::new(),
            };
            text.push_str(&format!(
                "| `{}` | `{}`, `--{}` | {default} | {}{names} |\n",
                key.short(),
                key.variable,
                key.flag,
                key.what
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ROOMCAST_BLESS=1 cargo test -p roomcast` writes the tables.
    #[test]
    fn the_document_has_every_key() {
        const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        const MARKS: [&str; 2] = ["<!-- settings -->\n", "<!-- /settings -->"];
        let document = std::fs::read_to_string(PATH).unwrap();
        let (before, rest) = document.split_once(MARKS[0]).unwrap();
        let (documented, after) = rest.split_once(MARKS[1]).unwrap();
        let tables = format!("{}\n", tables());
        if documented != tables && std::env::var_os("ROOMCAST_BLESS").is_some() {
            std::fs::write(PATH, format!("{before}{}{tables}{}{after}", MARKS[0], MARKS[1])).unwrap();
            return;
        }
        assert_eq!(documented, tables, "docs/configuration.md is old: run ROOMCAST_BLESS=1 cargo test -p roomcast");
    }
}

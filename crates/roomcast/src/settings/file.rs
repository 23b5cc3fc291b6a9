//! Reads the configuration file: TOML with sections. What is wrong is told with its line.

use super::key::Key;
use super::keys::{KEYS, SECTIONS, named};
use super::problem::{Problem, Source};
use super::value::Value;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Most bytes of a configuration file.
pub(crate) const MAX_BYTES: u64 = 1024 * 1024;

/// What a file says.
#[derive(Default)]
pub(crate) struct FromFile {
    pub(crate) values: Vec<(&'static Key, Value, Source)>,
    pub(crate) problems: Vec<Problem>,
}

/// Names that people write because another program calls it so, and what is meant. In small letters, without `_` and `-`.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("origin", "app_url"),
    ("origins", "app_url"),
    ("cors", "app_url"),
    ("corsorigin", "app_url"),
    ("allowedorigins", "app_url"),
    ("environment", "node_env"),
    ("env", "node_env"),
    ("address", "listen.host"),
    ("bind", "listen.host"),
    ("maxclients", "listen.max_connections"),
    ("keepalive", "listen.keep_alive_timeout"),
    ("maxhttpbuffersize", "client.max_payload"),
    ("maxpayloadsize", "client.max_payload"),
    ("redisurl", "redis.url"),
    ("uri", "redis.url"),
    ("prefix", "redis.key"),
    ("keyprefix", "redis.key"),
    ("channelprefix", "redis.key"),
    ("subscriptionmode", "redis.sharded_mode"),
    ("requeststimeout", "redis.request_timeout"),
    ("publishonspecificresponsechannel", "redis.specific_responses"),
    ("level", "log.filter"),
    ("serveclient", "listen.client_files"),
];

/// Options of Node's server that roomcast does not have.
const MISSING: &[(&str, &str)] = &[
    ("connectionstaterecovery", "roomcast has no connection state recovery yet: leave the line out"),
    ("alloweio3", "clients of versions 1 and 2 (EIO=3) are not supported: leave the line out"),
    ("parser", "roomcast has one parser, that of socket.io-parser: leave the line out"),
];

/// Reads a file whose `path` is shown in messages.
pub(crate) fn read(path: &str, text: &str) -> FromFile {
    let mut read = FromFile::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    let at = |span: Range<usize>| Source::File { path: path.to_owned(), line: line(text, span.start) };
    for error in errors {
        let source = at(error.span().unwrap_or_default());
        read.problems.push(Problem::error(source, None, format!("is no TOML: {}", error.message())));
    }
    for (name, value) in table.get_ref() {
        let source = at(name.span());
        match value.get_ref() {
            DeValue::Table(section) if is_section(name.get_ref()) => {
                for (short, value) in section {
                    let full = format!("{}.{}", name.get_ref(), short.get_ref());
                    take(&mut read, &full, value.get_ref(), at(short.span()));
                }
            }
            DeValue::Table(_) => read.problems.push(unknown_section(name.get_ref(), source)),
            value => take(&mut read, name.get_ref(), value, source),
        }
    }
    read
}

fn take(read: &mut FromFile, name: &str, value: &DeValue<'_>, source: Source) {
    let Some(key) = named(name) else {
        read.problems.push(Problem::error(source, None, format!("{}: {}", shown(name), unknown(name))));
        return;
    };
    match key.kind.read_toml(value) {
        Ok(value) => read.values.push((key, value, source)),
        Err(what) => read.problems.push(Problem::error(source, Some(key.name), what)),
    }
}

fn is_section(name: &str) -> bool {
    !name.is_empty() && SECTIONS.iter().any(|(section, _)| *section == name)
}

fn unknown_section(name: &str, source: Source) -> Problem {
    let sections = SECTIONS.iter().map(|(section, _)| *section).filter(|section| !section.is_empty());
    let near = nearest(name, sections.clone()).map_or_else(
        || format!("the sections are {}", sections.collect::<Vec<_>>().join(", ")),
        |section| format!("write [{section}]"),
    );
    Problem::error(source, None, format!("[{}]: there is no such section: {near}", shown(name)))
}

/// What to write in place of an unknown key.
fn unknown(name: &str) -> String {
    let short = name.rsplit_once('.').map_or(name, |(_, short)| short);
    let plain = plain(short);
    if let Some((_, why)) = MISSING.iter().find(|(other, _)| *other == plain) {
        return format!("there is no such key: {why}");
    }
    let other = OTHER_NAMES.iter().find(|(other, _)| *other == plain).map(|(_, key)| *key);
    let same = KEYS.iter().find(|key| self::plain(key.short()) == plain).map(|key| key.name);
    match other.or(same).or_else(|| nearest(name, KEYS.iter().map(|key| key.name))).and_then(named) {
        Some(key) if key.section().is_empty() => {
            format!("there is no such key: write {} above the first section", key.name)
        }
        Some(key) => format!("there is no such key: write {} in [{}]", key.short(), key.section()),
        None => "there is no such key: `roomcast config` shows all".to_owned(),
    }
}

/// The name that resembles this one most, if one does.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    let near = names.map(|other| (distance(other), other)).min_by_key(|(distance, _)| *distance);
    near.filter(|(distance, other)| *distance <= other.len() / 3).map(|(_, other)| other)
}

fn plain(name: &str) -> String {
    name.chars().filter(|character| !matches!(character, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// The start of a name, which may be anything.
fn shown(name: &str) -> String {
    name.chars().take(64).filter(|character| !character.is_control()).collect()
}

/// The number of the line with this byte, from 1 on.
fn line(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        read("r.toml", text).problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn keys_are_found_with_their_lines() {
        let text = "node_env = \"production\"\n\n[listen]\nport = 4000 # not 3000\n[redis]\nurl = 'redis://h'\n";
        let file = read("r.toml", text);
        assert!(file.problems.is_empty());
        let read: Vec<_> =
            file.values.iter().map(|(key, value, source)| format!("{source} {} = {value}", key.name)).collect();
        let mut expected =
            ["r.toml:1 node_env = \"production\"", "r.toml:4 listen.port = 4000", "r.toml:6 redis.url = \"redis://h\""];
        expected.sort_unstable();
        let mut sorted = read;
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        // With points in place of sections.
        let file = self::read("r.toml", "listen.port = 1\nredis.key = 'k'");
        assert!(file.problems.is_empty() && file.values.len() == 2);
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        for (text, told) in [
            ("[redis]\nulr = 'x'", "r.toml:2: redis.ulr: there is no such key: write url in [redis]"),
            ("[server]\nport = 1", "r.toml:1: [server]: there is no such section: the sections are listen,"),
            ("[reddis]\nurl = 'x'", "r.toml:1: [reddis]: there is no such section: write [redis]"),
            ("port = 1", "r.toml:1: port: there is no such key: write port in [listen]"),
            ("[client]\npingInterval = 1", "write ping_interval in [client]"),
            ("[client]\nmaxHttpBufferSize = 1", "write max_payload in [client]"),
            ("[listen]\napp_url = 'x'", "write app_url above the first section"),
            ("perMessageDeflate = true", "write per_message_deflate in [client]"),
            ("serveClient = true", "write client_files in [listen]"),
            ("connectionStateRecovery = 1", "has no connection state recovery yet"),
            ("zzzzzzzz = 1", "`roomcast config` shows all"),
            ("listen = 3", "r.toml:1: listen: there is no such key"),
            ("[listen]\nport = 70_000", "r.toml:2: listen.port: 70000 is not possible here"),
            ("[listen]\nport = 1\nport = 2", "r.toml:3: is no TOML: duplicate key"),
            ("[listen\nport = 1", "r.toml:1: is no TOML"),
            ("[redis]\nurl = redis://h", "r.toml:2: is no TOML"),
            ("[listen.port]\nx = 1", "r.toml:1: listen.port: "),
        ] {
            let problems = problems(text);
            assert!(problems.iter().any(|problem| problem.contains(told)), "{text}: {problems:?}");
        }
        // All at once.
        assert_eq!(problems("[listen]\nport = 70_000\nhots = 'a'\n[drian]\n").len(), 3);
    }

    #[test]
    fn no_text_makes_it_panic() {
        let pieces =
            ["[", "]", "listen", ".", "port", "=", "1", "\n", "\"", "'", "é", "\0", "#", "{", "}", ",", "true"];
        let mut state = 7_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
            }
            let _ = problems(&text);
        }
    }
}

//! [`RedisFigures`]: what a Redis server tells of its state, read from its answers to INFO, CLIENT LIST and CONFIG GET.
//!
//! Versions, forks and managed services differ in what they tell. So whatever is missing, or is not what it should be,
//! is unknown, and the rest counts.

use crate::limits::WATCH_ANSWER;
use crate::topology::client_entry::ClientEntry;

/// Characters of a word that is shown, such as a version.
const LONGEST_WORD: usize = 32;

/// The state of a Redis server. What it does not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisFigures {
    /// The version, such as `7.0.15`; that of Valkey if it is one.
    pub version: Option<String>,
    /// Bytes that are used, including what waits for clients.
    pub memory_used: Option<u64>,
    /// `maxmemory` in bytes; 0 if there is no limit.
    pub memory_max: Option<u64>,
    /// Memory of the machine in bytes. In a container it may be that of the host.
    pub memory_of_machine: Option<u64>,
    /// `maxmemory-policy`: what happens at `maxmemory`.
    pub policy: Option<String>,
    /// Clients that are connected, of all programs.
    pub clients: Option<u64>,
    /// `maxclients`.
    pub clients_max: Option<u64>,
    /// Connections that were refused because of `maxclients`, since Redis was started.
    pub clients_rejected: Option<u64>,
    /// Keys that were evicted because of `maxmemory`, since Redis was started.
    pub keys_evicted: Option<u64>,
    /// Whether it is a primary.
    pub is_primary: Option<bool>,
    /// Replicas that are connected.
    pub replicas: Option<u64>,
    /// Of a replica: whether it is connected to its primary.
    pub has_primary: Option<bool>,
    /// Bytes that wait in Redis for the connection that subscribes: the most, if there are several.
    pub output_buffer: Option<u64>,
    /// `client-output-buffer-limit pubsub`.
    pub output_buffer_limit: Option<RedisBufferLimit>,
}

/// When Redis ends a connection that does not read what is sent to it. 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisBufferLimit {
    /// Bytes at which it ends the connection at once.
    pub hard: u64,
    /// Bytes at which it ends the connection if that lasts.
    pub soft: u64,
}

/// The default of Redis: `32mb 8mb 60`.
pub(super) const USUAL_BUFFER_LIMIT: RedisBufferLimit = RedisBufferLimit { hard: 32 << 20, soft: 8 << 20 };

impl RedisFigures {
    /// Reads an answer to INFO, or to one of its sections.
    pub(super) fn read_info(&mut self, text: &str) {
        let mut valkey = None;
        for line in beginning(text).lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name {
                "redis_version" => self.version = self.version.take().or_else(|| word(value)),
                "valkey_version" => valkey = word(value),
                "used_memory" => number(&mut self.memory_used, value),
                "maxmemory" => number(&mut self.memory_max, value),
                "total_system_memory" => number(&mut self.memory_of_machine, value),
                "maxmemory_policy" => self.policy = word(value),
                "connected_clients" => number(&mut self.clients, value),
                "maxclients" => number(&mut self.clients_max, value),
                "rejected_connections" => number(&mut self.clients_rejected, value),
                "evicted_keys" => number(&mut self.keys_evicted, value),
                "role" => self.read_role(value),
                // Valkey may come to call them by the other word.
                "connected_slaves" | "connected_replicas" => number(&mut self.replicas, value),
                "master_link_status" | "primary_link_status" => {
                    self.has_primary = match value {
                        "up" => Some(true),
                        "down" => Some(false),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
        // Valkey also tells the version of Redis that it is compatible with.
        if valkey.is_some() {
            self.version = valkey;
        }
    }

    fn read_role(&mut self, role: &str) {
        self.is_primary = match role {
            "master" | "primary" => Some(true),
            "slave" | "replica" => Some(false),
            _ => None,
        };
    }

    /// Reads an answer to CLIENT LIST: what waits for those of the listed clients that are `ours`.
    pub(super) fn read_clients(&mut self, text: &str, ours: &[ClientEntry]) {
        for line in beginning(text).lines() {
            let field = |name: &str| {
                line.split_ascii_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
            };
            let (Some(id), Some(address)) = (field("id"), field("addr")) else { continue };
            // Ids start over when Redis restarts, so an id alone could be another client's.
            if ours.iter().any(|entry| entry.id == id && entry.address == address)
                && let Some(waits) = field("omem").and_then(|bytes| bytes.parse().ok())
            {
                self.output_buffer = self.output_buffer.max(Some(waits));
            }
        }
    }

    /// Reads the value of `client-output-buffer-limit`: `normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432
    /// 8388608 60`.
    pub(super) fn read_buffer_limits(&mut self, value: &str) {
        let mut words = beginning(value).split_ascii_whitespace().skip_while(|word| *word != "pubsub").skip(1);
        let mut bytes = || words.next().and_then(|word| word.parse().ok());
        if let (Some(hard), Some(soft)) = (bytes(), bytes()) {
            self.output_buffer_limit = Some(RedisBufferLimit { hard, soft });
        }
    }
}

/// As much of an answer as is read.
fn beginning(text: &str) -> &str {
    let mut end = text.len().min(WATCH_ANSWER);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// A value that is no number leaves the figure unknown.
fn number(figure: &mut Option<u64>, value: &str) {
    *figure = value.parse().ok();
}

/// A word that may be shown.
fn word(value: &str) -> Option<String> {
    let word: String = value.chars().take_while(char::is_ascii_graphic).take(LONGEST_WORD).collect();
    Some(word).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests;

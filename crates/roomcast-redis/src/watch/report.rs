//! [`RedisReport`]: what is known of all watched Redis servers, and [`RedisStatus`], which says it in one sentence.

use super::figures::RedisFigures;
use std::fmt;

/// What the Redis servers said when they were asked last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisReport {
    /// The servers that are used: the one, the primary that the Sentinels name, or the primaries of a Cluster, of which
    /// at most 64 are watched. Empty if it is not known which they are.
    pub servers: Vec<RedisServer>,
    /// Why it is not known which servers are used. `None` in the first report, before anybody was asked.
    pub error: Option<String>,
    /// The warnings whose cause lasts.
    pub warnings: Vec<RedisWarning>,
}

/// A Redis server that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisServer {
    /// Host and port, or the path of its socket. Never a password.
    pub address: String,
    /// Whether it must be a primary. A node of a Cluster need not be.
    pub must_be_primary: bool,
    /// What it told of itself, or why it did not answer.
    pub figures: Result<RedisFigures, String>,
}

/// A warning whose cause lasts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct RedisWarning {
    /// The address of the server that it is about.
    pub address: String,
    /// What it is about.
    pub kind: RedisWarningKind,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RedisWarningKind {
    /// The server that should be the primary is a replica.
    NotPrimary,
    /// A replica is not connected to its primary.
    PrimaryAway,
    /// Memory is nearly used up.
    Memory,
    /// `maxclients` is nearly reached.
    Clients,
    /// Redis is about to end the connection that subscribes, because this server reads too slowly.
    OutputBuffer,
    /// A primary that had replicas has none any more.
    NoReplica,
}

impl fmt::Display for RedisWarningKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotPrimary => "a replica is used as the primary",
            Self::PrimaryAway => "a replica has lost its primary",
            Self::Memory => "memory is nearly used up",
            Self::Clients => "maxclients is nearly reached",
            Self::OutputBuffer => "this server reads too slowly",
            Self::NoReplica => "no replica is left",
        })
    }
}

/// The state of Redis in one sentence, for a health check. It has neither addresses nor passwords, because health checks
/// are often public.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStatus {
    /// Whether all servers answer, and there is no warning.
    pub ok: bool,
    /// The figures, such as `used 1.2 of 2.0 GiB, policy noeviction, 120 of 10000 clients, primary`.
    pub reason: String,
}

impl RedisReport {
    /// The state in one sentence.
    pub fn status(&self) -> RedisStatus {
        let answers: Vec<&RedisFigures> =
            self.servers.iter().filter_map(|server| server.figures.as_ref().ok()).collect();
        let silent = self.servers.len() - answers.len();
        let mut parts = Vec::new();
        let mut kinds: Vec<RedisWarningKind> = self.warnings.iter().map(|warning| warning.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        parts.extend(kinds.iter().map(ToString::to_string));
        match (&*answers, self.servers.len()) {
            (_, 0) if self.error.is_some() => {
                parts.push("it is not known which Redis server to use; see the log".to_owned());
            }
            (_, 0) => parts.push("not asked yet".to_owned()),
            ([], 1) => parts.push("does not answer; see the log".to_owned()),
            ([], all) => parts.push(format!("none of {all} servers answers; see the log")),
            ([figures], 1) => parts.extend(figures.sentence()),
            (_, all) => {
                if silent > 0 {
                    parts.push(format!("{silent} of {all} servers do not answer"));
                } else {
                    parts.push(format!("{all} servers"));
                }
                if let Some(fullest) = answers.iter().copied().max_by_key(|figures| figures.permille()) {
                    parts.push(format!("the fullest: {}", fullest.sentence().join(", ")));
                }
            }
        }
        RedisStatus { ok: kinds.is_empty() && silent == 0 && !answers.is_empty(), reason: parts.join(", ") }
    }
}

impl RedisFigures {
    /// How much of the memory is used, in thousandths of what there is.
    fn permille(&self) -> Option<u128> {
        let (_, most) = self.memory_limit()?;
        u128::from(self.memory_used?).checked_mul(1_000)?.checked_div(u128::from(most))
    }

    /// Whether the limit of memory is `maxmemory`, and the limit. Without `maxmemory` it is the machine's memory.
    pub(super) fn memory_limit(&self) -> Option<(bool, u64)> {
        match (self.memory_max, self.memory_of_machine) {
            (Some(max), _) if max > 0 => Some((true, max)),
            (_, Some(all)) if all > 0 => Some((false, all)),
            _ => None,
        }
    }

    fn sentence(&self) -> Vec<String> {
        let mut parts = Vec::new();
        match (self.memory_used, self.memory_limit()) {
            (Some(used), Some((true, max))) => parts.push(format!("used {}", of(used, max))),
            (Some(used), Some((false, all))) => {
                parts.push(format!("used {} of the machine's memory, no maxmemory", of(used, all)));
            }
            (Some(used), None) => parts.push(format!("used {}", bytes(used))),
            (None, _) => {}
        }
        parts.extend(self.policy.as_ref().map(|policy| format!("policy {policy}")));
        match (self.clients, self.clients_max) {
            (Some(clients), Some(max)) => parts.push(format!("{clients} of {max} clients")),
            (Some(clients), None) => parts.push(format!("{clients} clients")),
            (None, _) => {}
        }
        match (self.is_primary, self.replicas) {
            (Some(true), Some(replicas)) if replicas > 0 => parts.push(format!("primary with {replicas} replicas")),
            (Some(true), _) => parts.push("primary".to_owned()),
            (Some(false), _) => parts.push("replica".to_owned()),
            (None, _) => {}
        }
        if parts.is_empty() {
            parts.push("answers, and tells nothing of its state: the user has no right to INFO".to_owned());
        }
        parts
    }
}

/// `1.2 of 2.0 GiB`.
pub(super) fn of(part: u64, whole: u64) -> String {
    let (size, unit) = unit(whole);
    format!("{:.1} of {:.1} {unit}", part as f64 / size, whole as f64 / size)
}

/// `1.2 GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let (size, unit) = unit(bytes);
    format!("{:.1} {unit}", bytes as f64 / size)
}

fn unit(bytes: u64) -> (f64, &'static str) {
    match bytes {
        0x4000_0000.. => (f64::from(1 << 30), "GiB"),
        0x10_0000.. => (f64::from(1 << 20), "MiB"),
        _ => (1024.0, "KiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: u16, figures: Result<RedisFigures, String>) -> RedisServer {
        RedisServer { address: format!("10.0.0.1:{number}"), must_be_primary: true, figures }
    }

    fn figures(used: u64) -> RedisFigures {
        RedisFigures {
            memory_used: Some(used),
            memory_max: Some(2 << 30),
            policy: Some("noeviction".to_owned()),
            clients: Some(120),
            clients_max: Some(10_000),
            is_primary: Some(true),
            replicas: Some(0),
            ..RedisFigures::default()
        }
    }

    fn status(servers: Vec<RedisServer>, warnings: Vec<RedisWarning>) -> (bool, String) {
        let RedisStatus { ok, reason } = RedisReport { servers, error: None, warnings }.status();
        (ok, reason)
    }

    #[test]
    fn one_server() {
        let said = "used 1.2 of 2.0 GiB, policy noeviction, 120 of 10000 clients, primary";
        let one = || server(1, Ok(figures(1_288_490_189)));
        assert_eq!(status(vec![one()], vec![]), (true, said.to_owned()));
        let warning = |kind| RedisWarning { address: "10.0.0.1:1".to_owned(), kind };
        let warned = status(vec![one()], vec![warning(RedisWarningKind::Clients), warning(RedisWarningKind::Memory)]);
        assert_eq!(warned, (false, format!("memory is nearly used up, maxclients is nearly reached, {said}")));
        let silent = status(vec![server(1, Err("connection refused by 10.0.0.1".to_owned()))], vec![]);
        assert_eq!(silent, (false, "does not answer; see the log".to_owned()));
        let (ok, said) = status(vec![server(1, Ok(RedisFigures::default()))], vec![]);
        assert!(ok && said.contains("no right to INFO"), "{said}");
    }

    #[test]
    fn what_a_server_may_leave_out() {
        let mut figures = RedisFigures { memory_used: Some(3 << 20), clients: Some(4), ..RedisFigures::default() };
        let said = |figures: &RedisFigures| figures.sentence().join(", ");
        assert_eq!(said(&figures), "used 3.0 MiB, 4 clients");
        (figures.memory_max, figures.memory_of_machine) = (Some(0), Some(6 << 20));
        (figures.is_primary, figures.replicas) = (Some(true), Some(2));
        assert_eq!(
            said(&figures),
            "used 3.0 of 6.0 MiB of the machine's memory, no maxmemory, 4 clients, primary with 2 replicas"
        );
        figures.is_primary = Some(false);
        assert!(said(&figures).ends_with("4 clients, replica"));
        figures.memory_of_machine = Some(0);
        assert_eq!(figures.memory_limit(), None);
    }

    #[test]
    fn nobody_was_asked_or_can_be() {
        assert_eq!(status(vec![], vec![]), (false, "not asked yet".to_owned()));
        let report = RedisReport { error: Some("no Sentinel at 10.0.0.1".to_owned()), ..RedisReport::default() };
        assert_eq!(report.status().reason, "it is not known which Redis server to use; see the log");
    }

    /// The sentence does not grow with the Cluster, and has no addresses.
    #[test]
    fn many_servers() {
        let mut servers: Vec<RedisServer> =
            (1..=64).map(|number| server(number, Ok(figures(u64::from(number) << 24)))).collect();
        let (ok, said) = status(servers.clone(), vec![]);
        assert!(ok && said.starts_with("64 servers, the fullest: used 1.0 of 2.0 GiB, "), "{said}");
        servers[63].figures = Err("10.0.0.1".to_owned());
        let warnings = (1..64)
            .map(|number| RedisWarning { address: format!("10.0.0.1:{number}"), kind: RedisWarningKind::Memory });
        let (ok, said) = status(servers, warnings.collect());
        assert!(
            !ok && said.starts_with("memory is nearly used up, 1 of 64 servers do not answer, the fullest: "),
            "{said}"
        );
        assert!(!said.contains("10.0.0.1") && said.len() < 200, "{said}");
        let servers = vec![server(1, Err(String::new())), server(2, Err(String::new()))];
        assert_eq!(status(servers, vec![]), (false, "none of 2 servers answers; see the log".to_owned()));
    }
}

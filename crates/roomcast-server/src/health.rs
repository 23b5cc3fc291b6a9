//! [`Health`]: whether the server should get clients, with a reason for each check.

use crate::check::Check;
use crate::io::SocketIo;
use crate::task;
use roomcast_adapter::cluster::ClusterState;
use tokio::time::Instant;

/// The health of a server at one moment. [`SocketIo::health`] makes it.
///
/// As JSON, for example: `{"ready":false,"checks":{"server":{"ok":true,"required":true,"reason":"accepts clients"},"cluster":{…}}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Whether the server accepts clients: it is neither draining nor closed.
    pub server: Check,
    /// Whether messages reach the other servers and theirs arrive here. `None` for a server that belongs to no cluster
    /// ([`Builder::cluster`](crate::Builder::cluster)).
    pub cluster: Option<Check>,
    /// The application's own checks with their names, in the order in which it added them ([`Builder::health_check`](crate::Builder::health_check)).
    pub others: Vec<(&'static str, Check)>,
}

impl Health {
    /// Whether a load balancer should send clients to this server: all required checks pass.
    pub fn is_ready(&self) -> bool {
        self.checks().all(|(_, check)| check.ok || !check.required)
    }

    /// The checks with their names.
    pub fn checks(&self) -> impl Iterator<Item = (&'static str, &Check)> {
        let own = [Some(("server", &self.server)), self.cluster.as_ref().map(|check| ("cluster", check))];
        own.into_iter().flatten().chain(self.others.iter().map(|(name, check)| (*name, check)))
    }

    /// The JSON that the example above shows.
    pub fn to_json(&self) -> String {
        let checks: serde_json::Map<String, serde_json::Value> =
            self.checks().map(|(name, check)| (name.to_owned(), serde_json::json!(check))).collect();
        serde_json::json!({ "ready": self.is_ready(), "checks": checks }).to_string()
    }
}

impl SocketIo {
    /// The server's health now. It is known already: nothing is sent and nothing is waited for.
    ///
    /// The check of the cluster passes while the message system takes what this server sends, and what is sent arrives here: this server's
    /// own messages and those of the others. Over Redis a server that is cut off notices it within 5 s. It goes on to serve its own
    /// clients, so a deployment may prefer it to none: see [`Builder::require_cluster`](crate::Builder::require_cluster).
    pub fn health(&self) -> Health {
        let (ok, reason) = match (self.is_closed(), self.is_draining()) {
            (true, _) => (false, "closed: accepts no clients"),
            (false, true) => (false, "draining: its clients are moved to other servers"),
            (false, false) => (true, "accepts clients"),
        };
        let server = Check { ok, required: true, reason: reason.to_owned() };
        let cluster = self.cluster_state().map(|state| Check {
            ok: state.hears && state.publishes,
            required: self.requires_cluster(),
            reason: reason_of(&state),
        });
        let others = self.health_checks().iter().map(|(name, check)| {
            // A fault of the check itself is the same on all servers, so it does not make this one unfit.
            let panicked = || Check::optional(false, "this check panicked; see the log");
            (*name, task::contain("health check", &**check).unwrap_or_else(panicked))
        });
        Health { server, cluster, others: others.collect() }
    }
}

fn reason_of(state: &ClusterState) -> String {
    let seconds = Instant::now().saturating_duration_since(state.since).as_secs();
    let what = match (state.hears, state.publishes) {
        (true, true) => return format!("connected for {seconds} s, with {} other roomcast servers", state.peers),
        (false, false) => "no message of other servers arrives, and none is sent to them",
        (false, true) => "no message of other servers arrives",
        (true, false) => "no message is sent to other servers",
    };
    format!("for {seconds} s {what}; {} messages wait. See the log for the cause", state.queued)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ok: bool, required: bool) -> Check {
        Check { ok, required, reason: "because".to_owned() }
    }

    #[test]
    fn a_server_is_ready_if_all_required_checks_pass() {
        let health = |server, cluster| Health { server: check(server, true), cluster, others: Vec::new() };
        assert!(health(true, None).is_ready());
        assert!(!health(false, None).is_ready());
        assert!(health(true, Some(check(true, true))).is_ready());
        assert!(!health(true, Some(check(false, true))).is_ready());
        assert!(health(true, Some(check(false, false))).is_ready());
        assert!(!health(false, Some(check(true, false))).is_ready());
        let with = |other| Health { others: vec![("other", other)], ..health(true, None) };
        assert!(with(check(false, false)).is_ready() && !with(check(false, true)).is_ready());
    }

    #[test]
    fn json_has_each_check() {
        let others = vec![("redis", check(true, false))];
        let health = Health { server: check(true, true), cluster: Some(check(false, false)), others };
        let expected = serde_json::json!({
            "ready": true,
            "checks": {
                "server": { "ok": true, "required": true, "reason": "because" },
                "cluster": { "ok": false, "required": false, "reason": "because" },
                "redis": { "ok": true, "required": false, "reason": "because" },
            },
        });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&health.to_json()).unwrap(), expected);
    }
}

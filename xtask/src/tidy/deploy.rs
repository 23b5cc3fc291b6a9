//! The rule for `deploy/`, for copies and for what is said twice: versions, ports, paths and times are those of the program, and copies are
//! the same as their originals. What is in these files is run nowhere in the test run, so nothing else would notice.

use super::finding::Finding;

/// Says how long a stop takes.
const OPERATIONS: &str = "docs/operations.md";

/// How [`OPERATIONS`] says it. A number of seconds follows.
const STOP_TAKES: &str = "a stop in production at most ";

/// How [`OPERATIONS`] says how long a draining server goes on as before. A number of seconds follows.
const GRACE_IS: &str = "For the grace (";

/// What a line must say after its key.
enum Says {
    /// The version of the workspace.
    Version,
    /// Whole seconds, longer than a stop takes.
    LongerThanStop,
    /// These values, in this order.
    Values(&'static [&'static str]),
}

const PROBES: Says = Says::Values(&["/healthz", "/healthz", "/readyz"]);

const FACTS: &[(&str, &str, Says)] = &[
    ("deploy/helm/roomcast/Chart.yaml", "version: ", Says::Version),
    ("deploy/helm/roomcast/Chart.yaml", "appVersion: ", Says::Version),
    ("deploy/compose/compose.yaml", "image: ghcr.io/roomcast/roomcast:", Says::Version),
    ("deploy/kubernetes/kustomization.yaml", "newTag: ", Says::Version),
    ("deploy/compose/compose.yaml", "stop_grace_period: ", Says::LongerThanStop),
    ("deploy/systemd/roomcast.service", "TimeoutStopSec=", Says::LongerThanStop),
    ("deploy/kubernetes/deployment.yaml", "terminationGracePeriodSeconds: ", Says::LongerThanStop),
    ("deploy/helm/roomcast/values.yaml", "terminationGracePeriodSeconds: ", Says::LongerThanStop),
    ("deploy/docker/Dockerfile", "EXPOSE ", Says::Values(&["3000 9090"])),
    ("deploy/docker/Dockerfile", "STOPSIGNAL ", Says::Values(&["SIGTERM"])),
    ("deploy/systemd/roomcast.service", "KillSignal=", Says::Values(&["SIGTERM"])),
    ("deploy/kubernetes/deployment.yaml", "containerPort: ", Says::Values(&["3000", "9090"])),
    ("deploy/kubernetes/deployment.yaml", "path: ", PROBES),
    ("deploy/helm/roomcast/templates/deployment.yaml", "path: /", Says::Values(&["healthz", "healthz", "readyz"])),
    ("deploy/kubernetes/servicemonitor.yaml", "path: ", Says::Values(&["/metrics"])),
    ("deploy/helm/roomcast/templates/monitoring.yaml", "path: ", Says::Values(&["/metrics"])),
    ("docs/examples/traefik.yml", "path: ", Says::Values(&["/readyz # a server that drains is not ready"])),
];

/// Deployments whose readiness probe must notice a drain while the server still goes on.
const READINESS: &[&str] = &["deploy/kubernetes/deployment.yaml", "deploy/helm/roomcast/templates/deployment.yaml"];

/// The configuration of HAProxy, its copy for compose, and the addresses that differ there.
const HAPROXY: &str = "docs/examples/haproxy.cfg";
const HAPROXY_COPY: &str = "deploy/compose/haproxy.cfg";
const ADDRESSES: &[(&str, &str)] =
    &[("127.0.0.1:8081", ":8081"), ("127.0.0.1:3001", "roomcast-a:3000"), ("127.0.0.1:3002", "roomcast-b:3000")];

/// Files that have the same annotations for ingress-nginx. The first one explains them.
const INGRESSES: &[&str] =
    &["docs/examples/ingress-nginx.yaml", "deploy/kubernetes/ingress.yaml", "deploy/helm/roomcast/values.yaml"];

const ANNOTATION: &str = "nginx.ingress.kubernetes.io/";

/// `version` is that of the workspace, `crates` are the folders of published crates, and `read` gives the text of a file.
pub(super) fn check(version: &str, crates: &[String], read: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let text = |path: &str| read(path).unwrap_or_default();
    let operations = text(OPERATIONS);
    let (stop, grace) = (seconds_after(&operations, STOP_TAKES), seconds_after(&operations, GRACE_IS));
    let mut findings = Vec::new();
    for (found, phrase) in [(stop, STOP_TAKES), (grace, GRACE_IS)] {
        if found.is_none() {
            findings.push(Finding::new(
                OPERATIONS,
                0,
                format!("does not say \"{phrase}… s\", which deploy/ is compared with"),
            ));
        }
    }
    for (path, key, says) in FACTS {
        findings.extend(fact(path, &text(path), key, says, version, stop.unwrap_or_default()));
    }
    for path in READINESS {
        findings.extend(readiness(path, &text(path), grace.unwrap_or(f64::MAX)));
    }
    let expected = ADDRESSES.iter().fold(text(HAPROXY), |text, (from, to)| text.replace(from, to));
    if text(HAPROXY_COPY) != expected {
        findings.push(Finding::new(
            HAPROXY_COPY,
            0,
            format!("is no longer {HAPROXY} with other addresses; copy it again"),
        ));
    }
    findings.extend(ingresses(text));
    let licence = text("LICENSE");
    for folder in crates {
        let path = format!("{folder}/LICENSE");
        if text(&path) != licence {
            let message = "is not a copy of LICENSE; the package on crates.io would have another licence, or none";
            findings.push(Finding::new(&path, 0, message));
        }
    }
    findings
}

fn fact(path: &str, text: &str, key: &str, says: &Says, version: &str, stop: f64) -> Vec<Finding> {
    let found: Vec<(usize, &str)> = values(text, key).collect();
    if found.is_empty() {
        return vec![Finding::new(
            path,
            0,
            format!("has no line `{key}…`; adapt the rule in xtask/src/tidy/deploy.rs if it moved"),
        )];
    }
    let at = |line: usize, message: String| Finding::new(path, line, message);
    match says {
        Says::Version => found
            .iter()
            .filter(|(_, value)| *value != version)
            .map(|(line, value)| at(*line, format!("says version {value}, but the workspace has {version}")))
            .collect(),
        Says::LongerThanStop => found
            .iter()
            .filter(|(_, value)| !value.trim_end_matches('s').parse().is_ok_and(|seconds: f64| seconds > stop))
            .map(|(line, value)| {
                at(*line, format!("gives {value} to stop, but a stop takes up to {stop} s ({OPERATIONS})"))
            })
            .collect(),
        Says::Values(expected) => {
            let values: Vec<&str> = found.iter().map(|(_, value)| *value).collect();
            let message = || format!("has {values:?} after `{key}`, but should have {expected:?}");
            (values != *expected)
                .then(|| at(found.first().map_or(0, |(line, _)| *line), message()))
                .into_iter()
                .collect()
        }
    }
}

/// The readiness probe must fail before the grace is over.
fn readiness(path: &str, text: &str, grace: f64) -> Option<Finding> {
    let number = |key| -> Option<f64> {
        let (_, probe) = text.split_once("readinessProbe:")?;
        values(probe, key).next()?.1.parse().ok()
    };
    let noticed =
        number("periodSeconds: ").zip(number("failureThreshold: ")).map(|(period, failures)| period * failures);
    let message = format!("has a readiness probe that may notice a drain only after its grace of {grace} s");
    (!noticed.is_some_and(|noticed| noticed < grace)).then(|| Finding::new(path, 0, message))
}

fn ingresses(text: impl Fn(&str) -> String) -> Vec<Finding> {
    // The value may be followed by a comment.
    let annotations = |path: &str| -> Vec<String> {
        values(&text(path), ANNOTATION)
            .map(|(_, value)| value.split(" #").next().unwrap_or_default().to_owned())
            .collect()
    };
    let [first, others @ ..] = INGRESSES else { return Vec::new() };
    let expected = annotations(first);
    let differs = others.iter().filter(|path| expected.is_empty() || annotations(path) != expected);
    differs.map(|path| Finding::new(path, 0, format!("has other annotations for ingress-nginx than {first}"))).collect()
}

/// The rest of each line that begins with `key`, and the line's number.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    text.lines()
        .enumerate()
        .filter_map(move |(index, line)| Some((index + 1, line.trim_start().strip_prefix(key)?.trim())))
}

/// The number of seconds after `phrase`, wherever the lines of the paragraph break.
fn seconds_after(text: &str, phrase: &str) -> Option<f64> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split_once(phrase)?.1.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Manifest;
    use super::{ANNOTATION, check};
    use std::path::Path;

    fn version() -> String {
        Manifest::parse("Cargo.toml", &real("Cargo.toml").unwrap()).workspace_version().unwrap().to_owned()
    }

    fn real(path: &str) -> Option<String> {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).ok()
    }

    /// The findings if `from` were `to` in one of the repository's files.
    #[track_caller]
    fn with(path: &str, from: &str, to: &str) -> Vec<String> {
        let read = |file: &str| {
            let text = real(file)?;
            assert!(file != path || text.contains(from), "{path} does not contain {from:?}");
            Some(if file == path { text.replacen(from, to, 1) } else { text })
        };
        check(&version(), &["crates/roomcast".to_owned()], read).iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn one(path: &str, from: &str, to: &str, expected: &str) {
        let found = with(path, from, to);
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?} should be one with {expected:?}");
    }

    #[test]
    fn the_files_of_this_repository_agree() {
        assert_eq!(with("LICENSE", "MIT", "MIT"), [""; 0]);
    }

    #[test]
    fn each_disagreement_is_found() {
        let deployment = "deploy/kubernetes/deployment.yaml";
        let app = format!("appVersion: {}", version());
        one("deploy/helm/roomcast/Chart.yaml", &app, "appVersion: 0.0.9", "says version 0.0.9");
        one(deployment, "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 23", "up to 23.5 s");
        assert_eq!(with(deployment, "terminationGracePeriodSeconds: 30", "terminationGracePeriodSeconds: 24"), [""; 0]);
        one("deploy/compose/compose.yaml", "stop_grace_period: 30s", "stop_grace_period: none", "gives none to stop");
        one(deployment, "containerPort: 9090", "containerPort: 9091", "should have [\"3000\", \"9090\"]");
        one(deployment, "path: /readyz", "path: /ready", "should have [\"/healthz\"");
        one("deploy/docker/Dockerfile", "STOPSIGNAL SIGTERM", "", "has no line `STOPSIGNAL");
        one("deploy/compose/haproxy.cfg", "fall 2", "fall 3", "is no longer docs/examples/haproxy.cfg");
        one("deploy/kubernetes/ingress.yaml", ANNOTATION, "example.com/", "has other annotations");
        one("crates/roomcast/LICENSE", "MIT", "ISC", "is not a copy of LICENSE");
        assert_eq!(with("LICENSE", "MIT", "ISC").len(), 1, "the copies differ from it");
    }

    #[test]
    fn a_probe_must_fail_within_the_grace_and_the_document_must_say_the_times() {
        let deployment = "deploy/kubernetes/deployment.yaml";
        let probe = "periodSeconds: 2\n            timeoutSeconds: 2\n            failureThreshold: 2";
        let fails = |failures| probe.replace("failureThreshold: 2", &format!("failureThreshold: {failures}"));
        one(deployment, probe, &fails(3), "only after its grace of 5 s");
        assert_eq!(with("docs/operations.md", "For the grace (5 s", "For the grace (4 s").len(), 2, "both deployments");
        let missing = with("docs/operations.md", "at most 23.5 s", "at most a minute");
        assert!(missing[0].contains("does not say"), "{missing:?}");
    }
}

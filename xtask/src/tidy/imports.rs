//! Which package may import which, and where versions are written. The table matches `docs/architecture.md`. A new edge needs a decision
//! record (`docs/decisions/`) before it is added here.

use super::finding::Finding;
use super::manifest::{Dependency, Kind, Manifest};

/// The packages of the workspace, each with the packages that it may have as normal dependencies. Tests may use more.
const IMPORTS: &[(&str, &[&str])] = &[
    ("roomcast-protocol", &[]),
    ("roomcast-adapter", &["roomcast-protocol"]),
    ("roomcast-redis", &["roomcast-adapter", "roomcast-protocol"]),
    ("roomcast-engine", &["roomcast-protocol"]),
    ("roomcast-server", &["roomcast-protocol", "roomcast-engine", "roomcast-adapter"]),
    ("roomcast-testkit", &["roomcast-protocol", "roomcast-adapter", "roomcast-server"]),
    // Its library has the whole of them under one name.
    ("roomcast", &["roomcast-server", "roomcast-adapter", "roomcast-protocol", "roomcast-redis"]),
    (
        "roomcast-benches",
        &["roomcast-protocol", "roomcast-adapter", "roomcast-redis", "roomcast-engine", "roomcast-server", "roomcast"],
    ),
    (
        "roomcast-fuzz",
        &["roomcast-protocol", "roomcast-adapter", "roomcast-redis", "roomcast-engine", "roomcast-server"],
    ),
    ("roomcast-examples", &["roomcast"]),
    ("roomcast-sim", &["roomcast-adapter", "roomcast-protocol"]),
    ("xtask", &[]),
];

/// The package that turns bytes into packets. It does not depend on a runtime, so that it can be tested and used without one.
const WITHOUT_TOKIO: &str = "roomcast-protocol";

pub(super) fn check(root: &Manifest, members: &[Manifest]) -> Vec<Finding> {
    let names: Vec<&str> = members.iter().filter_map(Manifest::package_name).collect();
    members.iter().flat_map(|member| check_member(root, &names, member)).collect()
}

fn check_member(root: &Manifest, names: &[&str], member: &Manifest) -> Vec<Finding> {
    let name = member.package_name().unwrap_or_default();
    let path = member.path();
    let mut findings = Vec::new();
    let folder = path.trim_end_matches("/Cargo.toml");
    if folder.strip_prefix("crates/").is_some_and(|folder| folder != name) {
        findings.push(Finding::new(
            path,
            0,
            format!("is not in a folder named like its package; move it to crates/{name}/"),
        ));
    }
    let allowed = IMPORTS.iter().find(|(package, _)| *package == name).map(|(_, allowed)| *allowed);
    if allowed.is_none() {
        let message = format!("package `{name}` has no row in the import table; add one to xtask/src/tidy/imports.rs");
        findings.push(Finding::new(path, 0, message));
    }
    for Dependency { key, kind, inherits, line } in member.dependencies() {
        // For its tests a crate enables its own features through a path to itself. With a version it could not be published.
        let itself = kind == Kind::Dev && key == name;
        if !inherits && !itself {
            let message = format!(
                "has its own version of `{key}`; write `{key}.workspace = true` here and the version in the root Cargo.toml"
            );
            findings.push(Finding::new(path, line, message));
        }
        if kind == Kind::Dev {
            continue;
        }
        let package = root.shared_package(&key).unwrap_or(&key);
        if names.contains(&package) && !allowed.is_some_and(|allowed| allowed.contains(&package)) {
            let message = format!(
                "`{name}` must not import `{package}`; move the code, or write a decision record and add the edge to \
                 xtask/src/tidy/imports.rs"
            );
            findings.push(Finding::new(path, line, message));
        }
        if name == WITHOUT_TOKIO && (package == "tokio" || package.starts_with("tokio-")) {
            let message =
                format!("`{name}` must not depend on a runtime; remove `{package}`, or make it a dev-dependency");
            findings.push(Finding::new(path, line, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{IMPORTS, Manifest, check};

    const ROOT: &str = "[workspace.dependencies]\nroomcast-server = { path = \"x\" }\nbytes = \"1\"\ntokio = \"1\"\n\
                        sneaky = { package = \"tokio-util\", version = \"1\" }\n\
                        hidden = { package = \"roomcast-redis\", path = \"y\" }\n";

    /// The findings for one member in a workspace that has all packages of the table.
    #[track_caller]
    fn findings(name: &str, dependencies: &str) -> Vec<String> {
        let manifest = |name: &str, rest: &str| {
            let folder = if name.starts_with("roomcast")
                && !["roomcast-benches", "roomcast-examples", "roomcast-fuzz", "roomcast-sim"].contains(&name)
            {
                "crates/"
            } else {
                ""
            };
            Manifest::parse(&format!("{folder}{name}/Cargo.toml"), &format!("[package]\nname = \"{name}\"\n{rest}"))
        };
        let others = IMPORTS.iter().map(|(other, _)| *other).filter(|other| *other != name);
        let mut members: Vec<Manifest> = others.map(|other| manifest(other, "")).collect();
        members.push(manifest(name, dependencies));
        check(&Manifest::parse("Cargo.toml", ROOT), &members).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn edges_of_the_table_pass() {
        for (name, allowed) in IMPORTS {
            let lines: String = allowed.iter().map(|package| format!("{package}.workspace = true\n")).collect();
            assert_eq!(findings(name, &format!("[dependencies]\n{lines}")), [""; 0]);
        }
    }

    #[test]
    fn every_other_edge_fails() {
        for (name, allowed) in IMPORTS {
            for (other, _) in IMPORTS.iter().filter(|(other, _)| other != name && !allowed.contains(other)) {
                let found = findings(name, &format!("[dependencies]\n{other}.workspace = true"));
                assert_eq!(found.len(), 1, "{name} -> {other}: {found:?}");
                assert!(found[0].contains(&format!("`{name}` must not import `{other}`")), "{found:?}");
            }
        }
    }

    #[test]
    fn build_dependencies_and_renamed_ones_count_and_dev_dependencies_do_not() {
        assert_eq!(findings("roomcast-engine", "[build-dependencies]\nroomcast-server.workspace = true").len(), 1);
        assert_eq!(findings("roomcast-engine", "[dev-dependencies]\nroomcast-server.workspace = true"), [""; 0]);
        assert_eq!(findings("roomcast-engine", "[dependencies]\nhidden.workspace = true").len(), 1);
    }

    #[test]
    fn the_protocol_has_no_tokio() {
        assert_eq!(findings("roomcast-protocol", "[dependencies]\ntokio.workspace = true").len(), 1);
        assert_eq!(findings("roomcast-protocol", "[dependencies]\nsneaky.workspace = true").len(), 1);
        assert_eq!(findings("roomcast-protocol", "[dev-dependencies]\ntokio.workspace = true"), [""; 0]);
        assert_eq!(findings("roomcast-engine", "[dependencies]\ntokio.workspace = true"), [""; 0]);
    }

    #[test]
    fn a_version_in_a_member_fails_for_every_kind() {
        for table in ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"] {
            let found = findings("roomcast-engine", &format!("[{table}]\nbytes = \"1\""));
            assert_eq!(
                found,
                [
                    "crates/roomcast-engine/Cargo.toml:4: has its own version of `bytes`; write `bytes.workspace = true` \
                     here and the version in the root Cargo.toml"
                ]
            );
        }
    }

    #[test]
    fn only_a_dev_dependency_on_the_crate_itself_may_have_a_path() {
        let itself = "roomcast-engine = { path = \".\", features = [\"testkit\"] }";
        assert_eq!(findings("roomcast-engine", &format!("[dev-dependencies]\n{itself}")), [""; 0]);
        assert_eq!(findings("roomcast-engine", &format!("[dependencies]\n{itself}")).len(), 2);
        assert_eq!(findings("roomcast-server", &format!("[dev-dependencies]\n{itself}")).len(), 1);
    }

    #[test]
    fn a_package_that_is_not_in_the_table_and_one_in_a_wrong_folder_fail() {
        assert!(findings("roomcast-nats", "").iter().any(|finding| finding.contains("no row in the import table")));
        let misplaced = Manifest::parse("crates/engine/Cargo.toml", "[package]\nname = \"roomcast-engine\"");
        let found = check(&Manifest::parse("Cargo.toml", ROOT), &[misplaced]);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}

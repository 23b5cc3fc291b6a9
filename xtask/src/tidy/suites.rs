//! The rule for integration tests: those of a crate are one program, `tests/suite`, because every further program is linked separately with
//! all its dependencies, and runs only after the others have ended. Each file of the suite is named by a `mod`: otherwise it is not
//! compiled, and its tests never run.

use std::collections::BTreeMap;

use super::finding::Finding;

/// Tests that are programs of their own, because each observes something that a process has only once: its descriptors, or the subscriber
/// of its log.
const ALONE: &[&str] = &[
    "crates/roomcast-adapter/tests/logged_losses.rs",
    "crates/roomcast-adapter/tests/told_after_the_lock.rs",
    "crates/roomcast-engine/tests/descriptors.rs",
    "crates/roomcast-engine/tests/refusal_log.rs",
    // It runs the compiler.
    "crates/roomcast-server/tests/mistakes.rs",
    "crates/roomcast-server/tests/told.rs",
    "crates/roomcast/tests/crowd.rs",
];

const SUITE: &str = "suite/";

/// `sources` are the paths and texts of all Rust files.
pub(super) fn check<'a>(sources: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Finding> {
    let sources: BTreeMap<&str, &str> = sources.collect();
    let mut findings = Vec::new();
    for path in sources.keys() {
        let Some((tests, name)) = in_tests(path) else { continue };
        if let Some(name) = name.strip_prefix(SUITE) {
            let parent = parent(name).map(|parent| format!("{tests}{SUITE}{parent}"));
            if let Some((parent, module)) = parent.zip(module(name)) {
                let text = sources.get(parent.as_str()).copied().unwrap_or_default();
                if !names(text, module) {
                    let message = format!("is not compiled, so its tests never run; add `mod {module};` to {parent}");
                    findings.push(Finding::new(path, 0, message));
                }
            }
        } else if !name.contains('/') && !ALONE.contains(path) {
            let message = "is a program of its own; move it to tests/suite/, or, if it observes something that a process has \
                           only once, add it to the list in xtask/src/tidy/suites.rs";
            findings.push(Finding::new(path, 0, message));
        }
    }
    findings
}

/// Splits a path into `crates/NAME/tests/` and the rest.
fn in_tests(path: &str) -> Option<(&str, &str)> {
    let (_, inside) = path.strip_prefix("crates/")?.split_once('/')?;
    let name = inside.strip_prefix("tests/")?;
    Some((path.strip_suffix(name)?, name))
}

/// The file that has to declare a file of the suite as a module. `None` for `main.rs`.
fn parent(name: &str) -> Option<String> {
    match name.rsplit_once('/') {
        Some((folder, _)) => Some(format!("{folder}.rs")),
        None => (name != "main.rs").then(|| "main.rs".to_owned()),
    }
}

fn module(name: &str) -> Option<&str> {
    name.rsplit('/').next()?.strip_suffix(".rs")
}

fn names(text: &str, module: &str) -> bool {
    let declaration = format!("mod {module};");
    text.lines().any(|line| line == declaration)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[track_caller]
    fn findings(sources: &[(&str, &str)]) -> Vec<String> {
        check(sources.iter().copied()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn files_that_are_declared_have_no_finding() {
        let sources = [
            ("crates/a/tests/suite/main.rs", "//! All.\n\n#[path = \"../common/mod.rs\"]\nmod common;\nmod rooms;\n"),
            ("crates/a/tests/suite/rooms.rs", "mod empty;\n"),
            ("crates/a/tests/suite/rooms/empty.rs", ""),
            ("crates/a/tests/common/mod.rs", ""),
            ("crates/a/src/tests/case.rs", ""),
            ("crates/a/src/lib.rs", ""),
            ("sim/tests/sim.rs", ""),
            ("crates/roomcast/tests/crowd.rs", ""),
        ];
        assert_eq!(findings(&sources), [""; 0]);
    }

    #[test]
    fn a_file_that_is_not_declared_is_found() {
        let sources = [
            ("crates/a/tests/suite/main.rs", "// mod rooms;\nmod rooms_model;\n"),
            ("crates/a/tests/suite/rooms.rs", ""),
            ("crates/a/tests/suite/rooms/empty.rs", ""),
            ("crates/a/tests/suite/rooms_model.rs", ""),
        ];
        let found = findings(&sources);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("crates/a/tests/suite/rooms.rs: is not compiled"), "{found:?}");
        assert!(found[0].ends_with("add `mod rooms;` to crates/a/tests/suite/main.rs"), "{found:?}");
        assert!(found[1].ends_with("add `mod empty;` to crates/a/tests/suite/rooms.rs"), "{found:?}");
    }

    #[test]
    fn a_further_program_is_found() {
        let found = findings(&[("crates/a/tests/rooms.rs", "")]);
        assert!(
            found.len() == 1 && found[0].starts_with("crates/a/tests/rooms.rs: is a program of its own"),
            "{found:?}"
        );
    }
}

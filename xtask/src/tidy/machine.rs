//! Rules on what scripts and tests may use: nothing that a minimal Debian 12 with gcc, git and Rust lacks after `cargo xtask setup`.

use super::finding::Finding;

/// Programs of Debian's packages procps and psmisc, which minimal machines and containers lack. A test that uses one to send a signal would
/// wait forever there.
const NOT_EVERYWHERE: &[&str] = &["kill", "killall", "pgrep", "pkill", "ps"];

/// The major version of the oldest Node.js that e2e/ is tried on: that of Debian 12.
const OLDEST_NODE: u32 = 18;

/// What came with newer versions of Node.js, the version, and what to write instead. Not complete: only what scripts are likely to use.
const NEWER: &[(&str, u32, &str)] = &[
    (".toSorted(", 20, "[...list].sort()"),
    (".toReversed(", 20, "[...list].reverse()"),
    (".toSpliced(", 20, "a copy and splice()"),
    (".with(", 20, "a copy and an assignment"),
    ("AbortSignal.any(", 20, "an AbortController that both sources abort"),
    ("import.meta.dirname", 20, "dirname(fileURLToPath(import.meta.url))"),
    ("import.meta.filename", 20, "fileURLToPath(import.meta.url)"),
    ("Array.fromAsync(", 22, "a `for await` loop"),
    ("Object.groupBy(", 21, "a loop that fills a Map"),
    ("Map.groupBy(", 21, "a loop that fills a Map"),
    ("Promise.withResolvers(", 22, "new Promise((resolve, reject) => …)"),
    ("Promise.try(", 23, "an async function that is called immediately"),
    (".keys().", 22, "[...map.keys()] before the array's method"),
    (".values().", 22, "[...map.values()] before the array's method"),
    (".entries().", 22, "[...map.entries()] before the array's method"),
    (".difference(", 22, "filter() with has()"),
    (".intersection(", 22, "filter() with has()"),
    (".union(", 22, "new Set([...a, ...b])"),
    (".isSubsetOf(", 22, "every() with has()"),
];

/// Both rules on one file, given its path from the root.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let (rust, script) = (path.ends_with(".rs"), path.ends_with(".mjs"));
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut add = |message: String| findings.push(Finding::new(path, index + 1, message));
        if rust || script {
            for program in NOT_EVERYWHERE.iter().filter(|program| line.contains(&format!("(\"{program}\""))) {
                add(format!(
                    "runs the program `{program}`, which a minimal machine lacks; send signals with a system call (rustix), \
                     with Node's kill(), or with the kill that is built into `sh`"
                ));
            }
        }
        if script {
            for (call, since, instead) in NEWER.iter().filter(|(call, ..)| line.contains(call)) {
                let name = call.trim_matches(['.', '(']);
                add(format!(
                    "uses `{name}`, which Node.js {OLDEST_NODE} lacks (it came with {since}); write {instead} instead"
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{NEWER, NOT_EVERYWHERE, OLDEST_NODE, check};

    #[track_caller]
    fn one(path: &str, text: &str, expected: &str) {
        let found: Vec<String> = check(path, text).iter().map(ToString::to_string).collect();
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?} should be one with {expected:?}");
    }

    #[test]
    fn a_program_that_minimal_machines_lack_is_found() {
        for program in NOT_EVERYWHERE {
            one(
                "a/tests/b.rs",
                &format!("\nCommand::new(\"{program}\").arg(\"-9\")"),
                &format!("b.rs:2: runs the program `{program}`"),
            );
            one("e2e/b.mjs", &format!("spawnSync(\"{program}\", [pid])"), "minimal machine");
        }
        let fine = "child.kill(\"SIGKILL\"); kill(pid); Command::new(\"sh\").args([\"-c\", \"kill $0\"]) // \"kill\"";
        assert_eq!(check("a/tests/b.rs", fine), []);
        assert_eq!(check("docs/b.md", "`Command::new(\"kill\")` is not found"), []);
    }

    #[test]
    fn calls_that_the_oldest_node_lacks_are_found_in_scripts_only() {
        for (call, since, _) in NEWER {
            assert!(*since > OLDEST_NODE, "{call}");
            one("e2e/suite/b.mjs", &format!("const a = b{call}c);"), &format!("it came with {since}"));
            assert_eq!(check("crates/a/src/b.rs", &format!("a{call}b)")), []);
        }
        assert_eq!(check("e2e/b.mjs", "[...list].sort(); Object.values(a).map(b); with(a); map.keys()"), []);
    }
}

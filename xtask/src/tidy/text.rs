//! Rules on the text of a single file.

use super::finding::Finding;

/// The most lines that a file may have. A longer one has more than one subject.
const MOST_LINES: usize = 700;

/// Most files here have 100 to 400 lines. A longer one gets a warning.
const USUAL_LINES: usize = 400;

/// The formats that people write, in which tabs and trailing white space are forbidden. JSON and test vectors are data that programs write.
const WRITTEN_BY_HAND: &[&str] = &["rs", "md", "toml", "mjs", "js", "cjs", "html", "css", "sh", "yml", "yaml"];

/// Macros of unfinished code. In pieces, because this file is checked too.
const UNFINISHED: &[&str] = &[concat!("todo", "!("), concat!("dbg", "!(")];

/// Folders that exist only on one person's machine.
const MACHINE_FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ho", "me/")];

/// The attribute of a test that is not run. In pieces for the same reason.
const IGNORED_TEST: &str = concat!("#[", "ignore");

/// Applies all rules of this file. `path` starts at the repository's root.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    let rust = extension == "rs";
    let mut findings = Vec::new();
    if rust && is_crate_source(path) {
        findings.extend(module_docs(path, text));
        findings.extend(length(path, text));
    }
    // Not `lines`, which removes carriage returns.
    for (index, line) in text.split('\n').enumerate() {
        let mut add = |message: String| findings.push(Finding::new(path, index + 1, message));
        if WRITTEN_BY_HAND.contains(&extension) || path == ".ci/run" {
            if line.contains('\t') {
                add("has a tab; use spaces, or \\t in a string".into());
            }
            if line.ends_with([' ', '\t', '\r']) {
                add("ends with white space; remove it".into());
            }
        }
        if rust {
            for unfinished in UNFINISHED.iter().filter(|unfinished| line.contains(*unfinished)) {
                add(format!(
                    "has `{}`; finish it, or open an issue and return an error",
                    unfinished.trim_end_matches('(')
                ));
            }
            if line.contains(IGNORED_TEST) {
                add("has an ignored test; make it pass in cargo xtask test, or remove it".into());
            }
        }
        for folder in MACHINE_FOLDERS.iter().filter(|folder| names_folder(line, folder)) {
            add(format!("names {folder}, a folder of one machine; write a path relative to the repository's root"));
        }
    }
    findings
}

/// Whether a path is of the form `crates/NAME/src/...`.
fn is_crate_source(path: &str) -> bool {
    let mut parts = path.split('/');
    parts.next() == Some("crates") && parts.nth(1) == Some("src")
}

fn module_docs(path: &str, text: &str) -> Option<Finding> {
    let first = text.lines().next().unwrap_or_default();
    // A crate's documentation may be its README.
    let documented = first.starts_with("//!") || first.starts_with("#![doc");
    let message = "does not begin with a `//!` comment; say in the first line what the file is for";
    (!documented).then(|| Finding::new(path, 1, message))
}

fn length(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    if lines > MOST_LINES {
        let message =
            format!("has {lines} lines, more than {MOST_LINES}; move one of its subjects to a file of its own");
        return Some(Finding::new(path, 0, message));
    }
    let message = format!(
        "has {lines} lines, more than the usual {USUAL_LINES}; if it has a second subject, move that to a file of its own"
    );
    (lines > USUAL_LINES).then(|| Finding { warning: true, ..Finding::new(path, 0, message) })
}

/// Whether `line` contains `folder` as the start of an absolute path, not inside a longer path or a URL.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(position, _)| {
        let before = line.get(..position).and_then(|before| before.chars().next_back());
        // After a name, `..`, `*`, `$HOME`, `{prefix}` or `host:port` it continues a longer path.
        !before.is_some_and(|before| before.is_alphanumeric() || "._-*~}])".contains(before))
    })
}

#[cfg(test)]
mod tests {
    use super::check;

    const DOCUMENTED: &str = "//! What it is.\n";

    #[track_caller]
    fn findings(path: &str, text: &str) -> Vec<String> {
        check(path, text).iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn one(path: &str, text: &str, expected: &str) {
        let found = findings(path, text);
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?} should be one with {expected:?}");
    }

    #[test]
    fn a_good_file_has_no_finding() {
        assert_eq!(findings("crates/a/src/lib.rs", "//! What it is.\n\nfn main() {}\n"), [""; 0]);
        assert_eq!(findings("crates/a/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n"), [""; 0]);
    }

    #[test]
    fn a_source_file_without_a_first_line_about_its_purpose_is_found() {
        one("crates/a/src/lib.rs", "use std::io;\n", "does not begin");
        one("crates/a/src/deep/b.rs", "// What it is.\n", "does not begin");
        one("crates/a/src/b.rs", "", "does not begin");
        one("crates/a/src/b.rs", "\n//! Late.\n", "does not begin");
        assert_eq!(findings("crates/a/tests/b.rs", "fn main() {}\n"), [""; 0]);
        assert_eq!(findings("xtask/src/b.rs", "fn main() {}\n"), [""; 0]);
    }

    #[test]
    fn a_long_file_gets_a_warning_and_a_very_long_one_fails() {
        let file = |lines: usize| DOCUMENTED.to_owned() + &"\n".repeat(lines - 1);
        assert_eq!(findings("crates/a/src/b.rs", &file(400)), [""; 0]);
        one("crates/a/src/b.rs", &file(401), "warning: has 401 lines");
        one("crates/a/src/b.rs", &file(700), "warning: has 700 lines");
        let found = check("crates/a/src/b.rs", &file(701));
        assert!(matches!(found.as_slice(), [finding] if !finding.warning), "{found:?}");
        assert_eq!(findings("crates/a/tests/b.rs", &file(701)), [""; 0]);
    }

    #[test]
    fn tabs_and_trailing_white_space_are_found_in_formats_that_people_write() {
        one("docs/a.md", "a\nb \n", "docs/a.md:2: ends with white space");
        one("a.mjs", "\ta\n", "has a tab");
        one(".ci/run", "a \n", "white space");
        one("a.rs", "a\r\nb\n", "white space");
        assert_eq!(findings("vectors/a.json", "\t{} \n"), [""; 0]);
    }

    #[test]
    fn unfinished_code_and_ignored_tests_are_found() {
        one("crates/a/tests/b.rs", concat!("    todo", "!(\"later\")\n"), "has `todo!`");
        one("xtask/src/b.rs", concat!("let a = dbg", "!(b);\n"), "has `dbg!`");
        one("xtask/src/b.rs", concat!("    #[", "ignore = \"slow\"]\n"), "ignored test");
        assert_eq!(findings("docs/a.md", concat!("todo", "!()\n")), [""; 0]);
    }

    #[test]
    fn a_folder_of_one_machine_is_found_unless_it_is_part_of_a_longer_path() {
        let (work, home) = (concat!("/wo", "rk/"), concat!("/ho", "me/"));
        one("docs/a.md", &format!("see {work}main\n"), "names /");
        one("e2e/a.json", &format!("\"{home}me/a\"\n"), "names /");
        one("a.toml", &format!("a = 'file://{home}me'\n"), "names /");
        for fine in [
            format!("https://example.org{home}x"),
            format!("..{work}a"),
            format!("${{ROOT}}{work}a"),
            format!("a{home}b"),
        ] {
            assert_eq!(findings("docs/a.md", &fine), [""; 0]);
        }
    }
}

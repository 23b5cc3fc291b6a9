//! The rule for decision records: each has a number of its own and a line in the index, and the index links to no missing record.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Finding;

const FOLDER: &str = "docs/decisions/";

pub(super) const INDEX: &str = "docs/decisions/README.md";

/// `files` are the paths of all files of the repository. `index` is the text of the index, empty if there is none.
pub(super) fn check<'a>(files: impl Iterator<Item = &'a str>, index: &str) -> Vec<Finding> {
    let records: BTreeSet<&str> =
        files.filter_map(|path| path.strip_prefix(FOLDER)).filter(|name| is_record(name)).collect();
    let mut findings = Vec::new();
    let mut numbers = BTreeMap::new();
    for record in &records {
        let path = format!("{FOLDER}{record}");
        if !index.contains(&format!("({record})")) {
            findings.push(Finding::new(
                &path,
                0,
                format!("has no line in {INDEX}; add a line that links to ({record})"),
            ));
        }
        if let Some(first) = numbers.insert(record.get(..4), record) {
            findings.push(Finding::new(
                &path,
                0,
                format!("has the same number as {first}; give it the next free number"),
            ));
        }
    }
    for (number, line) in index.lines().enumerate() {
        for target in line.split('(').skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if is_record(target) && !records.contains(target) {
                let message = format!("links to {target}, which does not exist; correct or remove the line");
                findings.push(Finding::new(INDEX, number + 1, message));
            }
        }
    }
    findings
}

/// Whether a file's name has the form `NNNN-words.md`.
fn is_record(name: &str) -> bool {
    let number = name.split('-').next().unwrap_or_default();
    number.len() == 4
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && name.ends_with(".md")
        && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::check;

    #[track_caller]
    fn findings(files: &[&str], index: &str) -> Vec<String> {
        check(files.iter().copied(), index).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_index_with_all_records_has_no_finding() {
        let files =
            ["docs/decisions/README.md", "docs/decisions/0001-one.md", "docs/decisions/template.md", "0002-no.md"];
        assert_eq!(findings(&files, "- [One](0001-one.md): why\n"), [""; 0]);
    }

    #[test]
    fn a_record_without_a_line_and_a_line_without_a_record_are_found() {
        let found = findings(&["docs/decisions/0001-one.md"], "# Decisions\n- [Two](0002-two.md)\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("docs/decisions/0001-one.md: has no line in"), "{found:?}");
        assert!(found[1].starts_with("docs/decisions/README.md:2: links to 0002-two.md"), "{found:?}");
    }

    #[test]
    fn a_number_that_is_used_twice_is_found() {
        let files = ["docs/decisions/0001-one.md", "docs/decisions/0001-two.md"];
        let found = findings(&files, "[](0001-one.md) [](0001-two.md)");
        assert_eq!(
            found,
            ["docs/decisions/0001-two.md: has the same number as 0001-one.md; give it the next free number"]
        );
    }
}

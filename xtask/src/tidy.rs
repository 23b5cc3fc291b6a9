//! `cargo xtask tidy`: checks the repository's own rules, which no other tool knows. Each finding says what to do.
//!
//! A rule is a function from text to findings, with tests in which it fails. This file lists the repository's files and applies the rules.
//! A remark that comes up in reviews a second time becomes a rule here.

mod decisions;
mod deploy;
mod finding;
mod imports;
mod layers;
mod limits;
mod machine;
mod manifest;
mod source;
mod suites;
mod text;

use std::collections::BTreeSet;

use finding::Finding;
use manifest::Manifest;

use crate::log::Log;
use crate::repo::Repo;
use crate::step::Outcome;

pub(crate) fn command(repo: &Repo) -> Result<(), String> {
    check(repo, &mut Log::Terminal).map(drop)
}

/// Also the step of `test`.
pub(crate) fn check(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let files = files(repo)?;
    let mut findings = Vec::new();
    let mut sources = Vec::new();
    for path in &files {
        // A file that git lists and that cannot be read is a deletion that is not committed yet.
        let Ok(bytes) = std::fs::read(repo.root.join(path)) else {
            continue;
        };
        // Files that are not UTF-8 are not text, such as icons and fuzz seeds.
        let Ok(contents) = String::from_utf8(bytes) else {
            continue;
        };
        findings.extend(text::check(path, &contents));
        findings.extend(machine::check(path, &contents));
        if path.ends_with(".rs") {
            sources.push((path.as_str(), contents));
        }
    }
    findings.extend(check_manifests(repo)?);
    findings.extend(check_decisions(repo, &files));
    findings.extend(check_deploy(repo, &files)?);
    let limits = std::fs::read_to_string(repo.root.join(limits::DOCUMENT)).unwrap_or_default();
    findings.extend(limits::check(&limits, sources.iter().map(|(path, text)| (*path, text.as_str()))));
    let map = std::fs::read_to_string(repo.root.join(layers::DOCUMENT)).unwrap_or_default();
    findings.extend(layers::check(&map, sources.iter().map(|(path, text)| (*path, text.as_str()))));
    findings.extend(suites::check(sources.iter().map(|(path, text)| (*path, text.as_str()))));
    if !git(repo, &["ls-files"])?.contains(&"Cargo.lock".to_owned()) {
        findings.push(Finding::new(
            "Cargo.lock",
            0,
            "is not tracked by git; commit it, because builds must be the same everywhere",
        ));
    }
    for finding in &findings {
        log.say(&finding.to_string());
    }
    let broken = findings.iter().filter(|finding| !finding.warning).count();
    let warnings = findings.len() - broken;
    let note = format!("{} files, {warnings} warnings", files.len());
    match broken {
        0 => Ok(Outcome::Passed(note)),
        1 => Err(format!("1 finding ({note})")),
        _ => Err(format!("{broken} findings ({note})")),
    }
}

/// The paths of the repository's files from its root: those that git tracks, and new ones that it does not ignore.
fn files(repo: &Repo) -> Result<BTreeSet<String>, String> {
    Ok(git(repo, &["ls-files", "--cached", "--others", "--exclude-standard"])?.into_iter().collect())
}

fn git(repo: &Repo, arguments: &[&str]) -> Result<Vec<String>, String> {
    // Without -z, git quotes paths with unusual characters.
    let output = repo
        .command("git", arguments)
        .arg("-z")
        .output()
        .map_err(|error| format!("cannot run git, which lists the files to check: {error}"))?;
    if !output.status.success() {
        return Err(format!("git {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

fn check_manifests(repo: &Repo) -> Result<Vec<Finding>, String> {
    let read = |path: &str| -> Result<Manifest, String> {
        let text =
            std::fs::read_to_string(repo.root.join(path)).map_err(|error| format!("cannot read {path}: {error}"))?;
        Ok(Manifest::parse(path, &text))
    };
    let root = read("Cargo.toml")?;
    let mut members = Vec::new();
    for pattern in root.members() {
        // `folder/*` is the only kind of pattern that this workspace uses.
        let Some(folder) = pattern.strip_suffix("/*") else {
            members.push(read(&format!("{pattern}/Cargo.toml"))?);
            continue;
        };
        let entries =
            std::fs::read_dir(repo.root.join(folder)).map_err(|error| format!("cannot list {folder}: {error}"))?;
        for entry in entries.flatten().filter(|entry| entry.path().join("Cargo.toml").is_file()) {
            members.push(read(&format!("{folder}/{}/Cargo.toml", entry.file_name().to_string_lossy()))?);
        }
    }
    members.sort_by(|one, other| one.path().cmp(other.path()));
    Ok(imports::check(&root, &members))
}

fn check_deploy(repo: &Repo, files: &BTreeSet<String>) -> Result<Vec<Finding>, String> {
    let read = |path: &str| std::fs::read_to_string(repo.root.join(path)).ok();
    let root = Manifest::parse("Cargo.toml", &read("Cargo.toml").ok_or("cannot read Cargo.toml")?);
    let version = root.workspace_version().ok_or("Cargo.toml has no workspace.package.version")?;
    let published = files.iter().filter(|path| path.starts_with("crates/"));
    let crates: Vec<String> =
        published.filter_map(|path| path.strip_suffix("/Cargo.toml")).map(str::to_owned).collect();
    Ok(deploy::check(version, &crates, read))
}

fn check_decisions(repo: &Repo, files: &BTreeSet<String>) -> Vec<Finding> {
    let index = std::fs::read_to_string(repo.root.join(decisions::INDEX)).unwrap_or_default();
    decisions::check(files.iter().map(String::as_str), &index)
}

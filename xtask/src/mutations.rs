//! Checks that the simulator finds faults in the cluster logic: each mutation of `sim/mutations.txt` is applied in a separate checkout,
//! one at a time, and the simulator has to fail.

use std::path::Path;
use std::time::Duration;

use crate::log::Log;
use crate::repo::{BUILD_LIMIT, Repo};
use crate::step::Outcome;

/// How many seeds are tried for each mutation.
const SEEDS: &str = "20000";

/// 20,000 seeds take some five minutes on an idle core.
const RUN_LIMIT: Duration = Duration::from_secs(60 * 60);

/// A change of a file: replaces the text `old` by `new`.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    file: String,
    old: String,
    new: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Mutation {
    name: String,
    what: String,
    changes: Vec<Change>,
}

/// The step of `long`. It tests the last commit, not the working tree.
pub(crate) fn long(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let text = std::fs::read_to_string(repo.root.join("sim/mutations.txt")).map_err(|error| error.to_string())?;
    let mutations = read(&text)?;
    let checkout = repo.target.join("mutations");
    let _ = std::fs::remove_dir_all(&checkout);
    let at = checkout.display().to_string();
    log.run(repo.command("git", &["worktree", "prune"]), BUILD_LIMIT)?;
    log.run(repo.command("git", &["worktree", "add", "--detach", "--force", &at]), BUILD_LIMIT)?;
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    for mutation in &mutations {
        log.say(&format!("--- {}: {}", mutation.name, mutation.what));
        let originals = apply(&checkout, &mutation.changes)?;
        let mut build = repo.cargo(&["build", "--profile", "fuzz", "--quiet", "--package", "roomcast-sim"]);
        build.current_dir(&checkout).env("CARGO_TARGET_DIR", repo.target.join("mutated"));
        log.run(build, BUILD_LIMIT)?;
        let program = repo.target.join("mutated/fuzz/sim").display().to_string();
        let before = log.text().len();
        let run = log.run(repo.command(&program, &["--seeds", SEEDS]), RUN_LIMIT);
        match (failed_seed(log.text().get(before..).unwrap_or_default()), run) {
            (Some(seed), _) => found.push(format!("{} {seed}", mutation.name)),
            (None, Ok(())) => missed.push(mutation.name.clone()),
            (None, Err(error)) => return Err(format!("{}: {error}", mutation.name)),
        }
        for (file, text) in originals {
            std::fs::write(&file, text).map_err(|error| format!("{file}: {error}"))?;
        }
    }
    log.run(repo.command("git", &["worktree", "remove", "--force", &at]), BUILD_LIMIT)?;
    if missed.is_empty() {
        return Ok(Outcome::Passed(format!("found, with the seed: {}", found.join(", "))));
    }
    Err(format!("not found in {SEEDS} seeds: {}", missed.join(", ")))
}

/// The seed in `seed 7 fails: why`.
fn failed_seed(output: &str) -> Option<&str> {
    let line = output.lines().find(|line| line.starts_with("seed ") && line.contains(" fails"))?;
    line.split(' ').nth(1)
}

/// Applies the changes, and returns the path and the previous text of each file.
fn apply(checkout: &Path, changes: &[Change]) -> Result<Vec<(String, String)>, String> {
    let mut originals = Vec::new();
    for Change { file, old, new } in changes {
        let path = checkout.join(file).display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        if text.matches(old.as_str()).count() != 1 {
            return Err(format!(
                "{file} must contain this text of sim/mutations.txt exactly once; update sim/mutations.txt:\n{old}"
            ));
        }
        std::fs::write(&path, text.replacen(old.as_str(), new, 1)).map_err(|error| format!("{path}: {error}"))?;
        originals.push((path, text));
    }
    Ok(originals)
}

fn read(text: &str) -> Result<Vec<Mutation>, String> {
    let mut mutations: Vec<Mutation> = Vec::new();
    for line in text.lines() {
        let wrong = || format!("sim/mutations.txt: this line is not understood: {line}");
        let (Some(first), rest) = (line.chars().next(), line.get(1..).unwrap_or_default()) else { continue };
        match first {
            '=' => {
                let (name, what) = rest.split_once(": ").ok_or_else(wrong)?;
                let (name, what) = (name.trim().to_owned(), what.to_owned());
                mutations.push(Mutation { name, what, changes: Vec::new() });
            }
            '@' => {
                let changes = &mut mutations.last_mut().ok_or_else(wrong)?.changes;
                changes.push(Change { file: rest.trim().to_owned(), old: String::new(), new: String::new() });
            }
            '-' | '+' => {
                let change = mutations.last_mut().and_then(|it| it.changes.last_mut()).ok_or_else(wrong)?;
                let side = if first == '-' { &mut change.old } else { &mut change.new };
                if !side.is_empty() {
                    side.push('\n');
                }
                side.push_str(rest);
            }
            _ if mutations.is_empty() => {}
            _ => return Err(wrong()),
        }
    }
    Ok(mutations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutations_are_read() {
        let text = "Some words.\n\n= a: it is so\n@ x.rs\n-  old\n-\n-  too\n+  new\n\n@ y.rs\n-1\n+2\n";
        let change = |file: &str, old: &str, new: &str| Change { file: file.into(), old: old.into(), new: new.into() };
        let changes = vec![change("x.rs", "  old\n\n  too", "  new"), change("y.rs", "1", "2")];
        assert_eq!(read(text), Ok(vec![Mutation { name: "a".into(), what: "it is so".into(), changes }]));
        for wrong in ["@ x.rs\n", "= a: b\n-x\n", "= a: b\nx\n", "= a\n"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    /// So that whoever changes the code updates the mutation too.
    #[test]
    fn every_mutation_matches_the_code_as_it_is_now() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = std::fs::read_to_string(root.join("sim/mutations.txt")).unwrap();
        let mutations = read(&text).unwrap();
        assert!(mutations.len() > 10);
        for Change { file, old, new } in mutations.iter().flat_map(|mutation| &mutation.changes) {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            assert!(text.matches(old.as_str()).count() == 1 && old != new, "{file}:\n{old}");
        }
    }
}

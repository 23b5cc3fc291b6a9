//! The files of `deploy/` name only variables that the program has, with values that it takes.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Names in capitals that are no variables of the program: of Grafana and of Linux, and one that Kubernetes would set.
const FOREIGN: &[&str] = &[
    "GF_AUTH_ANONYMOUS_ENABLED",
    "GF_AUTH_ANONYMOUS_ORG_ROLE",
    "CAP_NET_BIND_SERVICE",
    "AF_INET",
    "AF_INET6",
    "AF_UNIX",
    "ROOMCAST_PORT",
];

#[test]
fn every_variable_in_deploy_is_one_of_the_program() {
    let output = Command::new(env!("CARGO_BIN_EXE_roomcast")).env_clear().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let known: Vec<&str> = names(&help).collect();
    let mut seen = 0;
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for name in names(&text).filter(|name| name.contains('_') && !FOREIGN.contains(name)) {
            assert!(known.contains(&name), "{}: roomcast --help has no variable {name}", file.display());
            seen += 1;
        }
    }
    // REDIS_URL alone is in five files.
    assert!(seen > 20, "{seen}");
    for name in ["HOST", "PORT"] {
        assert!(known.contains(&name), "{name}");
    }
}

#[test]
fn the_program_would_start_with_the_settings_of_deploy() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    for (file, between) in [("systemd/roomcast.env", "="), ("kubernetes/configmap.yaml", ": ")] {
        let text = std::fs::read_to_string(deploy.join(file)).unwrap();
        let lines = text.lines().filter_map(|line| line.trim().split_once(between));
        let settings = lines.filter(|(name, _)| names(name).next() == Some(*name));
        let mut settings: Vec<(&str, &str)> = settings.map(|(name, value)| (name, value.trim_matches('"'))).collect();
        assert!(settings.len() >= 8, "{file}: {settings:?}");
        // In Kubernetes a Secret has it.
        settings.push(("REDIS_URL", "redis://127.0.0.1:6379"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
        let output = command.env_clear().envs(settings).arg("check-config").output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.contains("a server would start: 0 errors"), "{file}: {told}");
    }
}

/// The files of a folder and of those in it. What is for Grafana and Prometheus names no variables.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let entries = entries.filter(|path| !path.ends_with("deploy/grafana") && !path.ends_with("deploy/prometheus"));
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The words in capitals, without those that are part of a longer word.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| {
        word.len() > 3
            && word.starts_with(|first: char| first.is_ascii_uppercase())
            && !word.contains(|c: char| c.is_ascii_lowercase())
    })
}

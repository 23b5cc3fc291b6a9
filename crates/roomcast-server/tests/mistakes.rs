//! The commonest mistakes in code of applications: the compiler refuses each, and says what to write. A file of `tests/mistakes/` is one
//! mistake; the texts after `//~` must be in what the compiler says of it. Whole messages are not compared, as they change from one
//! compiler to the next.
//!
//! It is a program of its own, as the compiler would take the processor from tests that run beside it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn mistakes() -> BTreeMap<String, PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|file| (file.file_stem().unwrap().to_string_lossy().into_owned(), file)).collect()
}

/// A package beside the workspace with each mistake as a program. It has the workspace's lock file and folder of builds, so that nothing
/// else is compiled again.
fn package(mistakes: &BTreeMap<String, PathBuf>) -> PathBuf {
    let server = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mistakes");
    fs::create_dir_all(&folder).unwrap();
    let path = server.display();
    let mut manifest = format!(
        "[package]\nname = \"mistakes\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
         roomcast-server = {{ path = '{path}' }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n"
    );
    for (name, file) in mistakes {
        let file = file.display();
        write!(manifest, "\n[[bin]]\nname = \"{name}\"\npath = '{file}'\n").unwrap();
    }
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(server.join("../../Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    folder
}

#[test]
fn the_compiler_says_what_to_write() {
    let mistakes = mistakes();
    assert!(mistakes.len() >= 10);
    let folder = package(&mistakes);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let checked = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet", "--keep-going", "--bins", "--message-format=json"])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTFLAGS")
        .output()
        .unwrap();
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    for line in String::from_utf8_lossy(&checked.stdout).lines() {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if line["reason"] == "compiler-message" && line["message"]["level"] == "error" {
            let name = line["target"]["name"].as_str().unwrap_or_default().to_owned();
            said.entry(name).or_default().push_str(line["message"]["rendered"].as_str().unwrap_or_default());
        }
    }
    let mut wrong = String::new();
    for (name, file) in mistakes {
        let said = said.remove(&name).unwrap_or_default();
        let text = fs::read_to_string(&file).unwrap();
        for wanted in text.lines().filter_map(|line| line.strip_prefix("//~ ")) {
            if !said.contains(wanted) {
                write!(wrong, "{name}: the compiler does not say {wanted:?}, but:\n{said}\n").unwrap();
            }
        }
    }
    let errors = String::from_utf8_lossy(&checked.stderr);
    assert!(wrong.is_empty(), "{wrong}\n{errors}");
}

//! Where things are: the checkout, the build directory, and the programs built in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest that a build may take. A cold release build with thin LTO takes a few minutes on two cores.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);

const INCREMENTAL: &str = "CARGO_INCREMENTAL";

/// A checkout and its build directory, both absolute.
pub(crate) struct Repo {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

impl Repo {
    /// Finds the checkout this program belongs to; asks Cargo for the build directory, as an environment variable or a
    /// configuration file outside the checkout may move it.
    pub(crate) fn find() -> Result<Repo, String> {
        // At run time first: with a shared build directory the compiled-in path may be another checkout's.
        let manifest =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = manifest.parent().ok_or("xtask's manifest has no parent folder")?.to_path_buf();
        let output = Command::new(cargo())
            .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
            .current_dir(&root)
            .output()
            .map_err(|error| format!("cannot run cargo metadata: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr)));
        }
        let target = json_string(&String::from_utf8_lossy(&output.stdout), "target_directory")
            .ok_or("cargo metadata named no target_directory")?;
        Ok(Repo { root, target: target.into() })
    }

    /// A Cargo command in this checkout.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// `cargo test` of the whole workspace: every call of it has the same features and settings, so that nothing is built twice.
    pub(crate) fn cargo_test(&self, arguments: &[&str]) -> Command {
        let mut command = self.cargo(&["test", "--workspace"]);
        command.args(arguments);
        // What would be kept for the next compilation is larger than all that is built, and takes longer to write than a run saves
        // by it (docs/decisions/0010-tests.md). `cargo test` by hand keeps it, beside what is built here.
        if std::env::var_os(INCREMENTAL).is_none() {
            command.env(INCREMENTAL, "0");
        }
        command
    }

    /// Any other command in this checkout.
    pub(crate) fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// The release build of an example.
    pub(crate) fn release_example(&self, name: &str) -> PathBuf {
        self.target.join("release").join("examples").join(name)
    }

    /// The release build of a program.
    pub(crate) fn release_program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where `step` writes its output.
    pub(crate) fn log_file(&self, step: &str) -> PathBuf {
        self.logs().join(format!("{step}.log"))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.target.join("xtask-logs")
    }

    /// A path as a person in the checkout would write it.
    pub(crate) fn short<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// Cargo as it was called, so that a nested call uses the same toolchain.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The first string member called `key` in `json`. Enough for one path in Cargo's output: undoes `\\` and `\"` only.
fn json_string(json: &str, key: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!("\"{key}\":\""))?;
    let mut value = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return Some(value),
            '\\' => value.push(characters.next()?),
            character => value.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::json_string;

    #[test]
    fn a_string_member_is_found_and_unescaped() {
        let json = r#"{"a":1,"target_directory":"/x/\"y\"\\z","workspace_root":"/x"}"#;
        assert_eq!(json_string(json, "target_directory").as_deref(), Some(r#"/x/"y"\z"#));
        assert_eq!(json_string(json, "absent"), None);
        assert_eq!(json_string(r#"{"target_directory":"/cut"#, "target_directory"), None);
    }
}

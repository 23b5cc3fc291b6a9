//! [`Process`]: a child process on given cores, whose processor time and memory are measured from outside.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program, on these cores if any are given.
    ///
    /// The kernel kills it when the calling thread ends, for whatever reason (`setpriv --pdeathsig`). Otherwise, if this program were
    /// killed, which drops nothing, its servers would continue to use a core.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<W: AsRef<OsStr>>(
        words: &[W],
        cores: &[usize],
        environment: &[(&str, String)],
    ) -> io::Result<(Self, ChildStdout, ChildStderr)> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        if !cores.is_empty() {
            let list = cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            command.args(["taskset", "-c", &list]);
        }
        let mut child = command
            .args(words)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("cannot start setpriv of util-linux: {error}")))?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let process = Self { child };
        Ok((process, output.ok_or(io::ErrorKind::BrokenPipe)?, errors.ok_or(io::ErrorKind::BrokenPipe)?))
    }

    /// Its process id. `setpriv` and `taskset` replace themselves by the program, so it has theirs.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has exited.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Processor time that all its threads have used, in nanoseconds, as the scheduler accounts for it. This includes soft interrupts that
    /// ran in them: over loopback, the time until the data is in the receiver's buffer counts for the sender.
    ///
    /// # Errors
    /// It has exited.
    pub fn cpu_nanoseconds(&self) -> io::Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            sum += text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(sum)
    }

    /// Its anonymous resident memory, in bytes: heap and stacks, without the program file.
    ///
    /// # Errors
    /// It has exited.
    pub fn anonymous_memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|word| word.parse::<u64>().ok());
        kibibytes.map(|count| count * 1024).ok_or_else(|| io::Error::other("no RssAnon in /proc/PID/status"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pins this process to a core.
///
/// # Errors
/// `taskset` is missing or refuses.
pub fn pin_this_process(core: usize) -> io::Result<()> {
    let pid = std::process::id().to_string();
    let status =
        Command::new("taskset").args(["-a", "-c", "-p", &core.to_string(), &pid]).stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("taskset cannot pin this process")) }
}

/// Raises the limit of descriptors of this process to so many connections and some files.
///
/// # Errors
/// The system allows fewer.
pub fn allow_descriptors(connections: usize) -> io::Result<()> {
    let needed = connections as u64 + 64;
    if rlimit::increase_nofile_limit(needed)? >= needed {
        return Ok(());
    }
    Err(io::Error::other(format!("this program and the server need {needed} descriptors each: raise ulimit -n")))
}

/// The load averages of the machine over 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_process_ends_with_the_thread_that_started_it() {
        let (process, mut output, _errors) = std::thread::spawn(|| {
            let mut started = Process::start(&["sh", "-c", "echo; exec sleep 600"], &[], &[]).unwrap();
            // The program has written a byte, so setpriv has done its work.
            started.1.read_exact(&mut [0]).unwrap();
            started
        })
        .join()
        .unwrap();
        // The end of the output: the program was killed.
        assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
        drop(process);
    }
}

//! [`Program`]: the program as a process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};

/// The running program. It is killed at the end of the test.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) log: BufReader<ChildStderr>,
    port: Option<String>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
        // Without the environment in which the tests run.
        command.env_clear().env("PORT", "0").envs(environment.iter().copied());
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log, port: None }
    }

    /// The log of a program that starts, up to the line that it listens.
    pub(crate) fn log_until_listening(mut self) -> String {
        self.read_until_listening()
    }

    /// Waits until the program listens; the port.
    pub(crate) fn port(&mut self) -> String {
        if let Some(port) = &self.port {
            return port.clone();
        }
        let log = self.read_until_listening();
        let (_, address) = log.rsplit_once("listening on http://").unwrap();
        let port = address.split([' ', '\n']).next().unwrap().rsplit(':').next().unwrap().to_owned();
        self.port = Some(port.clone());
        port
    }

    /// Sends a signal, by the shell's own `kill`.
    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    fn read_until_listening(&mut self) -> String {
        let mut log = String::new();
        while !log.contains("listening on http://") {
            assert!(self.log.read_line(&mut log).unwrap() > 0, "the program has exited: {log}");
        }
        log
    }

    /// The whole log of a program that does not start.
    pub(crate) fn log_of_failure(mut self) -> String {
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        assert!(!self.child.wait().unwrap().success(), "{log}");
        log
    }
}

//! [`Verdict`]: whether the checks of a tool have passed.

use std::process::ExitCode;

/// Counts failed checks.
#[derive(Debug, Default)]
pub struct Verdict {
    failures: usize,
}

impl Verdict {
    /// Prints and counts a failure unless `holds`.
    pub fn check(&mut self, holds: bool, wrong: &str) {
        if !holds {
            println!("wrong: {wrong}");
            self.failures += 1;
        }
    }

    /// Prints the last line, `ok` or `FAILED`, and returns the exit code.
    pub fn end(&self) -> ExitCode {
        let holds = self.failures == 0;
        println!("{}", if holds { "ok" } else { "FAILED" });
        if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

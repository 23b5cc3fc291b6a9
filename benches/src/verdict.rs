//! [`Verdict`]: whether what a tool has seen is as it should be.

use std::process::ExitCode;

/// What was found wrong.
#[derive(Debug, Default)]
pub struct Verdict {
    failures: usize,
}

impl Verdict {
    /// Tells what is wrong unless `holds`.
    pub fn check(&mut self, holds: bool, wrong: &str) {
        if !holds {
            println!("wrong: {wrong}");
            self.failures += 1;
        }
    }

    /// The last line, `ok` or `FAILED`, and the exit code.
    pub fn end(&self) -> ExitCode {
        let holds = self.failures == 0;
        println!("{}", if holds { "ok" } else { "FAILED" });
        if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

//! `roomcast health`, and the drain at SIGTERM.

use crate::program::Program;
use std::io::Read as _;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// How long a test waits for something, so that a fault ends it.
const PATIENCE: Duration = Duration::from_secs(30);

fn health(port: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.env_clear().env("PORT", port).arg("health").args(arguments).output().unwrap()
}

#[test]
fn a_server_tells_its_health_until_it_is_gone() {
    let mut program = Program::start(&[]);
    let port = program.port();
    for arguments in [&[][..], &["--ready"]] {
        let output = health(&port, arguments);
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && answer.contains("\"ready\":true"), "{answer}");
    }
    program.signal("TERM");
    // Without NODE_ENV=production it stops at once.
    assert!(program.child.wait().unwrap().success());
    let output = health(&port, &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("does a server run there?"), "{error}");
}

#[test]
fn a_draining_server_lives_and_is_not_ready() {
    let mut program = Program::start(&[("ROOMCAST_DRAIN_GRACE", "3600")]);
    let port = program.port();
    program.signal("TERM");
    let deadline = Instant::now() + PATIENCE;
    while health(&port, &["--ready"]).status.success() {
        assert!(Instant::now() < deadline, "the server is ready still");
    }
    let output = health(&port, &["--ready"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("draining"));
    assert!(health(&port, &[]).status.success(), "a restart would not help");
    // A second signal ends it immediately.
    program.signal("TERM");
    assert_eq!(program.child.wait().unwrap().code(), Some(1));
}

/// A person does not want to wait.
#[test]
fn ctrl_c_does_not_drain() {
    let mut program = Program::start(&[("ROOMCAST_DRAIN_GRACE", "3600"), ("ROOMCAST_DRAIN_WINDOW", "3600")]);
    program.port();
    program.signal("INT");
    assert!(program.child.wait().unwrap().success());
    let mut log = String::new();
    program.log.read_to_string(&mut log).unwrap();
    assert!(log.contains("stopped"), "{log}");
}

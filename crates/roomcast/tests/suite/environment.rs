//! The program and its environment variables, as compose files and container platforms write them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};

/// The program. It ends with the test.
struct Program {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
        // The environment in which the tests run must not matter.
        command.env_clear().env("PORT", "0").envs(environment.iter().copied());
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// The log, up to the line that says that the program listens.
    fn listens(mut self) -> String {
        let mut log = String::new();
        while !log.contains("listening on http://") {
            assert!(self.log.read_line(&mut log).unwrap() > 0, "the program has ended: {log}");
        }
        log
    }

    /// The log of a program that does not start.
    fn ends(mut self) -> String {
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        assert!(!self.child.wait().unwrap().success(), "{log}");
        log
    }
}

/// `${PORT:-}` in a compose file yields an empty value for a variable that is not set.
#[test]
fn an_empty_variable_counts_as_not_set() {
    let names = [
        "APP_URL",
        "HOST",
        "NODE_ENV",
        "REDIS_URL",
        "REDIS_PASSWORD_FILE",
        "REDIS_SENTINEL_PASSWORD_FILE",
        "REDIS_TLS_CA_FILE",
        "REDIS_TLS_CERT_FILE",
        "REDIS_TLS_KEY_FILE",
        "MAX_CONNECTIONS",
        "LOG_FORMAT",
        "KEEP_ALIVE_TIMEOUT",
    ];
    for empty in ["", " "] {
        let log = Program::start(&names.map(|name| (name, empty))).listens();
        assert!(log.contains("APP_URL is not set") && log.contains("http://127.0.0.1:"), "{log}");
    }
    // Then PORT has its default, which may be in use on this machine.
    let port = Program::start(&[("PORT", ""), ("HOST", "192.0.2.1")]).ends();
    assert!(port.contains("cannot listen on 192.0.2.1:3000"), "{port}");
}

/// An origin that no browser sends is refused at the start, with the right spelling. Others are accepted as people
/// write them.
#[test]
fn origins_are_accepted_as_people_write_them() {
    for (origins, shown) in [
        ("https://a.example,", "https://a.example"),
        (" https://a.example , , HTTPS://B.Example:443/", "https://a.example, HTTPS://B.Example:443/"),
        ("https://*.example.com,capacitor://localhost", "https://*.example.com, capacitor://localhost"),
        ("*", "*"),
    ] {
        let log = Program::start(&[("APP_URL", origins)]).listens();
        assert!(log.contains(&format!("origins={shown}")) || log.contains(&format!("origins=\"{shown}\"")), "{log}");
    }
    for (origins, advice) in [
        ("\"*\"", r#"write "*""#),
        ("app.example.com", r#"write "https://app.example.com""#),
        ("https://a.example,https://app.example/chat", r#"write "https://app.example""#),
    ] {
        let log = Program::start(&[("APP_URL", origins)]).ends();
        assert!(log.contains("APP_URL: ") && log.contains(advice), "{log}");
    }
}

/// A wrong Redis configuration is an error at the start, which says what to do. A missing file is not an error, as it
/// may be written a moment later.
#[test]
fn a_wrong_redis_configuration_is_an_error_with_advice() {
    for (environment, advice) in [
        (&[("REDIS_URL", "redis://h?password=secret")][..], "user and password stand before the host"),
        (&[("REDIS_URL", "redis://:p#secret@h")], "write %23"),
        (&[("REDIS_URL", "redis://h"), ("REDIS_TLS_CA_FILE", "/ca.crt")], "write rediss://"),
        (&[("REDIS_URL", "rediss://h"), ("REDIS_TLS_KEY_FILE", "/key")], "need one another"),
    ] {
        let log = Program::start(&[&[("NODE_ENV", "production")], environment].concat()).ends();
        assert!(log.contains(advice) && !log.contains("secret"), "{log}");
    }
    let redis = [("NODE_ENV", "production"), ("REDIS_URL", "redis://127.0.0.1:1"), ("REDIS_PASSWORD_FILE", "/nowhere")];
    let mut program = Program::start(&redis);
    let mut log = String::new();
    while !log.contains("there is no password for Redis: the password is that of the file /nowhere: No such file") {
        assert!(program.log.read_line(&mut log).unwrap() > 0, "the program has ended: {log}");
    }
}

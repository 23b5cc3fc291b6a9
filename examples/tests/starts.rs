//! Each example starts, and says what is wrong where it cannot. Because this test exists, `cargo test` builds the examples, which the scripts
//! in e2e/ then run.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

const EXAMPLES: [(&str, &str); 5] = [
    ("chat", env!("CARGO_BIN_EXE_chat")),
    ("game", env!("CARGO_BIN_EXE_game")),
    ("presence", env!("CARGO_BIN_EXE_presence")),
    ("quiz", env!("CARGO_BIN_EXE_quiz")),
    ("upload", env!("CARGO_BIN_EXE_upload")),
];

/// Starts an example with its files in a folder of its own.
fn start(name: &str, path: &str, port: u16) -> std::io::Result<Child> {
    let database = std::env::temp_dir().join(format!("roomcast-example-{}-{name}-{port}.redb", std::process::id()));
    let mut command = Command::new(path);
    command.env("HOST", "127.0.0.1").env("PORT", port.to_string()).env("DATABASE", database).env_remove("REDIS_URL");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

#[test]
fn each_says_where_it_listens() {
    for (name, path) in EXAMPLES {
        let mut example = start(name, path, 0).unwrap();
        let mut line = String::new();
        BufReader::new(example.stdout.take().unwrap()).read_line(&mut line).unwrap();
        example.kill().unwrap();
        example.wait().unwrap();
        assert!(line.starts_with("listening on http://127.0.0.1:"), "{name}: {line:?}");
    }
}

#[test]
fn each_fails_if_its_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for (name, path) in EXAMPLES {
        let mut example = start(name, path, port).unwrap();
        let status = example.wait().unwrap();
        let mut error = String::new();
        example.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        assert!(!status.success() && error.contains("Error: "), "{name}: {status}, {error:?}");
    }
}

//! The program's environment variables, as compose files and container platforms set them.

use crate::program::Program;
use std::io::BufRead as _;
use std::process::Command;

/// `${PORT:-}` in a compose file gives an empty value if the variable is not set.
#[test]
fn an_empty_variable_counts_as_not_set() {
    let help = Command::new(env!("CARGO_BIN_EXE_roomcast")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let words: Vec<_> = help.split_whitespace().collect();
    let names: Vec<_> = words
        .windows(2)
        .filter_map(|words| words[1].strip_suffix(']').filter(|_| words[0] == "[env:"))
        .filter(|name| *name != "PORT")
        .collect();
    assert!(names.len() > 50 && names.contains(&"REDIS_URL"), "{names:?}");
    for empty in ["", " "] {
        let environment: Vec<_> = names.iter().map(|name| (*name, empty)).collect();
        let log = Program::start(&environment).log_until_listening();
        assert!(log.contains("APP_URL is not set") && log.contains("http://127.0.0.1:"), "{log}");
    }
    // An empty PORT means the default, which another program may use on this machine, so the address is one that cannot be listened on.
    let port = Program::start(&[("PORT", ""), ("HOST", "192.0.2.1")]).log_of_failure();
    assert!(port.contains("cannot listen on 192.0.2.1:3000"), "{port}");
}

/// White space, capitals and a final slash do not matter. An origin that no browser would send is refused at the start, with advice.
#[test]
fn origins_are_accepted_as_people_write_them() {
    for (origins, shown) in [
        ("https://a.example,", "https://a.example"),
        (" https://a.example , , HTTPS://B.Example:443/", "https://a.example, HTTPS://B.Example:443/"),
        ("https://*.example.com,capacitor://localhost", "https://*.example.com, capacitor://localhost"),
        ("*", "*"),
    ] {
        let log = Program::start(&[("APP_URL", origins)]).log_until_listening();
        assert!(log.contains(&format!("origins={shown}")) || log.contains(&format!("origins=\"{shown}\"")), "{log}");
    }
    for (origins, advice) in [
        ("\"*\"", r#"write "*""#),
        ("app.example.com", r#"write "https://app.example.com""#),
        ("https://a.example,https://app.example/chat", r#"write "https://app.example""#),
    ] {
        let log = Program::start(&[("APP_URL", origins)]).log_of_failure();
        assert!(log.contains("APP_URL: ") && log.contains(advice), "{log}");
    }
}

/// A wrong setting for Redis is refused at the start, with advice. With a missing file the program starts all the same, because the file may
/// be written later.
#[test]
fn wrong_settings_for_redis_are_refused_with_advice() {
    for (environment, advice) in [
        (&[("REDIS_URL", "redis://h?password=secret")][..], "user and password go before the host"),
        (&[("REDIS_URL", "redis://:p#secret@h")], "write %23"),
        (&[("REDIS_URL", "redis://h"), ("REDIS_TLS_CA_FILE", "/ca.crt")], "write rediss://"),
        (&[("REDIS_URL", "rediss://h"), ("REDIS_TLS_KEY_FILE", "/key")], "must be set together"),
    ] {
        let log = Program::start(&[&[("NODE_ENV", "production")], environment].concat()).log_of_failure();
        assert!(log.contains(advice) && !log.contains("secret"), "{log}");
    }
    let redis = [("NODE_ENV", "production"), ("REDIS_URL", "redis://127.0.0.1:1"), ("REDIS_PASSWORD_FILE", "/nowhere")];
    let mut program = Program::start(&redis);
    let mut log = String::new();
    while !log.contains("cannot get the password for Redis: the password file /nowhere: No such file") {
        assert!(program.log.read_line(&mut log).unwrap() > 0, "the program has exited: {log}");
    }
}

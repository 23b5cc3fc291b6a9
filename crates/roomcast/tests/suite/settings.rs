//! The configuration file, `roomcast config` and `roomcast check-config`.

use crate::client::Client;
use crate::program::Program;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of its own for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("roomcast-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roomcast"));
    command.env_clear().envs(environment.iter().copied()).current_dir(folder).args(arguments);
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn config_shows_what_is_in_effect_and_from_where() {
    let folder = Folder::new("config");
    folder.write(
        "roomcast.toml",
        "[listen]\nport = 4000\nhost = '0.0.0.0'\n[redis]\npassword = 'secret'\nurl = 'redis://:secret@h:7'\n",
    );
    let (good, shown, problems) =
        run(&folder.0, &[("NODE_ENV", "production"), ("HOST", "127.0.0.2")], &["config", "--port", "5000"]);
    assert!(good && problems.contains("a server would start: 0 errors"), "{problems}");
    for line in [
        "node_env = \"production\" # NODE_ENV",
        "host = \"127.0.0.2\" # HOST",
        "port = 5000 # --port",
        "path = \"/socket.io/\" # default",
        "url = \"redis://:***@h:7\" # roomcast.toml:6",
        "password = \"(hidden)\" # roomcast.toml:5",
        "grace = 5 # default",
        "# server_name is not set",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    assert!(!shown.contains("secret") && !problems.contains("secret"));
    // What is shown is a configuration file with the same effect, but for what is hidden.
    let again = folder.write("again.toml", shown.replace("(hidden)", "x").replace(":***@", ""));
    let (good, shown_again, problems) = run(&folder.0, &[], &["config", "--config", &again]);
    assert!(good, "{problems}");
    let values = |text: &str| {
        let value = |line: &str| line.split(" # ").next().unwrap().to_owned();
        text.lines().filter(|line| !line.starts_with("url")).map(value).collect::<Vec<_>>()
    };
    assert_eq!(values(&shown_again), values(&shown));
}

#[test]
fn check_config_finds_all_mistakes_at_once() {
    let folder = Folder::new("check");
    let file = folder.write("r.toml", "[listen]\nport = 70000\n[redis]\nulr = 'x'\n");
    for arguments in
        [&["check-config", &*file][..], &["check-config", "--config", &file], &["--config", &file, "check-config"]]
    {
        let (good, _, told) = run(&folder.0, &[], arguments);
        assert!(!good, "{told}");
        for expected in [
            format!("error: {file}:2: listen.port: 70000 is not possible here"),
            format!("error: {file}:4: redis.ulr: there is no such key: write url in [redis]"),
            "warning: app_url: is not set".to_owned(),
            "a server would not start: 2 errors, 1 warnings".to_owned(),
        ] {
            assert!(told.contains(&expected), "{expected}\n{told}");
        }
    }
    let good = folder.write("good.toml", "app_url = 'https://a.example'\n");
    let (good, _, told) = run(&folder.0, &[], &["check-config", &good]);
    assert!(good && told == "a server would start: 0 errors, 0 warnings\n", "{told}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = Folder::new("unread");
    let large = folder.write("large.toml", vec![b'#'; 1024 * 1024 + 1]);
    let fits = folder.write("fits.toml", [&[b'#'; 1024 * 1024 - 1][..], b"\n"].concat());
    let binary = folder.write("binary.toml", b"\xff\xfe");
    for (file, expected) in [
        ("/nowhere.toml", "there is no configuration file /nowhere.toml"),
        (&*large, "has more than 1048576 bytes"),
        (&binary, "UTF-8"),
        (folder.0.to_str().unwrap(), "cannot read the configuration file"),
    ] {
        let (good, _, told) = run(&folder.0, &[("ROOMCAST_CONFIG", file)], &["config"]);
        assert!(!good && told.contains(expected), "{told}");
    }
    assert!(run(&folder.0, &[("ROOMCAST_CONFIG", &fits)], &["config"]).0);
    // Without a name, there need be none.
    assert!(run(&folder.0, &[("ROOMCAST_CONFIG", " ")], &["config"]).0);
}

#[test]
fn a_server_with_mistakes_does_not_start_and_tells_all() {
    let folder = Folder::new("start");
    let file = folder.write("r.toml", "[client]\ntransports = []\n[drain]\ndeadlin = 1\n");
    let log = Program::start(&[("ROOMCAST_CONFIG", &file)]).log_of_failure();
    assert!(
        log.contains("client.transports: no client could connect")
            && log.contains("drain.deadlin: there is no such key: write deadline in [drain]"),
        "{log}"
    );
}

/// The file sets the namespaces and the path, the environment the log.
#[tokio::test]
async fn a_server_is_as_its_settings_say() {
    let folder = Folder::new("server");
    let file = folder.write("r.toml", "namespaces = ['/chat']\n[listen]\npath = '/own/'\n");
    let mut program = Program::start(&[
        ("ROOMCAST_CONFIG", &file),
        ("LOG_FORMAT", "json"),
        ("RUST_LOG", "info,roomcast_engine=debug"),
    ]);
    let mut log = String::new();
    while !log.contains("listening on http://") {
        assert!(std::io::BufRead::read_line(&mut program.log, &mut log).unwrap() > 0, "{log}");
    }
    assert!(log.lines().all(|line| line.starts_with('{')) && log.contains("settings are read from"), "{log}");
    let address = log.rsplit_once("listening on http://").unwrap().1.split(' ').next().unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        std::io::Write::write_all(
            &mut stream,
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(get("/socket.io/?EIO=4&transport=polling").starts_with("HTTP/1.1 404"));
    assert!(get("/own/?EIO=4&transport=polling").contains("\"sid\":"));
    let mut client = Client::open(address, "/own/").await;
    client.send("40/chat,").await;
    assert!(client.next().await.unwrap().starts_with("40/chat,{\"sid\""));
    client.send("42/chat,1[\"join\",\"a\"]").await;
    let answer = client.next().await.unwrap();
    assert!(answer.starts_with("43/chat,1[") && answer.contains("\"ok\":true"), "{answer}");
    client.send("40/other,").await;
    assert_eq!(client.next().await.unwrap(), "44/other,{\"message\":\"Invalid namespace\"}");
}

/// Whatever keeps the server, it ends at its deadline.
#[tokio::test]
async fn the_deadline_ends_a_stop_that_takes_too_long() {
    let settings = [("ROOMCAST_DRAIN_GRACE", "3600"), ("ROOMCAST_DRAIN_DEADLINE", "0.2")];
    let mut program = Program::start(&settings);
    let address: SocketAddr = format!("127.0.0.1:{}", program.port()).parse().unwrap();
    let _client = Client::connect(address).await;
    program.signal("TERM");
    let log = program.log_of_failure();
    assert!(
        log.contains("the stop took longer than 0.2 s (ROOMCAST_DRAIN_DEADLINE)") && log.contains("clients=1"),
        "{log}"
    );
}

/// With a certificate clients connect by TLS, and `roomcast health` asks the internal listener.
#[test]
fn a_listener_speaks_tls() {
    let folder = Folder::new("tls");
    let [certificate, key] = ["own.crt", "own.key"].map(|name| folder.0.join(name).to_str().unwrap().to_owned());
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-out", &certificate, "-keyout", &key])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let internal = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let environment = [
        ("ROOMCAST_LISTEN_TLS_CERT_FILE", &*certificate),
        ("ROOMCAST_LISTEN_TLS_KEY_FILE", &key),
        ("ROOMCAST_INTERNAL_LISTEN", &internal),
    ];
    let mut program = Program::start(&environment);
    let mut log = String::new();
    while !log.contains("listening on https://") {
        assert!(std::io::BufRead::read_line(&mut program.log, &mut log).unwrap() > 0, "{log}");
    }
    let address = log.rsplit_once("listening on https://").unwrap().1.split(' ').next().unwrap();
    let mut client = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", address])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let request = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut input = client.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, request).unwrap();
    let mut answer = String::new();
    client.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    client.wait().unwrap();
    drop(input);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"sid\":"), "{answer}");
    let (good, told, error) = run(&folder.0, &environment, &["health", "--ready"]);
    assert!(good && told.contains("\"ready\":true"), "{error}");
}

/// Only a trusted proxy may connect, and must say for whom.
#[test]
fn a_listener_speaks_the_proxy_protocol() {
    let settings = [("ROOMCAST_LISTEN_PROXY_PROTOCOL", "true"), ("ROOMCAST_LISTEN_TRUSTED_PROXIES", "127.0.0.0/8")];
    let mut program = Program::start(&settings);
    let address: SocketAddr = format!("127.0.0.1:{}", program.port()).parse().unwrap();
    let ask = |begin: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let request = format!("{begin}GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        let mut answer = String::new();
        // The connection may be reset, as the request is not read.
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert!(ask("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n").starts_with("HTTP/1.1 200"));
    assert_eq!(ask(""), "");
}

/// A Redis that must be there is waited for, and then the program exits.
#[test]
fn a_redis_that_is_required_at_the_start() {
    let settings = [("NODE_ENV", "production"), ("REDIS_URL", "redis://127.0.0.1:1"), ("REDIS_START_TIMEOUT", "0.3")];
    let log = Program::start(&settings).log_of_failure();
    assert!(log.contains("Redis cannot be used: ") && log.contains("Without REDIS_START_TIMEOUT"), "{log}");
}

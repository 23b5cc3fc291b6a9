//! `cargo xtask cluster`: starts a private Redis, two roomcast servers and a Node.js server, which form one cluster, to try by hand.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::log::Log;
use crate::repo::{BUILD_LIMIT, Repo};
use crate::setup;

/// How long a server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How often to check whether a server listens, and whether all programs still run.
const POLL: Duration = Duration::from_millis(100);

pub(crate) fn command(repo: &Repo) -> Result<(), String> {
    let mut log = Log::file(&repo.log_file("cluster"))?;
    println!(
        "building roomcast and checking the npm packages; output in {}",
        repo.short(&repo.log_file("cluster")).display()
    );
    setup::javascript(repo, &mut log)?;
    log.run(repo.cargo(&["build", "--release", "--package", "roomcast"]), BUILD_LIMIT)?;

    let mut servers = Servers(Vec::new());
    let redis = free_port()?;
    let url = format!("redis://127.0.0.1:{redis}");
    let port = redis.to_string();
    let redis_arguments = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    servers.start("redis-server", &repo.command("redis-server", &redis_arguments), redis, &mut log)?;

    let roomcast = repo.release_program("roomcast");
    for name in ["roomcast A", "roomcast B"] {
        let port = free_port()?;
        let mut command = repo.command(&roomcast, &[]);
        command.env("NODE_ENV", "production").env("REDIS_URL", &url).env("PORT", port.to_string());
        command.env("HOST", "127.0.0.1").env_remove("APP_URL");
        servers.start(name, &command, port, &mut log)?;
        println!("{name:<12} http://127.0.0.1:{port}/");
    }
    let port = free_port()?;
    let mut command = repo.command("node", &["e2e/chat-server.mjs"]);
    command.env("REDIS_URL", &url).env("PORT", port.to_string());
    servers.start("Node.js", &command, port, &mut log)?;
    println!("{:<12} http://127.0.0.1:{port}/", "Node.js");
    println!("{:<12} {url}", "Redis");
    println!("\nOpen the pages in several tabs: people in the same room see each other on all three servers.");
    println!("Ctrl-C stops everything.");
    let ended = servers.wait();
    Err(format!(
        "{ended} has exited, so the others were stopped; see {}",
        repo.short(&repo.log_file("cluster")).display()
    ))
}

/// The programs that were started, by name. Ctrl-C reaches all of them through the terminal. If only xtask is killed, the kernel
/// terminates them ([`bound_to_xtask`]).
struct Servers(Vec<(String, Child)>);

impl Servers {
    fn start(&mut self, name: &str, command: &Command, port: u16, log: &mut Log) -> Result<(), String> {
        let mut command = bound_to_xtask(command);
        command.stdin(Stdio::null()).stdout(log.stdio()?).stderr(log.stdio()?);
        let child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        self.0.push((name.to_owned(), child));
        let until = Instant::now() + START_LIMIT;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until || self.ended().is_some() {
                return Err(format!("{name} has exited, or does not listen on port {port}"));
            }
            sleep(POLL);
        }
        Ok(())
    }

    /// Waits until one of them has exited, and returns its name.
    fn wait(&mut self) -> String {
        loop {
            if let Some(name) = self.ended() {
                return name;
            }
            sleep(POLL);
        }
    }

    fn ended(&mut self) -> Option<String> {
        self.0.iter_mut().find_map(|(name, child)| match child.try_wait() {
            Ok(None) => None,
            _ => Some(name.clone()),
        })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The same command, run by setpriv if it is installed, so that the kernel terminates the program when xtask exits. setpriv is part of
/// util-linux, which every Debian has.
fn bound_to_xtask(command: &Command) -> Command {
    let setpriv = "/usr/bin/setpriv";
    let mut bound = if Path::new(setpriv).exists() {
        let mut bound = Command::new(setpriv);
        bound.args(["--pdeathsig", "TERM"]).arg(command.get_program());
        bound
    } else {
        Command::new(command.get_program())
    };
    bound.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        bound.current_dir(directory);
    }
    bound
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
    Ok(listener.local_addr().map_err(|error| error.to_string())?.port())
}

//! Runs the commands of `docs/first-deployment.md`, as an operator would type them, and compares what the page says that they print.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::log::Log;
use crate::release::{self, Program};
use crate::repo::Repo;
use crate::setup;
use crate::step::{Outcome, Step, run_all};

const DOCUMENT: &str = "docs/first-deployment.md";

/// A drain takes 15 s, and each program some seconds to start.
const LIMIT: Duration = Duration::from_secs(3 * 60);

/// The ports on the page. The test uses free ones in their place.
const PORTS: &[&str] = &["3000", "3001", "3002", "3003", "9101", "9102", "9103", "6380", "8080", "9090"];

/// A fenced block of the page.
#[derive(Debug, PartialEq, Eq)]
enum Block<'a> {
    /// Commands.
    Commands(&'a str),
    /// What the commands before it print.
    Printed(&'a str),
}

pub(crate) fn command(repo: &Repo) -> Result<(), String> {
    let build = |repo: &Repo, log: &mut Log| {
        let program = Program { package: "roomcast", kind: "--bin", name: "roomcast" };
        release::build(repo, log, &[program]).map(|()| Outcome::Passed(String::new()))
    };
    run_all(
        repo,
        &[Step { name: "release", needs: None, run: build }, Step { name: "deployment", needs: Some("release"), run }],
    )
}

pub(crate) fn run(repo: &Repo, log: &mut Log) -> Result<Outcome, String> {
    let page = fs::read_to_string(repo.root.join(DOCUMENT)).map_err(|error| format!("{DOCUMENT}: {error}"))?;
    let folder = repo.target.join("first-deployment");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let alerts = repo.root.join("deploy/prometheus/alerts.yml");
    fs::copy(&alerts, folder.join("alerts.yml")).map_err(|error| format!("{}: {error}", alerts.display()))?;
    let ports = free_ports().map_err(|error| error.to_string())?;
    let page = with_ports(&page, &ports);
    let script = script(&blocks(&page));
    fs::write(folder.join("commands.sh"), &script).map_err(|error| error.to_string())?;
    let programs = repo.release_program("roomcast");
    let programs = programs.parent().unwrap_or(Path::new("."));
    let mut command = repo.command("bash", &["commands.sh"]);
    let path = std::env::var("PATH").unwrap_or_default();
    // Prometheus is in the same package as promtool.
    let promtool = setup::promtool(repo, log)?;
    let unpacked = promtool.parent().filter(|folder| !folder.as_os_str().is_empty());
    let prometheus = unpacked.map(|folder| format!(":{}", folder.display())).unwrap_or_default();
    command.current_dir(&folder).env("PATH", format!("{}:{path}{prometheus}", programs.display()));
    for variable in ["NODE_ENV", "REDIS_URL", "APP_URL", "HOST"] {
        command.env_remove(variable);
    }
    // The default port of the first server.
    command.env("PORT", ports.get("3000").map_or("0", String::as_str));
    log.run(command, LIMIT)?;
    let printed = log.text();
    let mut commands = 0;
    for block in blocks(&page) {
        match block {
            Block::Commands(text) => commands += text.lines().filter(|line| !line.starts_with(' ')).count(),
            Block::Printed(text) => {
                for line in text.lines() {
                    if !printed.contains(line) {
                        return Err(format!("{DOCUMENT} says that this is printed, and it is not: {line}"));
                    }
                }
            }
        }
    }
    Ok(Outcome::Passed(format!("{commands} lines of commands")))
}

/// All commands as one script. It stops at the first that fails, and ends what it started.
fn script(blocks: &[Block<'_>]) -> String {
    let mut script = "set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true' EXIT\n".to_owned();
    for block in blocks {
        if let Block::Commands(text) = block {
            script.push_str(&format!(
                "echo \"--- {}\"\n",
                text.lines().next().unwrap_or_default().replace(['"', '$', '`', '\\'], " ")
            ));
            script.push_str(text);
        }
    }
    script
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once("\n```") {
        let Some((kind, body)) = after.split_once('\n') else { break };
        let Some((body, after)) = body.split_once("```") else { break };
        match kind {
            "sh" => blocks.push(Block::Commands(body)),
            "text" | "json" => blocks.push(Block::Printed(body)),
            _ => {}
        }
        rest = after;
    }
    blocks
}

/// Free ports in place of those of the page.
fn free_ports() -> std::io::Result<BTreeMap<&'static str, String>> {
    // All are taken at the same time, so that none is found twice.
    let listeners = PORTS.iter().map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    PORTS
        .iter()
        .zip(&listeners)
        .map(|(port, listener)| Ok((*port, listener.local_addr()?.port().to_string())))
        .collect()
}

fn with_ports(page: &str, ports: &BTreeMap<&'static str, String>) -> String {
    // A free port may look like one of the page, so each is replaced by a mark first.
    let marked =
        PORTS.iter().enumerate().fold(page.to_owned(), |page, (at, port)| page.replace(port, &format!("\0{at}\0")));
    PORTS
        .iter()
        .enumerate()
        .fold(marked, |page, (at, port)| page.replace(&format!("\0{at}\0"), ports.get(port).map_or("", String::as_str)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_what_they_print_are_found() {
        let page = "# x\n\n```sh\na\nb\n```\n\ntext `c`\n\n```text\nd\n```\n```toml\ne\n```\n";
        assert_eq!(blocks(page), [Block::Commands("a\nb\n"), Block::Printed("d\n")]);
        assert!(script(&blocks(page)).contains("a\nb\n"));
    }

    #[test]
    fn ports_are_replaced_also_by_ports_of_the_page() {
        let mut ports: BTreeMap<&'static str, String> = PORTS.iter().map(|port| (*port, "1".to_owned())).collect();
        ports.insert("3001", "3002".to_owned());
        ports.insert("3002", "3001".to_owned());
        assert_eq!(with_ports(":3001 :3002 :6380 :30", &ports), ":3002 :3001 :1 :30");
    }
}

//! [`Peer`]: a server program that can be measured, by its name.

use std::io;
use std::path::{Path, PathBuf};

/// A server program that can be measured.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name in tables.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<PathBuf>,
}

/// The peers that `cargo xtask bench --peers` measures, the anchors first.
pub const NAMES: [&str; 5] = ["floor", "coalescing floor", "roomcast", "socketioxide", "node"];

impl Peer {
    /// A peer of [`NAMES`], the program `stand-ins`, or any program by its path, which must behave like the conformance server. A path that
    /// ends in `.mjs` is run with Node. Relative paths start at the working directory, which must be a checkout.
    ///
    /// # Errors
    /// The program does not exist.
    pub fn named(name: &str) -> io::Result<Self> {
        let beside = |program: &str| -> io::Result<PathBuf> { Ok(std::env::current_exe()?.with_file_name(program)) };
        let mut command = match name {
            "floor" => vec![beside("floor")?],
            "coalescing floor" => vec![beside("floor")?, "--coalesce".into()],
            "roomcast" => vec![beside("examples/conformance")?],
            "stand-ins" => vec![beside("stand-ins")?],
            "socketioxide" => vec![PathBuf::from("benches/peers/target/release/socketioxide-peer")],
            "node" => vec![PathBuf::from("e2e/reference-server.mjs")],
            path => vec![PathBuf::from(path)],
        };
        if !command[0].is_file() {
            return Err(io::Error::other(format!("{} does not exist; build it first", command[0].display())));
        }
        if command[0].extension() == Some(Path::new("mjs").as_os_str()) {
            command.insert(0, "node".into());
        }
        Ok(Self { name: name.to_owned(), command })
    }

    /// Whether its number of worker threads can be set. The other peers have one thread for everything.
    pub fn has_workers(&self) -> bool {
        self.name == "roomcast" || !NAMES.contains(&&*self.name)
    }
}

//! The files of a crate form a line: `docs/architecture.md` lists them from bottom to top, and a file imports only what stands before it.
//!
//! The table is a fenced block that begins with "```layers". A line without indentation names a package; each line below it is a layer, a
//! label and its files: `sending: queue cluster/{backlog road}`. So a circle between files is impossible, and an arrow up is a finding.
//!
//! An import is a `use` or a path such as `crate::rooms::Index`, outside of tests and comments. A path is followed through `pub use` to the
//! file that defines the item. A file that only declares modules and re-exports (`lib.rs`, most `mod.rs`) is a map: it is not listed, and
//! nothing may depend on it.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Finding;
use super::source::{Item, Source};

/// Where the table is.
pub(super) const DOCUMENT: &str = "docs/architecture.md";

const FENCE: &str = "```layers";

/// The source folders that are checked, each with its package's name in the table.
fn package(path: &str) -> Option<(String, &str)> {
    let (package, inside) = match path.strip_prefix("crates/") {
        Some(rest) => rest.split_once('/')?,
        None => path.split_once('/')?,
    };
    let inside = inside.strip_prefix("src/")?;
    // Each of these is a program of its own, whose parts lie beside it.
    (!inside.starts_with("bin/")).then(|| (package.to_owned(), inside))
}

/// The module of a file: `cluster/queue.rs` is `["cluster", "queue"]`, `lib.rs` is the root, and a program's `main.rs` is `["main"]`, as a
/// package may have both.
fn module(file: &str) -> Vec<String> {
    let mut parts: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

type Path = Vec<String>;

/// One package: its modules, and what each file imports.
struct Package {
    sources: BTreeMap<Path, Source>,
    files: BTreeMap<Path, String>,
}

impl Package {
    fn new(all: &[(&str, &str)]) -> Self {
        let (mut sources, mut files) = (BTreeMap::new(), BTreeMap::new());
        for (path, text) in all {
            let Some((_, inside)) = package(path) else { continue };
            sources.insert(module(inside), Source::read(text));
            files.insert(module(inside), (*path).to_owned());
        }
        let mut package = Self { sources, files };
        package.leave_out_tests();
        package
    }

    /// Modules that are declared under `#[cfg(test)]`, and theirs.
    fn leave_out_tests(&mut self) {
        let mut tests: Vec<Path> = Vec::new();
        for (module, source) in &self.sources {
            tests.extend(source.test_modules.iter().map(|name| [module.as_slice(), &[name.clone()]].concat()));
        }
        self.sources.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    }

    /// The path from the root; `None` if it leads out of the package.
    fn absolute(&self, at: &[String], path: &[String]) -> Option<Path> {
        let at = if at == ["main"] { &[] } else { at };
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([at, rest].concat()),
            "super" => {
                let mut base = at.to_vec();
                let ups = path.iter().take_while(|part| *part == "super").count();
                (0..ups).for_each(|_| drop(base.pop()));
                Some([&base, path.get(ups..)?].concat())
            }
            name => {
                let child = [at, &[name.to_owned()]].concat();
                self.sources.contains_key(&child).then(|| [at, path].concat())
            }
        }
    }

    /// The file in which the item of a path is defined.
    fn file(&self, path: &[String], depth: usize) -> Path {
        let known = |length: &usize| path.get(..*length).is_some_and(|prefix| self.sources.contains_key(prefix));
        let length = (0..=path.len()).rev().find(known).unwrap_or(0);
        let (module, rest) = path.split_at(length);
        let followed = rest.first().filter(|_| depth > 0).and_then(|name| {
            let used = self.sources.get(module)?.uses.iter().find(|used| used.name == *name)?;
            self.absolute(module, &used.path)
        });
        match followed {
            Some(next) if next != path => self.file(&next, depth - 1),
            _ => module.to_vec(),
        }
    }

    /// The files that a file imports from.
    fn imports(&self, module: &Path) -> BTreeSet<Path> {
        const RE_EXPORTS: usize = 8;
        let Some(source) = self.sources.get(module) else { return BTreeSet::new() };
        let paths = source.uses.iter().map(|used: &Item| &used.path).chain(&source.paths);
        let absolute = paths.filter_map(|path| self.absolute(module, path));
        absolute.map(|path| self.file(&path, RE_EXPORTS)).filter(|file| file != module).collect()
    }
}

/// The table's packages, each with its files in order, and the lines on which they stand.
fn table(document: &str) -> BTreeMap<String, Vec<(String, usize)>> {
    let mut table: BTreeMap<String, Vec<(String, usize)>> = BTreeMap::new();
    let (mut inside, mut package) = (false, String::new());
    for (number, line) in (1..).zip(document.lines()) {
        if line.starts_with("```") {
            inside = line == FENCE;
        } else if inside && !line.starts_with(' ') {
            line.trim().clone_into(&mut package);
            table.entry(package.clone()).or_default();
        } else if inside && let Some((_, files)) = line.split_once(':') {
            let files = expand(files).into_iter().map(|file| (file, number));
            table.entry(package.clone()).or_default().extend(files);
        }
    }
    table
}

/// `a b/{c d}` are `a`, `b/c` and `b/d`.
fn expand(files: &str) -> Vec<String> {
    let (mut all, mut folder) = (Vec::new(), String::new());
    for word in files.split_whitespace() {
        let mut word = word;
        if let Some((name, first)) = word.split_once('{') {
            (folder, word) = (name.to_owned(), first);
        }
        let last = word.ends_with('}');
        all.push(format!("{folder}{}", word.trim_end_matches('}')));
        if last {
            folder.clear();
        }
    }
    all
}

/// `sources` are all files of Rust, with their text.
pub(super) fn check<'a>(document: &str, sources: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Finding> {
    let table = table(document);
    let mut packages: BTreeMap<String, Vec<(&str, &str)>> = BTreeMap::new();
    for (path, text) in sources {
        if let Some((name, _)) = package(path) {
            packages.entry(name).or_default().push((path, text));
        }
    }
    let mut findings = Vec::new();
    for (name, files) in &packages {
        match table.get(name) {
            Some(order) => findings.extend(check_package(name, order, &Package::new(files))),
            None => {
                let message = format!("has no layers for `{name}`; list its files from bottom to top");
                findings.push(Finding::new(DOCUMENT, 0, message));
            }
        }
    }
    findings
}

fn check_package(name: &str, order: &[(String, usize)], package: &Package) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut places: BTreeMap<Path, usize> = BTreeMap::new();
    for (place, (file, line)) in order.iter().enumerate() {
        let module: Path = file.split('/').map(str::to_owned).collect();
        if !package.sources.contains_key(&module) {
            findings.push(Finding::new(DOCUMENT, *line, format!("`{file}` of {name} is no file; remove it")));
        } else if places.insert(module, place).is_some() {
            findings.push(Finding::new(DOCUMENT, *line, format!("`{file}` of {name} is listed twice; keep one")));
        }
    }
    for (module, source) in &package.sources {
        let path = &package.files[module];
        let Some(place) = places.get(module) else {
            if !source.is_map {
                let message = format!("has no place among the layers of {name}; add it to the table in {DOCUMENT}");
                findings.push(Finding::new(path, 0, message));
            }
            continue;
        };
        for import in package.imports(module) {
            let what = if import.is_empty() { "the root".to_owned() } else { format!("`{}`", import.join("/")) };
            match places.get(&import) {
                Some(below) if below < place => {}
                Some(_) => {
                    let message = format!(
                        "imports {what}, which stands above it or is part of a circle with it; move the code, pass it in, or \
                         change the layers in {DOCUMENT}"
                    );
                    findings.push(Finding::new(path, 0, message));
                }
                None => {
                    let message =
                        format!("imports {what}, which has no place among the layers; import from the file itself");
                    findings.push(Finding::new(path, 0, message));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{check, expand};

    const TABLE: &str = "# Map\n\n```layers\na\n  words: limits error\n  rooms: rooms/{index local}\n  server: io\n```\n\n```text\nb\n```\n";

    #[track_caller]
    fn findings(table: &str, sources: &[(&str, &str)]) -> Vec<String> {
        check(table, sources.iter().copied()).iter().map(ToString::to_string).collect()
    }

    fn sources<'a>(changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut all = vec![
            (
                "crates/a/src/lib.rs",
                "//! A.\nmod limits;\nmod error;\nmod io;\npub mod rooms;\npub use io::Io;\npub use error::{Bad, Worse as Worst};\n",
            ),
            ("crates/a/src/limits.rs", "pub const MOST: usize = 1;"),
            ("crates/a/src/error.rs", "use crate::limits;\npub struct Bad;\npub struct Worse;"),
            ("crates/a/src/rooms/mod.rs", "mod index;\nmod local;\n#[cfg(test)]\nmod walk;\npub use local::Local;"),
            ("crates/a/src/rooms/index.rs", "use crate::limits::MOST;"),
            ("crates/a/src/rooms/local.rs", "use super::index::Index;\n#[cfg(test)]\nmod tests { use crate::io::Io; }"),
            ("crates/a/src/rooms/walk.rs", "use crate::io::Io;"),
            (
                "crates/a/src/io.rs",
                "// use crate::nothing;\nuse crate::rooms::Local;\nfn f() -> crate::Bad { \"crate::io\" }",
            ),
            ("crates/a/tests/suite/main.rs", "use a::Io;"),
            ("crates/a/src/bin/tool.rs", "use a::Io;"),
        ];
        for (path, text) in changed {
            match all.iter_mut().find(|(other, _)| other == path) {
                Some(source) => source.1 = text,
                None => all.push((path, text)),
            }
        }
        all
    }

    #[test]
    fn what_stands_below_may_be_imported() {
        assert_eq!(findings(TABLE, &sources(&[])), [""; 0]);
    }

    #[test]
    fn an_arrow_up_and_a_circle_are_found() {
        for up in [
            "use crate::io::Io;",
            "use crate::{limits::MOST, Io};",
            "fn f(_: &crate::rooms::Local) {}",
            "fn f(_: super::Io) {}",
        ] {
            let found = findings(TABLE, &sources(&[("crates/a/src/error.rs", up)]));
            assert_eq!(found.len(), 1, "{up}: {found:?}");
            assert!(found[0].starts_with("crates/a/src/error.rs: imports `"), "{found:?}");
        }
        // Through a re-export under another name.
        let found = findings(TABLE, &sources(&[("crates/a/src/limits.rs", "use crate::Worst;")]));
        assert!(found.len() == 1 && found[0].contains("imports `error`"), "{found:?}");
        // Within a layer order counts too, so that there is no circle.
        let circle = [("crates/a/src/rooms/index.rs", "use super::local::Local;")];
        assert_eq!(findings(TABLE, &sources(&circle)).len(), 1);
    }

    #[test]
    fn a_file_without_a_place_is_found_and_so_is_a_place_without_a_file() {
        let found = findings(TABLE, &sources(&[("crates/a/src/new.rs", "struct New;")]));
        assert_eq!(
            found,
            ["crates/a/src/new.rs: has no place among the layers of a; add it to the table in docs/architecture.md"]
        );
        let table = TABLE.replace("words: limits", "words: limits limits gone");
        let found = findings(&table, &sources(&[]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("`limits` of a is listed twice") && found[1].contains("`gone` of a is no file"),
            "{found:?}"
        );
        let found = findings("", &[("sim/src/main.rs", "fn main() {}")]);
        assert!(found.len() == 1 && found[0].contains("no layers for `sim`"), "{found:?}");
    }

    #[test]
    fn nothing_depends_on_a_map() {
        let found = findings(TABLE, &sources(&[("crates/a/src/error.rs", "use crate::rooms;")]));
        assert!(found.len() == 1 && found[0].contains("`rooms`, which has no place"), "{found:?}");
        // With code of its own it is a file like any other.
        let mut all = sources(&[]);
        all.push(("crates/a/src/other.rs", "mod part;\nfn f() {}"));
        assert_eq!(findings(TABLE, &all).len(), 1);
    }

    #[test]
    fn folders_are_written_once() {
        assert_eq!(expand(" a b/{c d} e/{f}"), ["a", "b/c", "b/d", "e/f"]);
    }
}

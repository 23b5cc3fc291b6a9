//! The rule for layers: `docs/architecture.md` lists the files of each package from bottom to top, and a file may import only from files
//! that are listed before it. So files never import one another in a circle.
//!
//! The list is in fenced blocks that begin with "```layers". A line without indentation names a package. Each line below it is a layer: a
//! label and files, such as `sending: queue cluster/{backlog road}`.
//!
//! An import is a `use` or a path such as `crate::rooms::Index`, outside of tests and comments. A path is followed through `pub use` to the
//! file that defines the item. A file that only declares modules and re-exports (`lib.rs`, most `mod.rs`) is a map: it is not listed, and
//! no file may import anything that is defined in it.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::Finding;
use super::source::{Item, Source};

/// The document with the layers.
pub(super) const DOCUMENT: &str = "docs/architecture.md";

const FENCE: &str = "```layers";

/// The name of a source file's package in the list, and the file's path inside `src/`. `None` for files that are not checked.
fn package(path: &str) -> Option<(String, &str)> {
    let (package, inside) = match path.strip_prefix("crates/") {
        Some(rest) => rest.split_once('/')?,
        None => path.split_once('/')?,
    };
    let inside = inside.strip_prefix("src/")?;
    // Each file in `bin/` is a program of its own.
    (!inside.starts_with("bin/")).then(|| (package.to_owned(), inside))
}

/// The module of a file: `["cluster", "queue"]` for `cluster/queue.rs`, the root `[]` for `lib.rs`, and `["main"]` for a program's
/// `main.rs`, because a package may have both.
fn module(file: &str) -> Vec<String> {
    let mut parts: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

type Path = Vec<String>;

/// The modules of a package, with their sources and paths.
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

    /// Removes the modules that are declared under `#[cfg(test)]`, and the modules inside them.
    fn leave_out_tests(&mut self) {
        let mut tests: Vec<Path> = Vec::new();
        for (module, source) in &self.sources {
            tests.extend(
                source.test_modules.iter().map(|name| [module.as_slice(), std::slice::from_ref(name)].concat()),
            );
        }
        self.sources.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
    }

    /// Makes a path in module `at` absolute. `None` if it leads out of the package.
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

    /// The module of the file that defines the item of an absolute path. Follows up to `depth` re-exports.
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

    /// The modules of the files from which a file imports.
    fn imports(&self, module: &Path) -> BTreeSet<Path> {
        /// How many re-exports are followed; ends a circle of them.
        const RE_EXPORTS: usize = 8;
        let Some(source) = self.sources.get(module) else { return BTreeSet::new() };
        let paths = source.uses.iter().map(|used: &Item| &used.path).chain(&source.paths);
        let absolute = paths.filter_map(|path| self.absolute(module, path));
        absolute.map(|path| self.file(&path, RE_EXPORTS)).filter(|file| file != module).collect()
    }
}

/// The packages of the document's layers, each with its files in order and the line of the document in which each is listed.
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

/// Expands folders: `a b/{c d}` becomes `a`, `b/c` and `b/d`.
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

/// `sources` are the paths and texts of all Rust files.
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
                let message =
                    format!("has no layers for `{name}`; list its files from bottom to top in a block ```layers");
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
            findings.push(Finding::new(
                DOCUMENT,
                *line,
                format!("lists `{file}` of {name}, which does not exist; remove it"),
            ));
        } else if places.insert(module, place).is_some() {
            findings.push(Finding::new(DOCUMENT, *line, format!("lists `{file}` of {name} twice; remove one")));
        }
    }
    for (module, source) in &package.sources {
        let path = &package.files[module];
        let Some(place) = places.get(module) else {
            if !source.is_map {
                let message = format!("is in no layer of {name}; add it to the layers in {DOCUMENT}");
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
                        "imports {what}, which is listed above it; move the code, pass a value in, or change the order in \
                         {DOCUMENT}"
                    );
                    findings.push(Finding::new(path, 0, message));
                }
                None => {
                    let message =
                        format!("imports {what}, which is in no layer; import from the file that defines the item");
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
    fn imports_from_layers_below_are_allowed() {
        assert_eq!(findings(TABLE, &sources(&[])), [""; 0]);
    }

    #[test]
    fn an_import_from_above_is_found_and_so_is_a_circle() {
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
        // The order within a layer counts too, so that there can be no circle.
        let circle = [("crates/a/src/rooms/index.rs", "use super::local::Local;")];
        assert_eq!(findings(TABLE, &sources(&circle)).len(), 1);
    }

    #[test]
    fn a_file_in_no_layer_is_found_and_so_is_an_entry_without_a_file() {
        let found = findings(TABLE, &sources(&[("crates/a/src/new.rs", "struct New;")]));
        assert_eq!(found, ["crates/a/src/new.rs: is in no layer of a; add it to the layers in docs/architecture.md"]);
        let table = TABLE.replace("words: limits", "words: limits limits gone");
        let found = findings(&table, &sources(&[]));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("lists `limits` of a twice")
                && found[1].contains("lists `gone` of a, which does not exist"),
            "{found:?}"
        );
        let found = findings("", &[("sim/src/main.rs", "fn main() {}")]);
        assert!(found.len() == 1 && found[0].contains("no layers for `sim`"), "{found:?}");
    }

    #[test]
    fn an_import_from_a_map_is_found() {
        let found = findings(TABLE, &sources(&[("crates/a/src/error.rs", "use crate::rooms;")]));
        assert!(found.len() == 1 && found[0].contains("`rooms`, which is in no layer"), "{found:?}");
        // A file with modules and code is not a map.
        let mut all = sources(&[]);
        all.push(("crates/a/src/other.rs", "mod part;\nfn f() {}"));
        assert_eq!(findings(TABLE, &all).len(), 1);
    }

    #[test]
    fn folders_are_expanded() {
        assert_eq!(expand(" a b/{c d} e/{f}"), ["a", "b/c", "b/d", "e/f"]);
    }
}

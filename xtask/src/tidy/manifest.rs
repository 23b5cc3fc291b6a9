//! [`Manifest`]: as much of a `Cargo.toml` as the rules need: each key with its full path, its value as written, and its line.
//!
//! `a = { b = 1 }`, `a.b = 1` and `[a]` with `b = 1` give the same entry, so that a rule has to know only one form. Multi-line strings are
//! not supported; no manifest of this repository has one.

/// A key with its value. `workspace = true` under `[dependencies.x]` has the path `dependencies`, `x`, `workspace`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    path: Vec<String>,
    value: String,
    line: usize,
}

#[derive(Debug)]
pub(super) struct Manifest {
    path: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Normal and build dependencies for any platform: those that users of the crate compile too.
    Normal,
    Dev,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dependency {
    /// The key in the manifest. It differs from the package's name if the root manifest has `package = "..."`.
    pub(super) key: String,
    pub(super) kind: Kind,
    /// Whether the version comes from the root manifest (`workspace = true`).
    pub(super) inherits: bool,
    pub(super) line: usize,
}

impl Manifest {
    pub(super) fn parse(path: &str, text: &str) -> Manifest {
        let mut entries = Vec::new();
        let mut section = Vec::new();
        for (line, statement) in statements(text) {
            let statement = statement.trim();
            if let Some(header) = statement.strip_prefix('[') {
                section = keys(header.trim_start_matches('[').trim_end_matches(']'));
            } else if let [key, value] = split(statement, '=', 2).as_slice() {
                flatten([section.as_slice(), &keys(key)].concat(), value.trim(), line, &mut entries);
            }
        }
        Manifest { path: path.to_owned(), entries }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn package_name(&self) -> Option<&str> {
        self.value(&["package", "name"])
    }

    /// The version that the packages of the workspace inherit.
    pub(super) fn workspace_version(&self) -> Option<&str> {
        self.value(&["workspace", "package", "version"])
    }

    /// The members that the root manifest lists, as written.
    pub(super) fn members(&self) -> Vec<&str> {
        let list = self.value(&["workspace", "members"]).unwrap_or_default();
        list.trim_matches(['[', ']'])
            .split(',')
            .map(|item| unquoted(item.trim()))
            .filter(|item| !item.is_empty())
            .collect()
    }

    /// The package that `key` stands for in `[workspace.dependencies]` of the root manifest. `None` if the key is not there.
    pub(super) fn shared_package<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        let of_key = ["workspace", "dependencies", key];
        if let Some(renamed) = self.value(&["workspace", "dependencies", key, "package"]) {
            return Some(renamed);
        }
        self.entries.iter().any(|entry| starts_with(&entry.path, &of_key)).then_some(key)
    }

    /// The dependencies of the package, in the order of the file.
    pub(super) fn dependencies(&self) -> Vec<Dependency> {
        let mut found: Vec<Dependency> = Vec::new();
        for entry in &self.entries {
            let table = match entry.path.as_slice() {
                [target, _platform, rest @ ..] if target == "target" => rest,
                path => path,
            };
            let [table, key, properties @ ..] = table else { continue };
            let kind = match table.as_str() {
                "dependencies" | "build-dependencies" => Kind::Normal,
                "dev-dependencies" => Kind::Dev,
                _ => continue,
            };
            let inherits = properties == ["workspace"] && entry.value == "true";
            match found.iter_mut().find(|dependency| dependency.key == *key && dependency.kind == kind) {
                Some(dependency) => dependency.inherits |= inherits,
                None => found.push(Dependency { key: key.clone(), kind, inherits, line: entry.line }),
            }
        }
        found
    }

    fn value(&self, path: &[&str]) -> Option<&str> {
        self.entries.iter().find(|entry| entry.path == path).map(|entry| unquoted(&entry.value))
    }
}

fn starts_with(path: &[String], start: &[&str]) -> bool {
    path.get(..start.len()).is_some_and(|head| head == start)
}

/// Adds `path = value` to `entries`. An inline table becomes an entry for each field.
fn flatten(path: Vec<String>, value: &str, line: usize, entries: &mut Vec<Entry>) {
    let fields = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let Some(fields) = fields.filter(|fields| !fields.trim().is_empty()) else {
        entries.push(Entry { path, value: value.to_owned(), line });
        return;
    };
    for field in split(fields, ',', usize::MAX) {
        if let [key, value] = split(field.trim(), '=', 2).as_slice() {
            flatten([path.as_slice(), &keys(key)].concat(), value.trim(), line, entries);
        }
    }
}

/// The lines of the file with their numbers, without comments. A value in brackets that spans several lines is joined into one.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut statements: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let line = split(line, '#', 2).first().copied().unwrap_or_default();
        match statements.last_mut() {
            Some((_, statement)) if open => *statement = format!("{statement} {}", line.trim()),
            _ => statements.push((index + 1, line.to_owned())),
        }
        open = statements.last().is_some_and(|(_, statement)| depth(statement) > 0);
    }
    statements.retain(|(_, statement)| !statement.trim().is_empty());
    statements
}

/// How many brackets are open at the end of the text.
fn depth(text: &str) -> usize {
    let mut depth = 0_usize;
    outside_strings(text, |_, character| match character {
        '[' | '{' => depth += 1,
        ']' | '}' => depth = depth.saturating_sub(1),
        _ => {}
    });
    depth
}

/// Splits at `separator`, outside strings and brackets, into at most `parts` parts.
fn split(text: &str, separator: char, parts: usize) -> Vec<&str> {
    let mut cuts = Vec::new();
    let mut depth = 0_usize;
    outside_strings(text, |position, character| match character {
        // A comment may begin inside a list that continues in the next line.
        _ if character == separator && (depth == 0 || separator == '#') => cuts.push(position),
        '[' | '{' => depth += 1,
        ']' | '}' => depth = depth.saturating_sub(1),
        _ => {}
    });
    cuts.truncate(parts.saturating_sub(1));
    let mut pieces = Vec::new();
    let mut start = 0;
    for cut in cuts {
        pieces.extend(text.get(start..cut));
        start = cut + separator.len_utf8();
    }
    pieces.extend(text.get(start..));
    pieces
}

fn outside_strings(text: &str, mut visit: impl FnMut(usize, char)) {
    let mut quote = None;
    let mut escaped = false;
    for (position, character) in text.char_indices() {
        match quote {
            // Only basic strings ("...") have escapes. Literal strings ('...') have none.
            Some('"') if escaped => escaped = false,
            Some('"') if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if matches!(character, '"' | '\'') => quote = Some(character),
            None => visit(position, character),
        }
    }
}

/// The parts of a dotted key: `a."b.c".d` has three.
fn keys(dotted: &str) -> Vec<String> {
    split(dotted.trim(), '.', usize::MAX).into_iter().map(|key| unquoted(key.trim()).to_owned()).collect()
}

fn unquoted(text: &str) -> &str {
    let inside = |quote| text.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{Kind, Manifest};

    #[track_caller]
    fn check(text: &str, expected: &[(&str, Kind, bool, usize)]) {
        let found = Manifest::parse("Cargo.toml", text).dependencies();
        let found: Vec<_> = found.iter().map(|it| (it.key.as_str(), it.kind, it.inherits, it.line)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_dependency_is_found_in_every_form() {
        check("[dependencies]\na.workspace = true", &[("a", Kind::Normal, true, 2)]);
        check("[dependencies]\na = { workspace = true, features = [\"x\"] }", &[("a", Kind::Normal, true, 2)]);
        check("[dependencies.a]\nworkspace = true", &[("a", Kind::Normal, true, 2)]);
        check("[dependencies]\n'a' = \"1.0\" # no\n", &[("a", Kind::Normal, false, 2)]);
        check("[dependencies]\na = { version = \"1\", workspace = false }", &[("a", Kind::Normal, false, 2)]);
        check("[dependencies]\na = {}", &[("a", Kind::Normal, false, 2)]);
        check("[build-dependencies]\na = \"1\"", &[("a", Kind::Normal, false, 2)]);
        check("[dev-dependencies]\na.workspace = true", &[("a", Kind::Dev, true, 2)]);
        check("[target.'cfg(any(unix, a = \"b.c\"))'.dependencies]\na = \"1\"", &[("a", Kind::Normal, false, 2)]);
        check("[target.\"cfg(unix)\".dependencies.a]\nworkspace = true", &[("a", Kind::Normal, true, 2)]);
    }

    #[test]
    fn a_value_that_spans_several_lines_is_joined() {
        let text = "[dependencies]\na = { workspace = true, features = [\n  \"x\", # why ]\n  \"y\",\n] }\nb.workspace = true\n";
        check(text, &[("a", Kind::Normal, true, 2), ("b", Kind::Normal, true, 6)]);
    }

    #[test]
    fn other_tables_are_not_dependencies() {
        check(
            "[features]\ndependencies = [\"a\"]\n[package.metadata.x]\ndependencies = 1\n# [dependencies]\n# a = 1",
            &[],
        );
        check("[package]\nname = \"a\"\n\n[workspace.dependencies]\nb = \"1\"", &[]);
    }

    #[test]
    fn the_root_manifest_has_members_and_shared_packages() {
        let text = "[workspace]\nmembers = [\"crates/*\",\n  \"xtask\"]\n[workspace.dependencies]\na = \"1\"\n\
                    b = { package = \"real-b\", version = \"1\" }\n";
        let root = Manifest::parse("Cargo.toml", text);
        assert_eq!(root.members(), ["crates/*", "xtask"]);
        assert_eq!(root.shared_package("a"), Some("a"));
        assert_eq!(root.shared_package("b"), Some("real-b"));
        assert_eq!(root.shared_package("c"), None);
        assert_eq!(root.package_name(), None);
    }
}

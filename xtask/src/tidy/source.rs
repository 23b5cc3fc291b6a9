//! [`Source`]: what the rules need to know about a Rust file: what it imports, and which modules it declares.
//!
//! This is not a parser: it removes comments, literals and tests, and reads the rest word by word. That is enough for code that rustfmt has
//! formatted, and needs no crate.

/// A name that a `use` imports, and the path of what it imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) path: Vec<String>,
}

/// What is known about a file.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub(super) uses: Vec<Item>,
    /// Paths of two names or more in the code.
    pub(super) paths: Vec<Vec<String>>,
    /// Modules that are declared under `#[cfg(test)]`.
    pub(super) test_modules: Vec<String>,
    /// Whether the file only declares modules and re-exports.
    pub(super) is_map: bool,
}

impl Source {
    pub(super) fn read(text: &str) -> Self {
        let tokens = tokens(&without_comments(text));
        let mut source = Self { is_map: true, ..Self::default() };
        let mut rest = tokens.as_slice();
        while let Some(token) = rest.first() {
            rest = match token.as_str() {
                "#" => {
                    let end = closing(rest, "[", "]");
                    let (attribute, item) = rest.split_at(end);
                    let is_test = attribute.get(2).is_some_and(|name| name == "cfg")
                        && attribute.iter().any(|word| word == "test" || word == "doctest");
                    if is_test { source.test(item) } else { item }
                }
                "use" => source.import(rest),
                "mod" => declared(rest),
                "pub" => {
                    let end = if rest.get(1).is_some_and(|next| next == "(") { closing(rest, "(", ")") } else { 1 };
                    rest.get(end..).unwrap_or_default()
                }
                _ => {
                    source.is_map = false;
                    source.code(rest)
                }
            };
        }
        source
    }

    /// Skips an item under `#[cfg(test)]` and returns what follows.
    fn test<'a>(&mut self, item: &'a [String]) -> &'a [String] {
        let named = item.iter().position(|word| word == "mod").filter(|position| *position < 5);
        let semicolon = item.iter().position(|word| word == ";").unwrap_or(item.len());
        let brace = item.iter().position(|word| word == "{").unwrap_or(item.len());
        // `use a::{b};` has braces too.
        let is_use = item.iter().take(5.min(brace)).any(|word| word == "use");
        if semicolon < brace || is_use {
            if let Some(name) = named.and_then(|position| item.get(position + 1)) {
                self.test_modules.push(name.clone());
            }
            return item.get(semicolon + 1..).unwrap_or_default();
        }
        item.get(closing(item, "{", "}")..).unwrap_or_default()
    }

    fn import<'a>(&mut self, rest: &'a [String]) -> &'a [String] {
        let end = rest.iter().position(|word| word == ";").unwrap_or(rest.len());
        self.tree(&[], rest.get(1..end).unwrap_or_default());
        rest.get(end + 1..).unwrap_or_default()
    }

    /// Reads a `use` tree such as `a::{b, c as d}`, whose path begins with `before`.
    fn tree(&mut self, before: &[String], tree: &[String]) {
        let mut path = before.to_vec();
        let mut words = tree;
        while let Some((word, rest)) = words.split_first() {
            match word.as_str() {
                "::" => {}
                "{" => {
                    let end = closing(words, "{", "}");
                    for part in split(words.get(1..end - 1).unwrap_or_default()) {
                        self.tree(&path, part);
                    }
                    return;
                }
                "as" => {
                    let name = rest.first().cloned().unwrap_or_default();
                    self.uses.push(Item { name, path });
                    return;
                }
                name => path.push(name.to_owned()),
            }
            words = rest;
        }
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let Some(name) = path.last().cloned() {
            self.uses.push(Item { name, path });
        }
    }

    /// Reads a word or a path of the code and returns what follows.
    fn code<'a>(&mut self, rest: &'a [String]) -> &'a [String] {
        let mut length = 1;
        while rest.get(length).is_some_and(|word| word == "::")
            && rest.get(length + 1).is_some_and(|word| is_name(word))
        {
            length += 2;
        }
        if length > 1 && rest.first().is_some_and(|word| is_name(word)) {
            let names = rest.iter().take(length).filter(|word| *word != "::");
            self.paths.push(names.cloned().collect());
        }
        rest.get(length..).unwrap_or_default()
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Skips `mod name;`, and of `mod name { … }` only the beginning: its items are read as if they were items of the file.
fn declared(rest: &[String]) -> &[String] {
    let end = rest.iter().position(|word| word == ";" || word == "{").unwrap_or(rest.len());
    rest.get(end + 1..).unwrap_or_default()
}

/// The number of words up to and including the bracket that closes the first one.
fn closing(words: &[String], open: &str, close: &str) -> usize {
    let mut depth = 0_usize;
    for (position, word) in words.iter().enumerate() {
        if word == open {
            depth += 1;
        } else if word == close {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return position + 1;
            }
        }
    }
    words.len()
}

/// The parts between commas that are not inside braces.
fn split(words: &[String]) -> Vec<&[String]> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0_i32, 0);
    for (position, word) in words.iter().enumerate() {
        match word.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 0 => {
                parts.push(words.get(begin..position).unwrap_or_default());
                begin = position + 1;
            }
            _ => {}
        }
    }
    parts.push(words.get(begin..).unwrap_or_default());
    parts.retain(|part| !part.is_empty());
    parts
}

/// The words of the text: names, `::`, and single characters.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|other: char| !other.is_alphanumeric() && other != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        if !first.is_whitespace() {
            tokens.push(token.to_owned());
        }
        rest = after;
    }
    tokens
}

/// The text without comments, with a `0` in place of each literal.
fn without_comments(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest).or_else(|| string(rest)).or_else(|| character(rest)) {
            code.push('0');
            length
        } else {
            code.push(first);
            // A name is taken as a whole: an `r` at its end does not begin a raw string.
            if first.is_alphanumeric() || first == '_' {
                let length = rest.find(|other: char| !other.is_alphanumeric() && other != '_').unwrap_or(rest.len());
                code.push_str(rest.get(first.len_utf8()..length).unwrap_or_default());
                length
            } else {
                first.len_utf8()
            }
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    code
}

/// The length in bytes of the string literal at the beginning of the text.
fn string(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('"').or_else(|| text.strip_prefix("b\""))?;
    let mut escaped = false;
    for (position, character) in inside.char_indices() {
        match character {
            '"' if !escaped => return Some(text.len() - inside.len() + position + 1),
            _ => escaped = character == '\\' && !escaped,
        }
    }
    Some(text.len())
}

fn raw_string(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = inside.len() - inside.trim_start_matches('#').len();
    let body = inside.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |position| position + end.len());
    Some(text.len() - body.len() + length)
}

/// The length in bytes of the character literal at the beginning of the text. `None` for a lifetime.
fn character(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'').or_else(|| text.strip_prefix("b'"))?;
    let mut characters = inside.char_indices();
    let (_, first) = characters.next()?;
    let end = if first == '\\' {
        let after = inside.get(2..)?;
        after.find('\'')? + 2
    } else {
        let (position, next) = characters.next()?;
        if next != '\'' {
            return None;
        }
        position
    };
    Some(text.len() - inside.len() + end + 1)
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[track_caller]
    fn check(text: &str, uses: &[&str], paths: &[&str]) {
        let source = Source::read(text);
        let shown: Vec<String> =
            source.uses.iter().map(|item| format!("{}={}", item.name, item.path.join("::"))).collect();
        assert_eq!(shown, uses, "{text}");
        let shown: Vec<String> = source.paths.iter().map(|path| path.join("::")).collect();
        assert_eq!(shown, paths, "{text}");
    }

    #[test]
    fn imports_are_read() {
        check("use a::b;", &["b=a::b"], &[]);
        check("pub(crate) use a::{b, c::{d, self}, e as f};", &["b=a::b", "d=a::c::d", "c=a::c", "f=a::e"], &[]);
        check("use super::*;", &["*=super::*"], &[]);
        check("fn f(a: &crate::b::C) -> u8 { d::e(1) }", &[], &["crate::b::C", "d::e"]);
    }

    #[test]
    fn comments_literals_and_tests_are_left_out() {
        check("// use a::b;\n/* use c::d; */ /// use e::f;\n", &[], &[]);
        check(
            r##"const A: &str = "use a::b; \" c::d"; const B: &str = r#"e::"f"#; const C: char = '"'; g::h"##,
            &[],
            &["g::h"],
        );
        check("fn f<'a>(b: &'a str, c: char) { let d = '\\''; e::f }", &[], &["e::f"]);
        check(
            "#[cfg(test)]\nmod tests { use a::b; fn c() {} }\n#[cfg(test)]\nuse c::{d, e};\nuse g::h;",
            &["h=g::h"],
            &[],
        );
        check(
            "#[cfg(test)]\npub(crate) struct A;\n#[cfg(test)]\nimpl A { fn b() { c::d() } }\nuse g::h;",
            &["h=g::h"],
            &[],
        );
    }

    #[test]
    fn modules_for_tests_are_listed() {
        let source =
            Source::read("mod a;\n#[cfg(test)]\nmod b;\n#[cfg(all(test, not(loom)))]\nmod c;\n#[cfg(unix)]\nmod d;");
        assert_eq!(source.test_modules, ["b", "c"]);
        assert!(source.is_map);
    }

    #[test]
    fn a_map_only_declares_modules_and_re_exports() {
        assert!(Source::read("//! A.\nmod a;\npub mod b;\n#[doc(hidden)]\npub use a::{B, C};").is_map);
        assert!(!Source::read("mod a;\nfn f() {}").is_map);
    }
}

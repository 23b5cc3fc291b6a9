//! The rule for limits: every public constant of a crate's `limits.rs` has a row in `docs/limits.md`, and each row has the constant's value.
//!
//! The document has a section for each crate, such as `## roomcast-engine`, with tables whose first two columns are the name and the value
//! of a constant. A row may also name a constant of another file of the crate, for limits that are private to that file.

use std::collections::BTreeMap;

use super::finding::Finding;

/// The document with all limits.
pub(super) const DOCUMENT: &str = "docs/limits.md";

/// A constant of a crate.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Constant {
    path: String,
    public: bool,
    /// Its value as the source has it.
    expression: String,
}

/// The constants of a crate by name, without those of tests and test kits. A name may be declared in several files.
type Constants = BTreeMap<String, Vec<Constant>>;

/// A value: a plain number, such as of bytes or packets, or a time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    Number(u128),
    Milliseconds(u128),
}

/// A row of the document.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    line: usize,
    /// The heading above it.
    section: &'a str,
    name: &'a str,
    value: &'a str,
}

/// Checks `document`. `sources` are the paths and texts of all Rust files.
pub(super) fn check<'a>(document: &str, sources: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Finding> {
    let crates = constants(sources);
    let rows = rows(document);
    let mut findings = Vec::new();
    for row in &rows {
        let mut say = |message: String| findings.push(Finding::new(DOCUMENT, row.line, message));
        let known = crates.get(row.section).and_then(|constants| Some((constants, constants.get(row.name)?)));
        let Some((constants, found)) = known else {
            let Row { name, section, .. } = row;
            say(format!("`{name}` is not a constant of {section}; remove the row, or correct the name or the heading"));
            continue;
        };
        let values: Vec<Option<Value>> =
            found.iter().map(|constant| evaluate(&constant.expression, constants)).collect();
        let written = shown(row.value);
        if written.is_none() {
            let form = "1,000, 64 KiB, 2^53 - 1, 25 s or 100 ms";
            say(format!(
                "the value `{}` of `{}` cannot be read; write it in a form such as {form}",
                row.value, row.name
            ));
        } else if !values.contains(&written) {
            let is = found.first().map_or("", |constant| constant.expression.as_str());
            let path = found.first().map_or("", |constant| constant.path.as_str());
            let right = values.first().copied().flatten().map_or_else(|| is.to_owned(), |value| write(value, is));
            say(format!(
                "says {} for `{}`, but {path} says {right}; correct the one that is wrong",
                row.value, row.name
            ));
        }
    }
    for (package, constants) in &crates {
        for (name, found) in constants {
            let Some(constant) = found.iter().find(|constant| constant.public && is_limits(&constant.path)) else {
                continue;
            };
            if !rows.iter().any(|row| row.section == package && row.name == name) {
                let value = evaluate(&constant.expression, constants)
                    .map_or_else(|| "?".to_owned(), |value| write(value, &constant.expression));
                findings.push(Finding::new(
                    DOCUMENT,
                    0,
                    format!(
                        "has no row for `{name}` of {}; add under `## {package}`: \
                         | `{name}` | {value} | what is counted | option or – | what happens beyond it |",
                        constant.path
                    ),
                ));
            }
        }
    }
    findings
}

fn is_limits(path: &str) -> bool {
    path.ends_with("/src/limits.rs")
}

/// All constants, by package and name.
fn constants<'a>(sources: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, Constants> {
    let mut crates: BTreeMap<String, Constants> = BTreeMap::new();
    for (path, text) in sources {
        let Some((package, file)) = path.strip_prefix("crates/").and_then(|rest| rest.split_once("/src/")) else {
            continue;
        };
        if file.contains("testkit/") || file.contains("tests/") || file.ends_with("tests.rs") {
            continue;
        }
        let constants = crates.entry(package.to_owned()).or_default();
        let mut rest = text;
        while let Some(at) = rest.find("const ") {
            let (before, after) = rest.split_at(at);
            rest = after.get("const ".len()..).unwrap_or_default();
            // The line must begin with `const` or `pub`, which leaves out comments and generic parameters.
            let start = before.rsplit('\n').next().unwrap_or_default().trim();
            if !(start.is_empty() || start.starts_with("pub")) || start.contains("//") {
                continue;
            }
            let Some((declared, _)) = rest.split_once(';') else { continue };
            let Some((named, expression)) = declared.split_once('=') else { continue };
            let Some((name, _)) = named.split_once(':') else { continue };
            let constant = Constant {
                path: path.to_owned(),
                public: start == "pub",
                expression: expression.split_whitespace().collect::<Vec<_>>().join(" "),
            };
            constants.entry(name.trim().to_owned()).or_default().push(constant);
        }
    }
    crates
}

/// The rows of the document whose first cell is the name of a constant.
fn rows(document: &str) -> Vec<Row<'_>> {
    let mut section = "";
    let mut rows = Vec::new();
    for (index, line) in document.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim().trim_matches('`');
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", name, value, ..] = cells.as_slice() else { continue };
        let name = name.strip_prefix('`').and_then(|name| name.strip_suffix('`'));
        if let Some(name) = name.filter(|name| {
            name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_' || letter.is_ascii_digit())
        }) {
            rows.push(Row { line: index + 1, section, name, value });
        }
    }
    rows
}

/// Reads a value of the document, such as `1,000`, `64 KiB`, `2^53 - 1` or `25 s`.
fn shown(text: &str) -> Option<Value> {
    let plain = text.replace(',', "").replace('−', "-");
    let plain = plain.trim();
    if let Some((base, rest)) = plain.split_once('^') {
        let (power, less) = rest.split_once('-').unwrap_or((rest, "0"));
        let base: u128 = base.trim().parse().ok()?;
        let number = base.checked_pow(power.trim().parse().ok()?)?.checked_sub(less.trim().parse().ok()?)?;
        return Some(Value::Number(number));
    }
    let (number, unit) = plain.split_once(' ').unwrap_or((plain, ""));
    let number: u128 = number.parse().ok()?;
    match unit.trim() {
        "" | "bytes" => Some(Value::Number(number)),
        "KiB" => Some(Value::Number(number << 10)),
        "MiB" => Some(Value::Number(number << 20)),
        "GiB" => Some(Value::Number(number << 30)),
        "ms" => Some(Value::Milliseconds(number)),
        "s" => Some(Value::Milliseconds(number * 1_000)),
        "min" => Some(Value::Milliseconds(number * 60_000)),
        _ => None,
    }
}

/// Writes a value in a form that [`shown`] reads. A number whose expression contains 1024 is taken for bytes, and written in KiB or MiB if
/// it is a multiple.
fn write(value: Value, expression: &str) -> String {
    let bytes = expression.contains("1024");
    match value {
        Value::Milliseconds(number) if number % 1_000 == 0 => format!("{} s", number / 1_000),
        Value::Milliseconds(number) => format!("{} ms", grouped(number)),
        Value::Number(number) if bytes && number >= 1 << 20 && number % (1 << 20) == 0 => {
            format!("{} MiB", number >> 20)
        }
        Value::Number(number) if bytes && number >= 1 << 14 && number % (1 << 10) == 0 => {
            format!("{} KiB", number >> 10)
        }
        Value::Number(number) => grouped(number),
    }
}

/// A number with commas between groups of three digits.
fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Evaluates the expression of a constant. It may contain whole numbers, other constants of the crate, `+ - * / <<`, parentheses, and
/// `Duration::from_…`. `None` if it contains anything else.
fn evaluate(expression: &str, constants: &Constants) -> Option<Value> {
    for (function, milliseconds) in [("from_secs", 1_000), ("from_millis", 1), ("from_mins", 60_000)] {
        let called = expression.trim().strip_prefix("Duration::").and_then(|rest| rest.strip_prefix(function));
        if let Some(inside) = called.and_then(|rest| rest.trim().strip_prefix('(')?.strip_suffix(')')) {
            return number(inside, constants, 0).map(|number| Value::Milliseconds(number * milliseconds));
        }
    }
    number(expression, constants, 0).map(Value::Number)
}

/// How many constants may refer to one another in a chain. A constant that refers to itself must not hang the check.
const MAX_REFERENCES: usize = 8;

fn number(expression: &str, constants: &Constants, depth: usize) -> Option<u128> {
    let text = expression.trim();
    if depth > MAX_REFERENCES {
        return None;
    }
    // Splits at the last operator of the lowest precedence outside parentheses.
    for operators in [&["<<"][..], &["+", "-"], &["*", "/"]] {
        let mut open = 0;
        let found = text.char_indices().rev().find_map(|(at, letter)| {
            match letter {
                ')' => open += 1,
                '(' => open -= 1,
                _ => {}
            }
            let operator =
                operators.iter().find(|operator| text.get(at..).is_some_and(|rest| rest.starts_with(**operator)))?;
            (open == 0 && at > 0).then_some((at, *operator))
        });
        if let Some((at, operator)) = found {
            let left = number(text.get(..at)?, constants, depth)?;
            let right = number(text.get(at + operator.len()..)?, constants, depth)?;
            return match operator {
                "<<" => left.checked_shl(u32::try_from(right).ok()?),
                "+" => left.checked_add(right),
                "-" => left.checked_sub(right),
                "*" => left.checked_mul(right),
                _ => left.checked_div(right),
            };
        }
    }
    if let Some(inside) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) {
        return number(inside, constants, depth);
    }
    if let Ok(number) = text.replace('_', "").parse() {
        return Some(number);
    }
    let name = text.rsplit("::").next()?;
    constants.get(name)?.iter().find_map(|constant| number(&constant.expression, constants, depth + 1))
}

#[cfg(test)]
mod tests {
    use super::{check, shown, write};

    const LIMITS: &str = "//! Bounds.\n\n/// const NO: it is a comment.\npub const BYTES: usize = 64 * 1024;\n\
                          pub const PART: usize = BYTES / 4 - (1 << 3);\npub const WAIT: Duration = Duration::from_millis(1_500);\n\
                          const fn no() {}\nconst OWN: u32 = 7;\n";
    const OTHER: &str = "/// A bound of this file.\nconst BATCH: usize =\n    64;\n";
    const GOOD: &str = "## roomcast-a\n\n| constant | value |\n|---|---|\n| `BYTES` | 64 KiB | b |\n| `PART` | 16,376 | b |\n\
                        | `WAIT` | 1,500 ms | b |\n| `BATCH` | 64 | b |\n";

    #[track_caller]
    fn findings(document: &str) -> Vec<String> {
        let sources = [("crates/roomcast-a/src/limits.rs", LIMITS), ("crates/roomcast-a/src/b.rs", OTHER)];
        check(document, sources.into_iter()).iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn one(document: &str, expected: &str) {
        let found = findings(document);
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?} should be one with {expected:?}");
    }

    #[test]
    fn a_document_with_all_constants_has_no_finding() {
        assert_eq!(findings(GOOD), [""; 0]);
    }

    #[test]
    fn a_constant_without_a_row_is_found_and_the_finding_has_the_row_to_add() {
        one(&GOOD.replace("| `PART` | 16,376 | b |\n", ""), "add under `## roomcast-a`: | `PART` | 16,376 | what");
        one(&GOOD.replace("| `WAIT` | 1,500 ms | b |\n", ""), "| `WAIT` | 1,500 ms |");
        // Private constants may have a row, but need none.
        assert_eq!(findings(&GOOD.replace("| `BATCH` | 64 | b |\n", "")), [""; 0]);
    }

    #[test]
    fn a_row_with_another_number_or_unit_is_found() {
        one(
            &GOOD.replace("16,376", "16,377"),
            "docs/limits.md:6: says 16,377 for `PART`, but crates/roomcast-a/src/limits.rs says 16,376",
        );
        one(&GOOD.replace("64 KiB", "64 MiB"), "says 64 MiB for `BYTES`");
        one(&GOOD.replace("1,500 ms", "1,500"), "says 1,500 for `WAIT`");
        one(&GOOD.replace("| 64 | b |", "| 65 | b |"), "crates/roomcast-a/src/b.rs says 64");
        one(&GOOD.replace("| 64 | b |", "| some | b |"), "cannot be read");
    }

    #[test]
    fn a_row_without_a_constant_is_found() {
        one(&format!("{GOOD}| `GONE` | 1 | b |\n"), "`GONE` is not a constant of roomcast-a");
        assert_eq!(findings(&GOOD.replace("## roomcast-a", "## roomcast-b")).len(), 4 + 3);
    }

    #[test]
    fn written_values_are_read_back() {
        for text in ["7", "1,000", "16 KiB", "1 MiB", "16,385", "25 s", "100 ms", "600 s"] {
            assert_eq!(shown(text).map(|value| write(value, "1024")).as_deref(), Some(text));
        }
        assert_eq!(shown("16,384").map(|value| write(value, "16_384")).as_deref(), Some("16,384"));
        assert_eq!(shown("2^53 − 1"), shown("9,007,199,254,740,991"));
        assert_eq!([shown("many"), shown("5 apples"), shown("")], [None; 3]);
    }
}

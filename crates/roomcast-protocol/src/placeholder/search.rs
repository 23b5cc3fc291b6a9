//! The placeholders in a text.

use crate::json::scanner::Scanner;
use crate::limits::MAX_DEPTH_OPTION;
use crate::placeholder::finder::{Placeholder, PlaceholderFinder};

/// The placeholders in `items`, which are values with commas between them, among `count` attachments. Text that is not
/// JSON ends the search.
pub(crate) fn find(items: &str, count: usize) -> Vec<Placeholder> {
    if let Some(alone) = Placeholder::alone(items, count) {
        return vec![alone];
    }
    search(items, PlaceholderFinder::collecting(count, false))
}

/// All placeholders in `items`, including those inside others. None of them has a number.
pub(super) fn find_nested(items: &str) -> Vec<Placeholder> {
    search(items, PlaceholderFinder::collecting(0, true))
}

fn search(items: &str, mut finder: PlaceholderFinder) -> Vec<Placeholder> {
    let mut scanner = Scanner::new(items, MAX_DEPTH_OPTION);
    while scanner.value(Some(&mut finder)).is_ok() {
        scanner.skip_white_space();
        if !scanner.take(b',') {
            break;
        }
    }
    finder.into_found()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(items: &str, count: usize) -> Vec<(&str, Option<usize>)> {
        let found = find(items, count).into_iter();
        found.map(|placeholder| (&items[placeholder.range], placeholder.number)).collect()
    }

    #[test]
    fn placeholders_are_found_where_they_are() {
        let (zero, one) = (r#"{"_placeholder":true,"num":0}"#, r#"{ "num":1 , "\u005fplaceholder" : true,"x":[{}] }"#);
        let items = format!(r#"1,{{"a":[{zero},{{"b":{one}}}],"num":0}} , {zero},"_placeholder""#);
        assert_eq!(found(&items, 2), [(zero, Some(0)), (one, Some(1)), (zero, Some(0))]);
        assert_eq!(found("", 1), []);
        assert_eq!(found(&format!("{zero},]{zero}"), 1), [(zero, Some(0))]);
    }

    #[test]
    fn a_number_names_an_attachment_or_none() {
        for (number, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0.0", Some(0)),
            ("1e0", Some(1)),
            ("10e-1", Some(1)),
            ("1.0", Some(1)),
            ("2", None),
            ("-1", None),
            ("0.5", None),
            ("1e400", None),
            ("9007199254740993", None),
            ("\"0\"", None),
            ("null", None),
            ("true", None),
            ("[0]", None),
            ("{}", None),
        ] {
            let text = format!(r#"{{"_placeholder":true,"num":{number}}}"#);
            assert_eq!(found(&text, 2), [(&*text, expected)], "{number}");
            let mut checking = PlaceholderFinder::checking(2);
            assert!(Scanner::new(&text, 8).value(Some(&mut checking)).is_ok());
            assert_eq!(checking.is_illegal(), expected.is_none(), "{number}");
        }
    }

    #[test]
    fn what_is_inside_a_placeholder_does_not_count() {
        let text = r#"[{"_placeholder":true,"x":{"_placeholder":true,"num":9},"num":0}]"#;
        assert_eq!(found(text, 1), [(&text[1..text.len() - 1], Some(0))]);
        let mut checking = PlaceholderFinder::checking(1);
        assert!(Scanner::new(text, 8).value(Some(&mut checking)).is_ok());
        assert!(!checking.is_illegal());
        // What comes before it still counts.
        let mut checking = PlaceholderFinder::checking(1);
        let text = format!(r#"[{{"_placeholder":true}},{}]"#, &text[1..text.len() - 1]);
        assert!(Scanner::new(&text, 8).value(Some(&mut checking)).is_ok());
        assert!(checking.is_illegal());
    }
}

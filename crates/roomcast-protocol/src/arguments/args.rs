//! [`Args`]: the arguments of an event or an acknowledgement, as raw JSON text plus attachments.

use crate::arguments::byte_str::ByteStr;
use crate::json::scanner::Scanner;
use crate::limits::MAX_DEPTH_OPTION;
use bytes::Bytes;

/// Arguments of a packet: the JSON text of the values, with commas between them and no brackets around them, and the
/// attachments that placeholders in the text stand for. They are parsed only when a handler asks for a type.
///
/// Cloning shares the text and the attachments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args {
    items: ByteStr,
    attachments: Vec<Bytes>,
}

impl Args {
    /// No arguments.
    pub const fn none() -> Self {
        Self { items: ByteStr::from_static(""), attachments: Vec::new() }
    }

    /// Arguments from their parts. `items` must be JSON values with commas between them, as [`Event`](crate::Event) and
    /// the adapters' decoders return them. That is not checked.
    pub fn from_parts(items: ByteStr, attachments: Vec<Bytes>) -> Self {
        Self { items, attachments }
    }

    /// The JSON text: values with commas between them.
    pub fn items(&self) -> &str {
        self.items.as_str()
    }

    /// [`Args::items`] as bytes, which costs no UTF-8 check.
    pub fn items_bytes(&self) -> &[u8] {
        self.items.as_bytes()
    }

    /// What the placeholders `{"_placeholder":true,"num":N}` in the text stand for.
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// Whether there is no argument.
    pub fn is_empty(&self) -> bool {
        self.items.as_bytes().is_empty()
    }

    /// The arguments without the first `count`. Attachments stay, as the text refers to them by number.
    #[must_use]
    pub fn skip(&self, count: usize) -> Self {
        let mut rest = self.as_ref().iter();
        rest.by_ref().take(count).for_each(drop);
        Self { items: ByteStr::from(rest.as_str()), attachments: self.attachments.clone() }
    }

    /// The arguments followed by one more. `item` must be a JSON value, which is not checked. The text is copied once.
    #[must_use]
    pub fn with_item(&self, item: &str) -> Self {
        let mut items = Vec::with_capacity(self.items.as_bytes().len() + 1 + item.len());
        items.extend_from_slice(self.items.as_bytes());
        if !items.is_empty() {
            items.push(b',');
        }
        items.extend_from_slice(item.as_bytes());
        // Both parts are UTF-8, so the default is never taken.
        Self { items: ByteStr::from_utf8(items.into()).unwrap_or_default(), attachments: self.attachments.clone() }
    }

    /// Whether the last argument is a string.
    pub fn ends_in_text(&self) -> bool {
        // Of all JSON values, only a string ends with a quotation mark.
        self.items.as_bytes().trim_ascii_end().last() == Some(&b'"')
    }

    /// The same arguments, borrowed.
    pub fn as_ref(&self) -> ArgsRef<'_> {
        ArgsRef { items: self.items.as_str(), attachments: &self.attachments }
    }
}

/// Borrowed [`Args`]: what a decoder returns without copying the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArgsRef<'a> {
    /// JSON values with commas between them.
    pub items: &'a str,
    /// What the placeholders in the text stand for.
    pub attachments: &'a [Bytes],
}

impl<'a> ArgsRef<'a> {
    /// Copies the text; the attachments are shared.
    pub fn to_owned(self) -> Args {
        Args { items: ByteStr::from(self.items), attachments: self.attachments.to_vec() }
    }

    /// The raw JSON text of each argument.
    pub fn iter(self) -> ArgsIter<'a> {
        ArgsIter { rest: self.items }
    }
}

/// Iterator over the raw JSON text of arguments.
#[derive(Debug, Clone)]
pub struct ArgsIter<'a> {
    rest: &'a str,
}

impl<'a> ArgsIter<'a> {
    /// The text of the arguments that are still to come.
    pub fn as_str(&self) -> &'a str {
        self.rest
    }
}

impl<'a> Iterator for ArgsIter<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let mut scanner = Scanner::new(self.rest, MAX_DEPTH_OPTION);
        let Ok(_) = scanner.value(None) else {
            // Only unchecked text gets here. It is returned whole, and fails where it is parsed.
            return Some(std::mem::take(&mut self.rest));
        };
        let (item, rest) = self.rest.split_at(scanner.position());
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        self.rest = rest.strip_prefix(',').unwrap_or_default();
        Some(item.trim_ascii_start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_split_at_top_level_commas_only() {
        let args = ArgsRef { items: r#" 1 , "a,b" ,[1,2],{"c":[3,4]},null"#, attachments: &[] };
        assert_eq!(args.iter().collect::<Vec<_>>(), ["1", r#""a,b""#, "[1,2]", r#"{"c":[3,4]}"#, "null"]);
        assert_eq!(ArgsRef::default().iter().count(), 0);
    }

    #[test]
    fn one_more_item() {
        let args = Args::from_parts(r#""chat",[1]"#.into(), vec![Bytes::from_static(b"x")]);
        let more = args.with_item(r#""é""#);
        assert_eq!((more.items(), more.attachments()), (r#""chat",[1],"é""#, args.attachments()));
        assert_eq!(Args::none().with_item("null").items(), "null");
        assert!(more.ends_in_text() && !args.ends_in_text() && !Args::none().ends_in_text());
        assert!(Args::from_parts(r#""a\"" "#.into(), Vec::new()).ends_in_text());
        assert!(!Args::from_parts(r#""a",["b"]"#.into(), Vec::new()).ends_in_text());
    }

    #[test]
    fn unchecked_text_ends_the_iteration() {
        let args = ArgsRef { items: "1,]", attachments: &[] };
        assert_eq!(args.iter().collect::<Vec<_>>(), ["1", "]"]);
    }
}

//! [`walk`]: a walk over JSON text that finds its tokens, without a tree and without recursion.

use super::error::MsgpackError;
use crate::json::error::JsonError;
use crate::json::kind::JsonKind;
use crate::json::scanner::Scanner;
use crate::limits::MAX_DEPTH_OPTION;

/// What a walk over JSON text finds.
#[derive(Clone, Copy)]
pub(super) enum Token<'a> {
    /// An array, or an object if `true`.
    Open(bool),
    /// A member's name, without its quotes, with its escapes.
    Key(&'a str),
    Scalar(JsonKind, &'a str),
    /// The array or object that was opened last.
    Close,
}

/// Walks over JSON values with commas between them.
pub(super) fn walk<'a>(
    text: &'a str,
    mut visit: impl FnMut(Token<'a>) -> Result<(), MsgpackError>,
) -> Result<(), MsgpackError> {
    let mut scanner = Scanner::new(text, MAX_DEPTH_OPTION);
    let mut levels = Levels::default();
    scanner.skip_white_space();
    if scanner.peek().is_none() {
        return Ok(());
    }
    loop {
        scanner.skip_white_space();
        match scanner.peek() {
            Some(bracket @ (b'[' | b'{')) => {
                let object = bracket == b'{';
                visit(Token::Open(object))?;
                scanner.take(bracket);
                levels.push(object)?;
                scanner.skip_white_space();
                if scanner.peek() != Some(closing(object)) {
                    if object {
                        visit(Token::Key(key(text, &mut scanner)?))?;
                    }
                    continue;
                }
            }
            _ => {
                let start = scanner.position();
                let kind = scanner.value(None)?;
                visit(Token::Scalar(kind, text.get(start..scanner.position()).unwrap_or_default()))?;
            }
        }
        // A value has ended, or the array or object that was opened is empty.
        loop {
            scanner.skip_white_space();
            let top = levels.top();
            if scanner.take(b',') {
                if top == Some(true) {
                    visit(Token::Key(key(text, &mut scanner)?))?;
                }
                break;
            }
            let Some(object) = top else {
                return Ok(scanner.end()?);
            };
            if !scanner.take(closing(object)) {
                return Err(JsonError::Syntax.into());
            }
            levels.pop();
            visit(Token::Close)?;
        }
    }
}

fn closing(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}

/// A member's name and the colon after it.
fn key<'a>(text: &'a str, scanner: &mut Scanner<'a>) -> Result<&'a str, JsonError> {
    scanner.skip_white_space();
    let start = scanner.position();
    if scanner.value(None)? != JsonKind::String {
        return Err(JsonError::Syntax);
    }
    let key = inner(text.get(start..scanner.position()).unwrap_or_default());
    scanner.skip_white_space();
    if scanner.take(b':') { Ok(key) } else { Err(JsonError::Syntax) }
}

/// A string, without its quotes.
pub(super) fn inner(string: &str) -> &str {
    string.get(1..string.len().saturating_sub(1)).unwrap_or_default()
}

/// What is open, with one bit for each level: 1 is an object, 0 an array.
#[derive(Default)]
struct Levels {
    bits: [u64; MAX_DEPTH_OPTION / 64],
    depth: usize,
}

impl Levels {
    fn push(&mut self, object: bool) -> Result<(), JsonError> {
        let word = self.bits.get_mut(self.depth / 64).ok_or(JsonError::Depth)?;
        let bit = 1 << (self.depth % 64);
        *word = if object { *word | bit } else { *word & !bit };
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Whether the innermost is an object.
    fn top(&self) -> Option<bool> {
        let index = self.depth.checked_sub(1)?;
        Some(self.bits.get(index / 64)? & (1 << (index % 64)) != 0)
    }
}

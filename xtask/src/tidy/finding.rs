//! [`Finding`]: a place that breaks a rule of the repository.

use std::fmt;

/// A place that breaks a rule, or a warning, which does not make the check fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) path: String,
    /// Counted from 1. 0 stands for the file as a whole.
    pub(super) line: usize,
    /// Continues the path as a sentence: `has a tab; use spaces`.
    pub(super) message: String,
    pub(super) warning: bool,
}

impl Finding {
    pub(super) fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, message: message.into(), warning: false }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { path, line, message, warning } = self;
        let kind = if *warning { "warning: " } else { "" };
        match line {
            0 => write!(formatter, "{path}: {kind}{message}"),
            line => write!(formatter, "{path}:{line}: {kind}{message}"),
        }
    }
}

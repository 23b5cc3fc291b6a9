//! [`Source`] and [`Problem`]: where a value comes from, and what is wrong with it.

use std::fmt;

/// Where the value of a setting comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody set it.
    #[default]
    Default,
    /// A line of the configuration file.
    File { path: String, line: usize },
    /// An environment variable.
    Variable(String),
    /// A flag, without its dashes.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// Something in the settings that is wrong, or probably not what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The server does not start with it.
    pub(crate) is_error: bool,
    pub(crate) source: Source,
    /// The setting, if it is one.
    pub(crate) key: Option<&'static str>,
    /// What is wrong, and what to write.
    pub(crate) what: String,
}

impl Problem {
    pub(crate) fn error(source: Source, key: Option<&'static str>, what: impl Into<String>) -> Self {
        Self { is_error: true, source, key, what: what.into() }
    }

    pub(crate) fn warning(source: Source, key: Option<&'static str>, what: impl Into<String>) -> Self {
        Self { is_error: false, source, key, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, self.key) {
            (Source::Default, Some(key)) => write!(f, "{key}: ")?,
            // A variable or flag names its setting itself.
            (Source::File { .. }, Some(key)) => write!(f, "{}: {key}: ", self.source)?,
            (Source::Default, None) => {}
            _ => write!(f, "{}: ", self.source)?,
        }
        f.write_str(&self.what)
    }
}

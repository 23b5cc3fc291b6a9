//! [`Key`]: one setting of the program.

use super::typed::Settings;
use super::value::{Kind, Value};

/// One setting.
pub(crate) struct Key {
    /// Its section and name in the configuration file, joined by a point.
    pub(crate) name: &'static str,
    pub(crate) variable: &'static str,
    /// Without its dashes.
    pub(crate) flag: &'static str,
    pub(crate) kind: Kind,
    /// As the text of a variable. Empty: it has no value unless one is set, and `none` takes a value away.
    pub(crate) default: &'static str,
    /// The default if `NODE_ENV` is `production`, if that is another one.
    pub(crate) production: Option<&'static str>,
    pub(crate) what: &'static str,
    set: fn(&mut Settings, &Value),
}

impl Key {
    /// Its section in the file; empty for the keys at the top.
    pub(crate) fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// Its name without the section.
    pub(crate) fn short(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, short)| short)
    }

    pub(crate) fn default(&self, production: bool) -> &'static str {
        self.production.filter(|_| production).unwrap_or(self.default)
    }

    /// Whether it may have no value.
    pub(crate) fn is_optional(&self) -> bool {
        self.default.is_empty()
    }

    pub(crate) fn set(&self, settings: &mut Settings, value: &Value) {
        (self.set)(settings, value);
    }

    pub(crate) const fn production(mut self, default: &'static str) -> Self {
        self.production = Some(default);
        self
    }
}

pub(crate) const fn key(
    names: [&'static str; 3],
    kind: Kind,
    default: &'static str,
    what: &'static str,
    set: fn(&mut Settings, &Value),
) -> Key {
    let [name, variable, flag] = names;
    Key { name, variable, flag, kind, default, production: None, what, set }
}

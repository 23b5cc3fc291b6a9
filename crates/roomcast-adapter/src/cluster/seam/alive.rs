//! [`Alive`]: what a server tells the others of itself, every second or less often.

use crate::cluster::seam::series::Series;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An announcement. It tells what has changed since the one before it, or all. Dialects carry it as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alive {
    /// Its number: 1, 2, 3 … of a process. One that may not have gone out has its number all the same.
    #[serde(rename = "n")]
    pub sequence: u64,
    /// It tells what has changed since the announcement of that number, the last that is known to have gone out; 0: since the beginning.
    /// Who has none of that number or later asks for the whole ([`Body::Hello`](super::Body::Hello)).
    #[serde(rename = "after", default)]
    pub follows: u64,
    /// Milliseconds until the next one, at most.
    #[serde(rename = "ms")]
    pub interval: u64,
    /// It tells all, as it is after the announcement of that number, and goes to one server that asked. Otherwise it tells what
    /// changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// The whole has another part, with the same number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Namespaces that are open there: those that were opened, or all. Each has the number of its opening: who asked something before
    /// it gets no answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<(Arc<str>, u64)>,
    /// Namespaces that were closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<Arc<str>>,
    /// The last numbers of series: of those in which something went out, or of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<SeriesReport>,
}

/// What an announcement tells of a series. As JSON it is a list: `["/", 1, 17, 3]`, where 1 is the series of single rooms, 0 the main
/// one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Arc<str>, u8, u64, u64)", into = "(Arc<str>, u8, u64, u64)")]
#[non_exhaustive]
pub struct SeriesReport {
    /// The namespace.
    pub namespace: Arc<str>,
    /// Which of its series.
    pub series: Series,
    /// The last number that the others may miss: it went out, or never will.
    pub number: u64,
    /// The serial of the series' first message. A namespace that was closed and opened again begins a new series.
    pub since: u64,
}

impl SeriesReport {
    /// What is told of a series.
    pub fn new(namespace: Arc<str>, series: Series, number: u64, since: u64) -> Self {
        Self { namespace, series, number, since }
    }
}

impl From<(Arc<str>, u8, u64, u64)> for SeriesReport {
    fn from((namespace, series, number, since): (Arc<str>, u8, u64, u64)) -> Self {
        Self { namespace, series: if series == 0 { Series::Main } else { Series::Rooms }, number, since }
    }
}

impl From<SeriesReport> for (Arc<str>, u8, u64, u64) {
    fn from(told: SeriesReport) -> Self {
        (told.namespace, u8::from(told.series == Series::Rooms), told.number, told.since)
    }
}

//! [`Alive`]: what a server announces about itself, every second or less often.

use crate::cluster::seam::series::Series;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An announcement: what has changed since an earlier one, or everything. Dialects carry it as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alive {
    /// Its number among this process's announcements: 1, 2, 3 …. It is not reused, even if this one did not go out.
    #[serde(rename = "n")]
    pub sequence: u64,
    /// It says what has changed since the announcement with this number, the last one that is known to have gone out; 0
    /// means since the start. A server that has received neither that one nor a later one asks for everything
    /// ([`Body::Hello`](crate::cluster::Body::Hello)).
    #[serde(rename = "after", default)]
    pub follows: u64,
    /// Most milliseconds until the next announcement.
    #[serde(rename = "ms")]
    pub interval: u64,
    /// It says everything, as of the announcement with this number, to one server that asked. Otherwise it says what
    /// changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole: bool,
    /// A further part of everything follows, with the same number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Namespaces that are open on that server: those that were opened since, or all. Each has the number of its
    /// opening, as a question from before it is not answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<(Arc<str>, u64)>,
    /// Namespaces that were closed since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<Arc<str>>,
    /// The last numbers of series: of those in which something went out since, or of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<SeriesReport>,
}

/// What an announcement says about a series. In JSON: `["/", 1, 17, 3]`, where 1 means single rooms and 0 the main
/// series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Arc<str>, u8, u64, u64)", into = "(Arc<str>, u8, u64, u64)")]
#[non_exhaustive]
pub struct SeriesReport {
    /// The namespace.
    pub namespace: Arc<str>,
    /// Which of its series.
    pub series: Series,
    /// The last number that receivers can know to be missing: that message went out, or never will.
    pub number: u64,
    /// The serial of the series' first message. A namespace that was closed and opened again starts a new series.
    pub since: u64,
}

impl SeriesReport {
    /// A report about a series.
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
    fn from(report: SeriesReport) -> Self {
        (report.namespace, u8::from(report.series == Series::Rooms), report.number, report.since)
    }
}

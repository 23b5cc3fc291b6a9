//! [`Notices`]: what single servers are to be told between announcements.

use crate::cluster::membership::directory::MAX_PROCESSES;
use crate::cluster::seam::ids::ServerId;
use tokio::time::Instant;

/// What a server is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoticeKind {
    /// That it should tell all.
    Hello,
    /// All that this server has announced.
    Whole,
}

/// Something to tell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    at: Option<Instant>,
    pub(crate) to: Option<ServerId>,
    pub(crate) kind: NoticeKind,
}

/// What is to be told to single servers.
#[derive(Debug, Default)]
pub(crate) struct Notices(Vec<Notice>);

impl Notices {
    /// A server, or each, is to tell all.
    pub(crate) fn hello(&mut self, to: Option<ServerId>) {
        self.add(Notice { at: None, to, kind: NoticeKind::Hello });
    }

    /// A server is to be told all, from then on.
    pub(crate) fn tell_all(&mut self, to: ServerId, at: Instant) {
        self.add(Notice { at: Some(at), to: Some(to), kind: NoticeKind::Whole });
    }

    /// One for each server and matter: who asks twice is told once.
    fn add(&mut self, notice: Notice) {
        let known = self.0.iter().any(|it| it.to == notice.to && it.kind == notice.kind);
        if !known && self.0.len() < 2 * MAX_PROCESSES {
            self.0.push(notice);
        }
    }

    /// When the next one is due, `now` or later.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.0.iter().map(|notice| notice.at.unwrap_or(now)).min()
    }

    /// Those that are due.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Notice> {
        self.0.extract_if(.., |notice| notice.at.is_none_or(|at| at <= now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn errands_are_bounded_and_done_when_they_are_due() {
        let (mut notices, now) = (Notices::default(), Instant::now());
        let later = now + Duration::from_millis(5);
        notices.hello(None);
        notices.hello(None);
        notices.tell_all("a".into(), later);
        notices.tell_all("a".into(), now);
        assert_eq!(notices.due(now), [Notice { at: None, to: None, kind: NoticeKind::Hello }]);
        assert_eq!(notices.next(now), Some(later));
        assert_eq!((notices.due(later).len(), notices.next(now)), (1, None));
        (0..3 * MAX_PROCESSES).for_each(|n| notices.hello(Some(n.to_string().as_str().into())));
        assert_eq!(notices.0.len(), 2 * MAX_PROCESSES);
    }
}

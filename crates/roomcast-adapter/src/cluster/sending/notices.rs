//! [`Notices`]: what single servers are to be told between announcements.

use crate::cluster::membership::directory::MAX_PROCESSES;
use crate::cluster::seam::ids::ServerId;
use tokio::time::Instant;

/// The content of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoticeKind {
    /// A request to say everything.
    Hello,
    /// Everything that this server has announced.
    Whole,
}

/// Something that a server, or every server, is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    at: Option<Instant>,
    pub(crate) to: Option<ServerId>,
    pub(crate) kind: NoticeKind,
}

/// The notices that wait to be sent.
#[derive(Debug, Default)]
pub(crate) struct Notices(Vec<Notice>);

impl Notices {
    /// Asks a server, or with `None` every server, to say everything.
    pub(crate) fn hello(&mut self, to: Option<ServerId>) {
        self.add(Notice { at: None, to, kind: NoticeKind::Hello });
    }

    /// Tells a server everything, at time `at`.
    pub(crate) fn tell_everything(&mut self, to: ServerId, at: Instant) {
        self.add(Notice { at: Some(at), to: Some(to), kind: NoticeKind::Whole });
    }

    /// Adds a notice unless there is one of its kind for that server: whoever asks twice is answered once.
    fn add(&mut self, notice: Notice) {
        let known = self.0.iter().any(|it| it.to == notice.to && it.kind == notice.kind);
        if !known && self.0.len() < 2 * MAX_PROCESSES {
            self.0.push(notice);
        }
    }

    /// When the next notice is due; `now` if one is overdue.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.0.iter().map(|notice| notice.at.unwrap_or(now)).min()
    }

    /// Removes and returns the notices that are due.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Notice> {
        self.0.extract_if(.., |notice| notice.at.is_none_or(|at| at <= now)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn notices_are_bounded_and_sent_when_they_are_due() {
        let (mut notices, now) = (Notices::default(), Instant::now());
        let later = now + Duration::from_millis(5);
        notices.hello(None);
        notices.hello(None);
        notices.tell_everything("a".into(), later);
        notices.tell_everything("a".into(), now);
        assert_eq!(notices.due(now), [Notice { at: None, to: None, kind: NoticeKind::Hello }]);
        assert_eq!(notices.next(now), Some(later));
        assert_eq!((notices.due(later).len(), notices.next(now)), (1, None));
        (0..3 * MAX_PROCESSES).for_each(|n| notices.hello(Some(n.to_string().as_str().into())));
        assert_eq!(notices.0.len(), 2 * MAX_PROCESSES);
    }
}

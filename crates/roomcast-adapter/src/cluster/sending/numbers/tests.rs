//! Tests of the numbers: what is announced, and when.

use super::*;

const ALL: usize = usize::MAX;

fn numbers() -> (Numbers, Arc<str>) {
    let (mut numbers, name) = (Numbers::default(), Arc::<str>::from("/"));
    numbers.open(&name);
    (numbers, name)
}

/// Announces, and returns the numbers that were announced.
fn announce_numbers(numbers: &mut Numbers) -> Vec<(u64, u64)> {
    let (alive, more) = numbers.announcement(1_000, ALL);
    numbers.announced(&alive, !more);
    let mut reports: Vec<_> = alive.numbers.into_iter().map(|report| (report.number, report.since)).collect();
    reports.sort_unstable();
    reports
}

#[test]
fn only_messages_that_have_gone_out_are_announced_and_only_once() {
    let (mut numbers, name) = numbers();
    let given: Vec<u64> = (0..3).map(|_| numbers.next(7, "/", Some(Series::Main)).number).collect();
    assert_eq!((given, announce_numbers(&mut numbers)), (vec![1, 2, 3], vec![]));
    numbers.settle(&name, Series::Main, 2);
    assert_eq!(announce_numbers(&mut numbers), [], "1 may be in flight");
    numbers.settle(&name, Series::Main, 1);
    let lost = numbers.announcement(1_000, ALL).0;
    assert_eq!((lost.sequence, lost.numbers.len()), (3, 1));
    assert_eq!(announce_numbers(&mut numbers), [(2, 1)], "the one before did not go out");
    assert_eq!(announce_numbers(&mut numbers), []);
    numbers.settle(&name, Series::Main, 3);
    assert_eq!(announce_numbers(&mut numbers), [(3, 1)]);
}

#[test]
fn answers_have_serials_and_no_numbers() {
    let (mut numbers, _) = numbers();
    let trailers = [None, Some(Series::Rooms), None].map(|series| numbers.next(7, "/", series));
    assert_eq!(trailers.map(|trailer| (trailer.serial, trailer.number)), [(1, 0), (2, 1), (3, 0)]);
}

#[test]
fn a_namespace_is_announced_when_its_messages_arrive_and_when_it_is_closed() {
    let (mut numbers, name) = numbers();
    assert_eq!(news(&mut numbers), (0, 0));
    assert!(numbers.messages_arrive("/") && !numbers.messages_arrive("/") && !numbers.messages_arrive("/unknown"));
    assert_eq!((news(&mut numbers), news(&mut numbers)), ((1, 0), (0, 0)));
    numbers.close("/");
    assert!(!numbers.messages_arrive("/"), "it is closed");
    numbers.open(&name);
    assert!(numbers.messages_arrive("/"));
    assert_eq!((news(&mut numbers), news(&mut numbers)), ((1, 0), (0, 0)), "a question from before gets no answer");
    numbers.close("/");
    assert_eq!([(); 3].map(|()| news(&mut numbers)), [(0, 1), (0, 0), (0, 0)]);
    assert!(numbers.namespaces.is_empty());
}

/// Announces, and returns how many namespaces were announced as opened and as closed.
fn news(numbers: &mut Numbers) -> (usize, usize) {
    let (alive, more) = numbers.announcement(1_000, ALL);
    numbers.announced(&alive, !more);
    (alive.opened.len(), alive.closed.len())
}

#[test]
fn what_may_have_been_announced_is_announced_again_as_it_is_then() {
    let (mut numbers, name) = numbers();
    numbers.messages_arrive("/");
    assert_eq!(news(&mut numbers), (1, 0));
    numbers.close("/");
    let alive = numbers.announcement(1_000, ALL).0;
    numbers.not_announced(&alive);
    numbers.open(&name);
    numbers.messages_arrive("/");
    assert_eq!((alive.closed.len(), news(&mut numbers), news(&mut numbers)), (1, (1, 0), (0, 0)));
}

#[test]
fn a_closed_namespace_is_removed_when_all_its_messages_have_gone_out() {
    let (mut numbers, name) = numbers();
    numbers.next(7, "/", Some(Series::Main));
    numbers.close("/");
    (0..9).for_each(|_| assert_eq!(announce_numbers(&mut numbers), [], "it waits"));
    numbers.settle(&name, Series::Main, 1);
    assert_eq!((announce_numbers(&mut numbers), numbers.len()), (vec![(1, 1)], 0));
    assert_eq!(numbers.next(7, "/", Some(Series::Main)).number, 0, "it is closed");
    numbers.open(&name);
    assert_eq!(numbers.next(7, "/", Some(Series::Main)).number, 1);
    // If it is opened again before it was removed, the numbers go on.
    numbers.close("/");
    numbers.open(&name);
    assert_eq!(numbers.next(7, "/", Some(Series::Main)).number, 2);
    numbers.settle(&name, Series::Main, 1);
    numbers.settle(&name, Series::Main, 2);
    assert_eq!(announce_numbers(&mut numbers), [(2, 3)], "a new series, announced once");
    numbers.close("/");
    assert_eq!(numbers.whole(1_000, ALL)[0].numbers.len(), 1, "a server that missed it asks for everything");
}

#[test]
fn parts_keep_to_the_limit_and_together_they_are_everything() {
    let mut numbers = Numbers::default();
    for n in 0..100 {
        let name = Arc::<str>::from(format!("/{n:02}"));
        numbers.open(&name);
        numbers.messages_arrive(&name);
        numbers.next(7, &name, Some(Series::Rooms));
        numbers.settle(&name, Series::Rooms, 1);
    }
    let most = 10 * (3 + ENTRY_BYTES);
    let (mut announcements, mut opened, mut series) = (0, 0, 0);
    loop {
        let (alive, more) = numbers.announcement(1_000, most);
        assert!(alive.opened.len() + alive.numbers.len() <= 10);
        numbers.announced(&alive, !more);
        announcements += 1;
        opened += alive.opened.len();
        series += alive.numbers.len();
        assert_eq!(alive.sequence, announcements);
        if !more {
            break;
        }
    }
    assert_eq!((announcements, opened, series), (20, 100, 100));
    let parts = numbers.whole(1_000, most);
    assert_eq!(parts.len(), 20);
    assert!(parts.iter().enumerate().all(|(n, part)| (part.whole, part.more) == (n == 0, n < 19)));
    assert!(parts.iter().all(|part| part.sequence == 20 && part.opened.len() + part.numbers.len() == 10));
}

#[test]
fn namespaces_at_the_limit_and_one_past_it() {
    let mut numbers = Numbers::default();
    let name = |number: usize| Arc::<str>::from(format!("/{number}"));
    for number in 0..MAX_NUMBERED {
        numbers.open(&name(number));
        assert_eq!(numbers.next(7, &name(number), Some(Series::Main)).number, 1);
    }
    let past = name(MAX_NUMBERED);
    numbers.open(&past);
    let trailer = numbers.next(7, &past, Some(Series::Main));
    assert_eq!((trailer.number, trailer.serial), (0, MAX_NUMBERED as u64 + 1));
    assert!(!numbers.messages_arrive(&past));
    assert_eq!(numbers.next(7, "/0", Some(Series::Main)).number, 2);
    assert_eq!(numbers.len(), MAX_NUMBERED);
}

/// A failed announcement may have reached some servers: nothing else is announced under its number.
#[test]
fn a_failed_announcement_keeps_its_number() {
    let (mut numbers, name) = numbers();
    numbers.messages_arrive(&name);
    let (first, _) = numbers.announcement(1_000, ALL);
    numbers.not_announced(&first);
    numbers.close(&name);
    let (second, _) = numbers.announcement(1_000, ALL);
    numbers.announced(&second, true);
    let (third, _) = numbers.announcement(1_000, ALL);
    let numbered = [&first, &second, &third].map(|alive| (alive.sequence, alive.follows));
    assert_eq!(numbered, [(1, 0), (2, 0), (3, 2)]);
    assert_eq!((first.opened.len(), second.closed), (1, vec![name]));
}

//! What goes wrong in an execution: a panic in any task, with its place.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// The message of a panic that a target causes on purpose, as an application might. It is not a failure.
pub const ON_PURPOSE: &str = "on purpose";

/// A panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// File and line.
    pub place: String,
    /// The panic's message.
    pub message: String,
}

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static FAULT: RefCell<Option<Fault>> = const { RefCell::new(None) };
}

/// Runs `target` on `input`. A panic that was caught on the way, for instance by a runtime, is a fault too.
///
/// # Errors
/// The first panic.
pub fn run(target: fn(&[u8]), input: &[u8]) -> Result<(), Fault> {
    install();
    WATCHED.set(true);
    let ended = catch_unwind(AssertUnwindSafe(|| target(input)));
    WATCHED.set(false);
    match (FAULT.take(), ended) {
        (Some(fault), _) => Err(fault),
        (None, Ok(())) => Ok(()),
        (None, Err(_)) => Err(Fault { place: "unknown".to_owned(), message: ON_PURPOSE.to_owned() }),
    }
}

/// Panics of a watched thread are kept instead of printed. Others are printed as usual.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !WATCHED.get() {
                return before(panic);
            }
            let payload = panic.payload();
            let text = payload.downcast_ref::<&str>().copied();
            let payload = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
            if payload == ON_PURPOSE {
                return;
            }
            let place = panic.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
            FAULT.with_borrow_mut(|fault| {
                fault.get_or_insert(Fault { place, message: payload.to_owned() });
            });
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(input: &[u8]) {
        match input {
            b"caught" => drop(catch_unwind(|| panic!("inside"))),
            b"purpose" => drop(catch_unwind(|| panic!("{ON_PURPOSE}"))),
            b"bad" => panic!("outside"),
            _ => {}
        }
    }

    #[test]
    fn a_panic_is_reported_even_if_it_was_caught() {
        assert_eq!(run(target, b"fine"), Ok(()));
        assert_eq!(run(target, b"purpose"), Ok(()));
        let fault = run(target, b"caught").unwrap_err();
        assert_eq!(fault.message, "inside");
        assert!(fault.place.contains("watch.rs:"), "{fault:?}");
        assert_eq!(run(target, b"bad").unwrap_err().message, "outside");
        assert_eq!(run(target, b"fine"), Ok(()));
    }
}

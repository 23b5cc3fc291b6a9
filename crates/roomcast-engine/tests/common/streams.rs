//! The streams that the suites run over, one after another. The same promises hold over each of them.

use super::over::Over;
use super::over::stream::Plan;
use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use tokio::runtime::Builder;

thread_local! {
    /// What the test of this thread runs over.
    static OVER: Cell<Over> = const { Cell::new(SERVE) };
}

pub const SERVE: Over = Over::Serve;
/// TLS that `serve` itself speaks.
pub const SERVE_TLS: Over = Over::ServeTls;
/// Streams that keep what is written until they are flushed, read and write a few bytes at a time, and return `Pending`
/// at will.
pub const AWKWARD: Over = Over::Awkward(Plan::all(1));
pub const TLS: Over = Over::Tls;
pub const AXUM: Over = Over::Axum;

/// What the servers and clients of this test speak HTTP over. Only to be called on the test's thread.
pub fn over() -> Over {
    OVER.get()
}

/// Makes a test of each function for each of the streams: `serve::name`, `awkward::name` and so on. `current_thread`
/// and `multi_thread` are the runtimes of `#[tokio::test]`; `paused` is `current_thread` with tokio's paused clock.
#[allow(unused_macros, reason = "not every program uses it")]
macro_rules! over_streams {
    ([$($stream:ident),+] $tests:tt) => {
        $($crate::common::streams::over_streams!(@ $stream $tests);)+
    };
    (@ serve $tests:tt) => { $crate::common::streams::over_streams!(@ serve SERVE $tests); };
    (@ serve_tls $tests:tt) => { $crate::common::streams::over_streams!(@ serve_tls SERVE_TLS $tests); };
    (@ awkward $tests:tt) => { $crate::common::streams::over_streams!(@ awkward AWKWARD $tests); };
    (@ tls $tests:tt) => { $crate::common::streams::over_streams!(@ tls TLS $tests); };
    (@ axum $tests:tt) => { $crate::common::streams::over_streams!(@ axum AXUM $tests); };
    (@ $name:ident $over:ident { $($runtime:ident: $($test:ident),+ $(,)?;)+ }) => {
        mod $name {
            $($(#[test]
            fn $test() {
                $crate::common::streams::$runtime($crate::common::streams::$over, super::$test());
            })+)+
        }
    };
}

#[allow(unused_imports, reason = "as above")]
pub(crate) use over_streams;

pub fn current_thread(over: Over, test: impl Future<Output = ()>) {
    run(&mut Builder::new_current_thread(), over, pin!(test));
}

pub fn multi_thread(over: Over, test: impl Future<Output = ()>) {
    run(Builder::new_multi_thread().worker_threads(2), over, pin!(test));
}

pub fn paused(over: Over, test: impl Future<Output = ()>) {
    run(Builder::new_current_thread().start_paused(true), over, pin!(test));
}

/// The test as a trait object: tokio's code for running a future is compiled once, and not for each test.
fn run(runtime: &mut Builder, over: Over, test: Pin<&mut dyn Future<Output = ()>>) {
    OVER.set(over);
    runtime.enable_all().build().unwrap().block_on(test);
    // One thread may run several tests.
    OVER.set(SERVE);
}

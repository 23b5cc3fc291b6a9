//! The two kinds of runtime that the suites run on.
//!
//! On the first one server and test take turns on one thread, so what happens is nearly the same in every run. On the second
//! one two workers and the test run at once, and one of the workers is busy most of the time: what waits for it waits for
//! long, and steps that belong together are torn apart.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

/// How long the sibling keeps its worker before it lets others have a turn.
const BUSY: Duration = Duration::from_micros(500);

/// Makes two tests of each of these functions: `current_thread::name` and `multi_thread::name`. A test that freezes the clock is
/// none of them, as tokio can do that on a current-thread runtime alone; it stays a `#[tokio::test]`.
#[allow(unused_macros, reason = "not every suite uses it")]
macro_rules! on_both_runtimes {
    ($($test:ident),+ $(,)?) => {
        mod current_thread {
            $(#[test]
            fn $test() {
                crate::common::runtime::current_thread(super::$test());
            })+
        }

        mod multi_thread {
            $(#[test]
            fn $test() {
                crate::common::runtime::multi_thread(super::$test());
            })+
        }
    };
}

#[allow(unused_imports, reason = "as above")]
pub(crate) use on_both_runtimes;

/// Runs a test on one thread.
pub fn current_thread(test: impl Future<Output = ()>) {
    // As a trait object: tokio's code for running a future is compiled once, and not for each test.
    let test: Pin<&mut dyn Future<Output = ()>> = pin!(test);
    Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Runs a test beside two workers that share the server's tasks and a busy one.
pub fn multi_thread(test: impl Future<Output = ()>) {
    let test: Pin<&mut dyn Future<Output = ()>> = pin!(test);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.spawn(async {
        loop {
            let since = Instant::now();
            while since.elapsed() < BUSY {
                std::hint::spin_loop();
            }
            tokio::task::yield_now().await;
        }
    });
    runtime.block_on(test);
}

//! The two kinds of runtime on which tests run.
//!
//! On a current-thread runtime, server and test take turns on one thread, so that nearly the same happens in every run. On the
//! multi-thread runtime two workers and the test run in parallel, and one worker is busy most of the time: tasks wait long for it, and
//! steps that usually follow one another are far apart.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

/// How long the busy task occupies its worker before it yields.
const BUSY: Duration = Duration::from_micros(500);

/// Makes two tests of each function: `current_thread::name` and `multi_thread::name`. A test that freezes the clock cannot be among them,
/// because tokio can do that only on a current-thread runtime; it is a `#[tokio::test]`.
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
    // As a trait object, so that tokio's code for running a future is compiled only once.
    let test: Pin<&mut dyn Future<Output = ()>> = pin!(test);
    Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Runs a test with two workers, which share the server's tasks and a busy task.
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

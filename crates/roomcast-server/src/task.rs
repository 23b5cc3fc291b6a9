//! Runs the application's code: up to its first await on the calling thread, the rest as a task. Panics are caught.

use roomcast_engine::Turn;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

/// The application's code as a future.
pub(crate) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the job that `make` returns. Up to its first await it runs on this thread, before this function returns, so that handlers of one
/// client begin in the order of its events, as in JavaScript. If it has to wait, the rest runs as a task. `guard` is dropped when the job
/// has ended.
pub(crate) fn run(what: &'static str, make: impl FnOnce() -> Option<Job>, guard: impl Send + 'static) {
    let Some(Some(mut job)) = contain(what, make) else { return };
    let mut cx = Context::from_waker(Waker::noop());
    if let Some(Poll::Pending) = contain(what, || job.as_mut().poll(&mut cx)) {
        // The waker above does nothing. That is right: the task's first poll registers its own.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            metrics::counter!("roomcast_handlers_dropped_total", "handler" => what).increment(1);
            tracing::error!(
                handler = what,
                "a handler was dropped at its first await, because it ran on a thread without a tokio runtime. \
                Disconnect sockets from a tokio task"
            );
            return;
        };
        runtime.spawn(Contained { what, job, _guard: guard });
    }
}

/// Awaits the answer to an event that was just sent. At the first poll it writes what the thread has gathered for clients: if the caller
/// blocks its thread until the answer comes, the event must have left by then.
pub(crate) async fn answer<F: Future>(question: F) -> F::Output {
    let mut question = pin!(question);
    let mut left = false;
    poll_fn(|cx| {
        let answer = question.as_mut().poll(cx);
        if answer.is_pending() && !std::mem::replace(&mut left, true) {
            Turn::write_gathered();
        }
        answer
    })
    .await
}

struct Contained<G> {
    what: &'static str,
    job: Job,
    _guard: G,
}

// The guard is only dropped, never pinned.
impl<G> Unpin for Contained<G> {}

impl<G> Future for Contained<G> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let what = self.what;
        // What this step sends to a client leaves in one write.
        let _turn = Turn::begin();
        match contain(what, || self.job.as_mut().poll(cx)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(())) | None => Poll::Ready(()),
        }
    }
}

/// Runs code and catches a panic, which is counted and logged: then the result is `None`. The panic hook has printed its message.
pub(crate) fn contain<T>(what: &'static str, code: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(value) => Some(value),
        Err(_) => {
            metrics::counter!("roomcast_handler_panics_total", "handler" => what).increment(1);
            tracing::error!(handler = what, "a handler panicked; only this event is lost. Fix the handler");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    #[tokio::test]
    async fn steps_before_the_first_wait_run_at_once_and_the_rest_as_a_task() {
        let steps = Arc::new(AtomicU32::new(0));
        let (done, finished) = tokio::sync::oneshot::channel::<()>();
        let job_steps = steps.clone();
        run(
            "test",
            || {
                Some(Box::pin(async move {
                    job_steps.fetch_add(1, SeqCst);
                    tokio::task::yield_now().await;
                    job_steps.fetch_add(1, SeqCst);
                }))
            },
            done,
        );
        assert_eq!(steps.load(SeqCst), 1);
        // The guard is dropped at the end.
        assert!(finished.await.is_err());
        assert_eq!(steps.load(SeqCst), 2);
    }

    #[tokio::test]
    async fn panics_stay_inside() {
        let (done, finished) = tokio::sync::oneshot::channel::<()>();
        run("test", || panic!("in the making"), ());
        run("test", || Some(Box::pin(async { panic!("in the first step") })), ());
        let late = async {
            tokio::task::yield_now().await;
            panic!("later")
        };
        run("test", || Some(Box::pin(late)), done);
        assert!(finished.await.is_err());
    }
}

//! The task that keeps the time of a polling session.

use crate::connections::connection::{Connection, PanicGuard};
use crate::limits::BUSY_HANDLER_RETRY;
use crate::session::transport::Transport;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Keeps the time of a polling session until it is over or on a WebSocket.
pub(crate) async fn keep(connection: Arc<Connection>) {
    let _guard = PanicGuard(&connection);
    let mut sleep = pin!(sleep_until(Instant::now()));
    poll_fn(|cx| {
        loop {
            {
                let mut shared = connection.shared();
                if shared.session.transport() == Transport::WebSocket || shared.session.closed().is_some() {
                    return Poll::Ready(());
                }
                shared.polling().keeper = Some(cx.waker().clone());
            }
            let now = Instant::now();
            {
                let mut shared = connection.shared();
                if shared.session.is_post_held() && shared.outlet.outbox.is_drained() {
                    // The client has fetched the ping, and its pong can only come with the next POST.
                    shared.session.excuse_pong(now, &connection.sessions().timing);
                }
            }
            if connection.tick(now) {
                return Poll::Ready(());
            }
            let handler_deadline = tick_handler(&connection, now);
            let session_deadline = connection.shared().session.deadline();
            let pace = connection.keep_pace(now);
            let Some(deadline) = session_deadline.into_iter().chain(handler_deadline).chain(pace).min() else {
                continue;
            };
            sleep.as_mut().reset(deadline);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
    connection.finish_if_over();
}

/// Calls the handler if its deadline has passed, and returns its next deadline.
fn tick_handler(connection: &Connection, now: Instant) -> Option<Instant> {
    let deadline = {
        let Some(mut slot) = connection.try_handler() else {
            // The handler may run for long, so there is no waiting for it.
            return Some(now + BUSY_HANDLER_RETRY);
        };
        let handler = slot.as_mut()?;
        if handler.deadline().is_some_and(|deadline| deadline <= now) {
            handler.tick(now);
        }
        handler.deadline().map(|deadline| deadline.max(now + Duration::from_millis(1)))
    };
    // The handler may have ended its session.
    connection.finish_if_over();
    deadline
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EngineConfig;
    use crate::engine::Engine;
    use crate::session::close_reason::CloseReason;
    use crate::session::handler::SessionHandler;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    fn open(engine: &Engine) -> Arc<Connection> {
        let (request, ()) = http::Request::new(()).into_parts();
        engine.open(&request, Transport::Polling).unwrap()
    }

    struct Patient {
        due: Instant,
        ticked: Arc<AtomicBool>,
    }

    impl SessionHandler for Patient {
        fn text(&mut self, _: &str) {}
        fn binary(&mut self, _: &[u8]) {}
        fn closed(&mut self, _: CloseReason) {}
        fn deadline(&self) -> Option<Instant> {
            Some(self.due)
        }
        fn tick(&mut self, _: Instant) {
            self.ticked.store(true, Ordering::SeqCst);
            self.due += Duration::from_secs(3_600);
        }
    }

    /// The task that has the handler while its deadline passes may not know of the deadline.
    #[tokio::test(start_paused = true)]
    async fn the_keeper_comes_back_to_a_handler_that_was_busy() {
        let ticked = Arc::new(AtomicBool::new(false));
        let told = ticked.clone();
        let engine = Engine::new(EngineConfig::default(), move |_: &Arc<Connection>| -> Box<dyn SessionHandler> {
            Box::new(Patient { due: Instant::now() + Duration::from_secs(1), ticked: told.clone() })
        });
        let connection = open(&engine);
        let keeper = tokio::spawn(keep(connection.clone()));
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Another thread has the handler while the deadline passes.
        let ((has, had), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
        let busy = std::thread::spawn(move || {
            let handler = connection.handler();
            has.send(()).unwrap();
            let _ = gone.recv();
            drop(handler);
        });
        had.recv().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!ticked.load(Ordering::SeqCst));
        drop(go);
        busy.join().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(ticked.load(Ordering::SeqCst));
        keeper.abort();
    }
}

//! How a [`Place`] is closed: servers that counted it still get their answers.

use crate::cluster::namespace::place::Place;
use crate::cluster::namespace::subscription::LEAVER_DELAY;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Most time that a server which leaves takes for its last answers, beyond their [delay](LEAVER_DELAY).
const LAST_ANSWERS: Duration = Duration::from_secs(1);

impl Place {
    /// Leaves the cluster. Resolves when no server awaits an answer of this one. A second call waits for the first.
    pub(crate) async fn close(&self) {
        let closing = self.closed().get_or_init(|| async {
            self.leave().await;
            self.answer_the_last().await;
        });
        closing.await;
    }

    /// Waits until the servers that counted this one have their answers.
    async fn answer_the_last(&self) {
        let lingers = self.broker().lingers();
        if lingers.is_zero() || self.is_alone().await {
            return;
        }
        sleep(lingers).await;
        let answered = timeout(LEAVER_DELAY + LAST_ANSWERS, async {
            let _all = self.all_permits().await;
            // The process may end after this.
            self.queue().empty().await;
        });
        let all = answered.await.is_ok();
        tracing::debug!(namespace = %self.namespace(), all, "questions that were asked before this server left are answered");
    }
}

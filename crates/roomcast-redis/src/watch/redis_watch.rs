//! [`RedisWatch`]: the task that watches Redis.

use super::asker::Asker;
use super::gauges::Gauges;
use super::options::RedisWatchOptions;
use super::report::{RedisReport, RedisStatus};
use super::warnings::Warnings;
use crate::topology::Topology;
use crate::topology::backoff::chance;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

/// Watches the Redis servers that a broker uses: memory, clients, replication, and what waits in Redis for this server.
/// [`ClassicBroker::watch`](crate::ClassicBroker::watch) and [`ShardedBroker::watch`](crate::ShardedBroker::watch) begin
/// it; it ends when it is dropped.
///
/// - Each server is asked every 15 s ([`RedisWatchOptions::interval`]), over a connection of the broker's pools.
/// - The figures are in [`reports`](Self::reports), and in the gauges `roomcast_redis_…`.
/// - A warning with advice is logged when a threshold is crossed, and a line when that is over.
/// - The user needs the rights `+info`, `+client|list` and `+config|get`. If one is missing, the log says so once, and
///   what can be known without it is watched.
///
/// Nothing else depends on it: a Redis that refuses or does not answer it is used as before.
#[derive(Debug)]
pub struct RedisWatch {
    reports: watch::Receiver<RedisReport>,
    task: Option<AbortHandle>,
}

impl RedisWatch {
    pub(crate) fn start(topology: Arc<Topology>, options: RedisWatchOptions) -> Self {
        let (sender, reports) = watch::channel(RedisReport::default());
        let Ok(runtime) = Handle::try_current() else {
            tracing::error!(redis = %topology.config(), "Redis is not watched, because there is no tokio runtime; call `watch` in one");
            return Self { reports, task: None };
        };
        let task = runtime.spawn(run(Asker::new(topology, options), options, sender)).abort_handle();
        Self { reports, task: Some(task) }
    }

    /// The last report, and those that follow.
    pub fn reports(&self) -> watch::Receiver<RedisReport> {
        self.reports.clone()
    }

    /// The last report in one sentence, for a health check.
    pub fn status(&self) -> RedisStatus {
        self.reports.borrow().status()
    }
}

impl Drop for RedisWatch {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn run(asker: Asker, options: RedisWatchOptions, reports: watch::Sender<RedisReport>) {
    let (mut warnings, mut gauges) = (Warnings::new(options), Gauges::default());
    sleep(options.first_pause(chance())).await;
    loop {
        let mut report = asker.report().await;
        for notice in warnings.next(&report, Instant::now()) {
            let (redis, text) = (&notice.about.address, &notice.text);
            if notice.over {
                tracing::info!(redis, "{text}");
            } else {
                tracing::warn!(redis, "{text}");
            }
        }
        report.warnings = warnings.lasting();
        gauges.show(&report);
        reports.send_replace(report);
        sleep(options.pause(chance())).await;
    }
}

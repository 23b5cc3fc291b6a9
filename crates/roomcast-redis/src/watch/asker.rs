//! [`Asker`]: asks Redis servers for their state, over the pools' connections, and never changes which server is used.

use super::figures::RedisFigures;
use super::options::RedisWatchOptions;
use super::report::{RedisReport, RedisServer};
use super::rights::{Question, Rights};
use crate::error::RedisError;
use crate::limits::{WATCHED_CONNECTIONS, WATCHED_SERVERS};
use crate::topology::Topology;
use crate::topology::data_server::DataServer;
use crate::topology::pool::PooledConnection;
use crate::topology::role::is_primary;
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, cmd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::{Instant, timeout};

/// The sections of INFO that are read.
const SECTIONS: [&str; 5] = ["memory", "clients", "replication", "server", "stats"];

#[derive(Debug)]
pub(super) struct Asker {
    topology: Arc<Topology>,
    options: RedisWatchOptions,
    rights: Mutex<Rights>,
    /// Redis is older than 7.0, where INFO takes one section only.
    one_section: AtomicBool,
    told_of_too_many: AtomicBool,
}

impl Asker {
    pub(super) fn new(topology: Arc<Topology>, options: RedisWatchOptions) -> Self {
        Self {
            topology,
            options,
            rights: Mutex::default(),
            one_section: AtomicBool::new(false),
            told_of_too_many: AtomicBool::new(false),
        }
    }

    /// Asks all servers. It ends within twice the timeout, and fails for no reason.
    pub(super) async fn report(&self) -> RedisReport {
        let servers = timeout(self.options.timeout, self.topology.data_servers()).await;
        let mut servers = match servers.unwrap_or(Err(RedisError::Timeout)) {
            Ok(servers) => servers,
            Err(error) => {
                tracing::debug!(redis = %self.topology.config(), %error, "cannot find the Redis servers to watch");
                return RedisReport { error: Some(error.to_string()), ..RedisReport::default() };
            }
        };
        // Always the same ones.
        servers.sort_by_cached_key(DataServer::address);
        if servers.len() > WATCHED_SERVERS && !self.told_of_too_many.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                redis = %self.topology.config(),
                servers = servers.len(),
                watched = WATCHED_SERVERS,
                "this Redis Cluster has more primaries than are watched; watch the others by other means"
            );
        }
        servers.truncate(WATCHED_SERVERS);
        let must_be_primary = !self.topology.is_cluster();
        let asked = servers.iter().map(|server| async move {
            let figures = timeout(self.options.timeout, self.ask(server)).await.unwrap_or(Err(RedisError::Timeout));
            if let Err(error) = &figures {
                tracing::debug!(redis = server.address(), %error, "this Redis server does not tell its state");
            }
            let figures = figures.map_err(|error| error.to_string());
            RedisServer { address: server.address(), must_be_primary, figures }
        });
        RedisReport { servers: join_all(asked).await, ..RedisReport::default() }
    }

    async fn ask(&self, server: &DataServer) -> Result<RedisFigures, RedisError> {
        let mut connection = self.topology.connection_to(&server.info).await?;
        let mut figures = RedisFigures::default();
        match self.info(&mut connection).await? {
            Some(texts) => texts.iter().for_each(|text| figures.read_info(text)),
            // ROLE is another right.
            None => match is_primary(&mut *connection).await {
                Ok(is) => figures.is_primary = Some(is),
                Err(error) if error.is_answer() => {}
                Err(error) => return Err(error),
            },
        }
        let ours = self.topology.own.at(server);
        if !ours.is_empty() {
            // Only our own: a list of all clients costs Redis milliseconds where there are thousands.
            let mut list = cmd("CLIENT");
            list.arg("LIST").arg("ID");
            ours.iter().take(WATCHED_CONNECTIONS).for_each(|entry| {
                list.arg(&entry.id);
            });
            if let Some(text) = self.question::<String>(Question::Clients, &list, &mut connection).await? {
                figures.read_clients(&text, &ours);
            }
        }
        let mut get = cmd("CONFIG");
        get.arg("GET").arg("client-output-buffer-limit");
        if let Some(limits) = self.question::<Vec<String>>(Question::BufferLimits, &get, &mut connection).await? {
            figures.read_buffer_limits(&limits.join(" "));
        }
        Ok(figures)
    }

    /// The answers to INFO; `None` if it is refused.
    async fn info(&self, connection: &mut PooledConnection) -> Result<Option<Vec<String>>, RedisError> {
        if !self.one_section.load(Ordering::Relaxed) && self.rights.lock().may_ask(Question::Info, Instant::now()) {
            match cmd("INFO").arg(&SECTIONS).query_async::<String>(&mut **connection).await.map_err(RedisError::from) {
                Ok(text) => {
                    self.answered(Question::Info);
                    return Ok(Some(vec![text]));
                }
                // A syntax error.
                Err(RedisError::Other(_)) => self.one_section.store(true, Ordering::Relaxed),
                Err(error @ RedisError::Permission(_)) => {
                    self.refused(Question::Info, &error);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        let mut texts = Vec::with_capacity(SECTIONS.len());
        for section in SECTIONS {
            match self.question(Question::Info, cmd("INFO").arg(section), connection).await? {
                Some(text) => texts.push(text),
                None => return Ok(None),
            }
        }
        Ok(Some(texts))
    }

    /// The answer to a question; `None` if Redis refuses it, or did so a while ago. The error is that of a connection,
    /// or of a Redis that cannot be used.
    async fn question<T: FromRedisValue>(
        &self,
        question: Question,
        command: &Cmd,
        connection: &mut PooledConnection,
    ) -> Result<Option<T>, RedisError> {
        if !self.rights.lock().may_ask(question, Instant::now()) {
            return Ok(None);
        }
        match command.query_async(&mut **connection).await.map_err(RedisError::from) {
            Ok(answer) => {
                self.answered(question);
                Ok(Some(answer))
            }
            Err(error @ (RedisError::Permission(_) | RedisError::Other(_))) => {
                self.refused(question, &error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn answered(&self, question: Question) {
        if self.rights.lock().answered(question) {
            tracing::info!(redis = %self.topology.config(), ?question, "Redis now answers a question about its state that it refused before");
        }
    }

    fn refused(&self, question: Question, error: &RedisError) {
        let told = self.rights.lock().refused(question, error, Instant::now());
        if let Some(told) = told {
            tracing::warn!(redis = %self.topology.config(), "{told}");
        }
    }
}

//! [`IoInner`]: what all parts of a server share, above all the namespaces that exist and the patterns that make them.

use crate::config::Config;
use crate::error::ConnectError;
use crate::labels::Counted;
use crate::lifetime::Lifetime;
use crate::limits::{IDLE_NAMESPACES, LOG_SWEEP_PAUSE};
use crate::names::{Accepts, INVALID, MAIN, Missing, Names, Origin, Pattern};
use crate::namespace::Namespaces;
use crate::parts::{Handlers, Namespace, NamespaceInner};
use crate::rates::Rates;
use crate::recovery::EndedSession;
use crate::task;
use parking_lot::{Mutex, RwLock};
use roomcast_adapter::limits::MAX_SERVER_EVENTS;
use roomcast_adapter::{AdapterContext, AdapterFactory, RecoverySpace, RoomFeed};
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{SetOnce, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

/// What all parts of a server share.
pub(crate) struct IoInner {
    pub(crate) config: Arc<Config>,
    adapter: AdapterFactory,
    this: Weak<Self>,
    pub(crate) names: Mutex<Names>,
    /// The runtime on which connections are served: a socket may be disconnected on a thread without one.
    runtime: OnceLock<Handle>,
    pub(crate) lifetime: Arc<Lifetime>,
    /// If any are limited.
    pub(crate) rates: Option<Arc<Rates>>,
    /// Told of each namespace that is made.
    new_namespace: RwLock<Vec<OnNewNamespace>>,
    /// Whether the log has told of a client with another parser.
    told_of_parser: AtomicBool,
    /// What is kept for recovery, if anything is.
    pub(crate) recovery: Option<Arc<RecoverySpace>>,
}

type OnNewNamespace = Arc<dyn Fn(Namespace) + Send + Sync>;

impl Drop for IoInner {
    fn drop(&mut self) {
        self.lifetime.close();
    }
}

/// What becomes of a client's wish to join a namespace.
pub(crate) enum Lookup {
    /// The namespace, which counts the new socket already.
    Namespace(Namespace),
    /// These patterns decide, in this order.
    Ask(Vec<Pattern>),
    Refused(ConnectError),
    /// The server is closed, and the connection will be in a moment. The client is not refused, because then it would not reconnect.
    Closed,
}

impl IoInner {
    pub(crate) fn new(config: Config, adapter: AdapterFactory) -> Arc<Self> {
        let rates = Rates::new(config.rate_limits.clone());
        let recovery = config.recovery.as_ref().map(|options| RecoverySpace::new(options.bounds.clone()));
        Arc::new_cyclic(|this| Self {
            config: Arc::new(config),
            adapter,
            this: this.clone(),
            names: Mutex::default(),
            runtime: OnceLock::new(),
            lifetime: Lifetime::new(),
            rates,
            new_namespace: RwLock::default(),
            told_of_parser: AtomicBool::new(false),
            recovery,
        })
    }

    /// A client uses another parser. Its author is told once, because then no client works.
    pub(crate) fn tell_of_parser(&self) {
        if !self.told_of_parser.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                parser = ?self.config.parser,
                "a client uses another parser than this server, and its connection is closed: the option `parser` of both must be the same. Logged once"
            );
        }
    }

    pub(crate) fn add_pattern(&self, accepts: Accepts) -> Namespaces {
        let handlers: Arc<Handlers> = Arc::default();
        self.names.lock().patterns.push(Pattern { accepts, handlers: handlers.clone() });
        let io = self.this.clone();
        let existing = move |pattern: &Arc<Handlers>| io.upgrade().map_or_else(Vec::new, |io| io.of_pattern(pattern));
        Namespaces { handlers, existing: Arc::new(existing) }
    }

    /// The namespaces of a pattern, sorted by name.
    fn of_pattern(&self, pattern: &Arc<Handlers>) -> Vec<Namespace> {
        let is_of = |namespace: &&Namespace| namespace.0.pattern.get().is_some_and(|of| Arc::ptr_eq(of, pattern));
        let mut found: Vec<Namespace> = self.names.lock().all().filter(is_of).cloned().collect();
        found.sort_by(|a, b| a.name().cmp(b.name()));
        found
    }

    fn make(&self, name: &Arc<str>, pattern: Option<Arc<Handlers>>, counted: Arc<Counted>) -> Namespace {
        let (sender, receiver) = mpsc::channel(MAX_SERVER_EVENTS);
        let context = AdapterContext::new(name.clone(), sender).with_parser(self.config.parser);
        let room_feed = Arc::<RoomFeed>::default();
        let context = context.with_recovery(self.recovery.clone()).with_room_feed(room_feed.clone());
        let adapter = (self.adapter)(context);
        // A weak reference: the server holds its namespaces.
        let io = self.this.clone();
        let on_left = move |namespace: &Namespace| {
            if let Some(io) = io.upgrade() {
                io.left(namespace);
            }
        };
        let io = self.this.clone();
        let on_kept = move |namespace: &Namespace| {
            if let Some(io) = io.upgrade() {
                io.kept(namespace);
            }
        };
        let recovers = self.recovery.is_some() && adapter.recovery().is_some();
        if self.recovery.is_some() && !recovers {
            tracing::warn!(
                namespace = &**name,
                "recovery is on, but the namespace's adapter keeps no sessions; pass `Adapter::recovery` on to the one that it wraps"
            );
        }
        let io = self.this.clone();
        let sibling = move |name: &str| Some(io.upgrade()?.static_namespace(&with_slash(name)));
        let namespace = Namespace(Arc::new(NamespaceInner {
            name: name.clone(),
            config: self.config.clone(),
            adapter,
            own: Handlers::default(),
            pattern: pattern.map(OnceLock::from).unwrap_or_default(),
            closed: AtomicBool::new(false),
            counted,
            server_events: Mutex::new(Some(receiver)),
            room_feed,
            lifetime: self.lifetime.clone(),
            on_left: Box::new(on_left),
            sibling: Box::new(sibling),
            told: SetOnce::new(),
            kept_values: Mutex::default(),
            on_kept: Box::new(on_kept),
            recovers,
            kept_are_swept: AtomicBool::new(false),
        }));
        namespace.receive_server_events();
        namespace.watch_rooms();
        namespace
    }

    /// The namespace of that name, which is made if there is none. From now on it is kept even without sockets.
    pub(crate) fn static_namespace(&self, name: &str) -> Namespace {
        let patterns = {
            let mut names = self.names.lock();
            if let Some(namespace) = names.keep(name) {
                return namespace;
            }
            names.patterns.clone()
        };
        // Patterns have no say about the main namespace, as in Node.
        let pattern = patterns.into_iter().find(|pattern| name != MAIN && pattern.accepts_name(name));
        let mut names = self.names.lock();
        if let Some(namespace) = names.keep(name) {
            return namespace;
        }
        let name: Arc<str> = name.into();
        let counted = names.labels.of(&name, false);
        let namespace = self.make(&name, pattern.map(|pattern| pattern.handlers), counted);
        names.insert(name, namespace.clone());
        drop(names);
        self.tell_new(&namespace);
        namespace
    }

    pub(crate) fn on_new_namespace(&self, told: OnNewNamespace) {
        self.new_namespace.write().push(told);
    }

    /// Without a lock, as the application may ask for namespaces.
    fn tell_new(&self, namespace: &Namespace) {
        let told = self.new_namespace.read().clone();
        for told in told {
            task::contain("new namespace", || told(namespace.clone()));
        }
        // This is done once for each namespace.
        let _ = namespace.0.told.set(());
    }

    /// A client asks to join a namespace.
    pub(crate) fn find(&self, name: &str) -> Lookup {
        let patterns = {
            let mut names = self.names.lock();
            if names.is_closed {
                return Lookup::Closed;
            }
            match names.enter(name, false, self.config.max_namespaces) {
                Ok(namespace) => {
                    drop(names);
                    namespace.receive_server_events();
                    return Lookup::Namespace(namespace);
                }
                Err(Missing::Full) => return Lookup::Refused(full()),
                Err(Missing::Ask) => {
                    let asking = names.patterns.iter().filter(|pattern| pattern.asks_client());
                    return Lookup::Ask(asking.cloned().collect());
                }
                Err(Missing::Unknown) if name == MAIN => {
                    // It always exists, as in Node. An application that only broadcasts to it has never asked for it.
                    drop(names);
                    drop(self.static_namespace(name));
                    return self.find(name);
                }
                Err(Missing::Unknown) => names.patterns.clone(),
            }
        };
        if patterns.iter().any(Pattern::asks_client) {
            return Lookup::Ask(patterns);
        }
        match patterns.iter().find(|pattern| pattern.accepts_name(name)) {
            None => Lookup::Refused(ConnectError::new(INVALID)),
            Some(pattern) => self.enter_by(&name.into(), pattern),
        }
    }

    /// A pattern has accepted the client. The namespace that is returned counts the new socket.
    pub(crate) fn enter_by(&self, name: &Arc<str>, pattern: &Pattern) -> Lookup {
        let most = self.config.max_namespaces;
        let mut names = self.names.lock();
        if names.is_closed {
            return Lookup::Closed;
        }
        match names.enter(name, true, most) {
            Ok(namespace) => {
                drop(names);
                namespace.adopt(&pattern.handlers);
                namespace.receive_server_events();
                return Lookup::Namespace(namespace);
            }
            Err(Missing::Unknown) if !names.is_full(most) => {}
            Err(_) => return Lookup::Refused(full()),
        }
        let counted = names.labels.of(name, true);
        let namespace = self.make(name, Some(pattern.handlers.clone()), counted);
        let origin = if pattern.asks_client() { Origin::Client } else { Origin::Name };
        names.insert_busy(name.clone(), namespace.clone(), origin);
        drop(names);
        self.tell_new(&namespace);
        Lookup::Namespace(namespace)
    }

    /// A socket has left a namespace, or was refused.
    fn left(&self, namespace: &Namespace) {
        let most_idle = if self.config.namespace_linger.is_zero() { 0 } else { IDLE_NAMESPACES };
        let runtime = Handle::try_current().ok().or_else(|| self.runtime.get().cloned());
        let (gone, sweeps) = {
            let mut names = self.names.lock();
            let gone = names.left(namespace, most_idle);
            let sweeps = names.has_idle() && !names.is_swept && runtime.is_some();
            names.is_swept |= sweeps;
            (gone, sweeps)
        };
        let Some(runtime) = runtime else { return };
        if let Some(namespace) = gone {
            runtime.spawn(async move { namespace.adapter().close().await });
        }
        if sweeps {
            runtime.spawn(sweep(self.this.clone()));
        }
    }

    /// A session was kept. A task ends those whose time is over.
    fn kept(&self, namespace: &Namespace) {
        if self.sweep_kept(namespace).is_none() || namespace.0.kept_are_swept.swap(true, Ordering::AcqRel) {
            return;
        }
        let runtime = Handle::try_current().ok().or_else(|| self.runtime.get().cloned());
        let Some(runtime) = runtime else {
            // The next session that is kept looks again; until then a session ends when its client asks for it.
            namespace.0.kept_are_swept.store(false, Ordering::Release);
            return;
        };
        runtime.spawn(sweep_kept(self.this.clone(), Arc::downgrade(&namespace.0)));
    }

    /// Ends kept sessions whose time is over, and tells of them. Returns when the next one ends.
    fn sweep_kept(&self, namespace: &Namespace) -> Option<Instant> {
        let swept = namespace.adapter().recovery()?.sweep(Instant::now());
        let told = self.config.recovery.as_ref().and_then(|options| options.on_ended.as_ref());
        for (session, why) in swept.ended {
            metrics::counter!("roomcast_recovery_sessions_ended_total", "reason" => why.as_str()).increment(1);
            tracing::debug!(socket = %session.id, namespace = namespace.name(), %why, "a kept session was given up");
            let kept_values = namespace.0.kept_values.lock().remove(&session.id);
            // Outside the lock: values are the application's.
            drop(kept_values);
            if let Some(told) = told {
                let ended = EndedSession { namespace: namespace.name(), session: &session, why };
                task::contain("ended session", || told(&ended));
            }
            namespace.left();
        }
        swept.next
    }

    /// Makes no more namespaces for clients. Returns those that exist, sorted by name.
    pub(crate) fn close_names(&self) -> Vec<Namespace> {
        let mut names = self.names.lock();
        names.is_closed = true;
        let mut all: Vec<Namespace> = names.all().cloned().collect();
        drop(names);
        // In the same order at each close, the main namespace first.
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Serving begins: there is a runtime, on which namespaces that were made earlier receive other servers' events.
    pub(crate) fn serving_begins(&self) {
        self.remember_runtime();
        for namespace in self.names.lock().all() {
            namespace.receive_server_events();
        }
    }

    /// Remembers the runtime of this thread, if it has one.
    pub(crate) fn remember_runtime(&self) {
        if self.runtime.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            let is_first = self.runtime.set(runtime.clone()).is_ok();
            if is_first && let Some(space) = &self.recovery {
                runtime.spawn(sweep_logs(self.this.clone(), space.bounds().age / 8));
            }
        }
    }
}

/// Forgets what is too old in the logs of all namespaces: one in which nothing is emitted any more does not do so by itself.
async fn sweep_logs(io: Weak<IoInner>, pause: Duration) {
    loop {
        sleep(pause.max(LOG_SWEEP_PAUSE)).await;
        let Some(io) = io.upgrade() else { return };
        let namespaces: Vec<Namespace> = io.names.lock().all().cloned().collect();
        for namespace in namespaces {
            io.sweep_kept(&namespace);
        }
    }
}

/// Ends the kept sessions of a namespace when their time is over, until none is kept any more.
async fn sweep_kept(io: Weak<IoInner>, namespace: Weak<NamespaceInner>) {
    loop {
        let next = {
            let (Some(io), Some(namespace)) = (io.upgrade(), namespace.upgrade().map(Namespace)) else { return };
            let mut next = io.sweep_kept(&namespace);
            if next.is_none() {
                namespace.0.kept_are_swept.store(false, Ordering::Release);
                // One that was kept in between found this task still there.
                next = io.sweep_kept(&namespace);
                if next.is_some() && namespace.0.kept_are_swept.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
            next
        };
        let Some(next) = next else { return };
        sleep_until(next).await;
    }
}

/// The name of a namespace, whose slash may be left out.
pub(crate) fn with_slash(name: &str) -> Cow<'_, str> {
    if name.starts_with('/') { name.into() } else { format!("/{name}").into() }
}

fn full() -> ConnectError {
    metrics::counter!("roomcast_namespaces_refused_total").increment(1);
    tracing::warn!("a client was refused: as many namespaces made by patterns have sockets as `max_namespaces` allows");
    ConnectError::new("Too many namespaces")
}

/// Closes namespaces that have had no socket for long enough, until none of them waits for one any more.
async fn sweep(io: Weak<IoInner>) {
    loop {
        let next = {
            let Some(io) = io.upgrade() else { return };
            let linger = io.config.namespace_linger;
            let now = Instant::now();
            let (gone, next) = {
                let mut names = io.names.lock();
                let (gone, next) = names.sweep(now, linger);
                names.is_swept = next.is_some();
                (gone, next)
            };
            for namespace in gone {
                tokio::spawn(async move { namespace.adapter().close().await });
            }
            // A sweep visits all namespaces, so they are spaced a quarter of the linger time apart.
            next.map(|next| now.checked_add(linger / 4).map_or(next, |at| at.max(next)))
        };
        let Some(next) = next else { return };
        sleep_until(next).await;
    }
}

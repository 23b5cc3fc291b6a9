//! How a [`Place`] asks the other servers: who is awaited, and until when.

use crate::cluster::namespace::place::Place;
use crate::cluster::questions::awaited::{Awaited, NextStep, ServerCount};
use crate::cluster::questions::collected::CollectedAcks;
use crate::cluster::questions::parts::PartsSeen;
use crate::cluster::questions::requests::{ReceivedAnswer, Request};
use crate::cluster::seam::broker::{BrokerError, Count, Speaks};
use crate::cluster::seam::ids::{RequestId, ServerId};
use crate::cluster::seam::message::Body;
use crate::rooms::acks::Acks;
use crate::seam::answer::{Answer, Missing};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Most time for counting the servers, including the time until this server is subscribed to the namespace.
const COUNT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long servers that are known by name are still awaited once as many servers have answered as the broker counts. A
/// server that has just closed the namespace announces that within this time.
const GRACE: Duration = Duration::from_millis(250);

/// How long servers without a name are awaited before a new count. It doubles each time, up to [`RECOUNT_LAST`].
const RECOUNT_FIRST: Duration = Duration::from_millis(250);
const RECOUNT_LAST: Duration = Duration::from_secs(1);

/// Where the broker does not count, the time in which a new server gets to know all others by name.
const ACQUAINTED: Duration = Duration::from_millis(1_100);

type Counting<'a> = Pin<Box<dyn Future<Output = ServerCount> + Send + 'a>>;

/// A question that was asked.
struct Asking<'a> {
    place: &'a Place,
    request: Request,
    awaited: Awaited,
    members_changed: watch::Receiver<()>,
    counting: Option<Counting<'a>>,
    grace: Option<Instant>,
    /// When the broker counts again if nothing else happens, and the time between these counts.
    recount: (Instant, Duration),
    over: bool,
}

impl<'a> Asking<'a> {
    fn new(place: &'a Place, request: Request, awaited: Awaited, members_changed: watch::Receiver<()>) -> Self {
        let recount = (Instant::now() + RECOUNT_FIRST, RECOUNT_FIRST);
        Self { place, request, awaited, members_changed, counting: None, grace: None, recount, over: false }
    }

    /// The next answer; `None` when no server is awaited any more. Cancel safe.
    async fn next(&mut self) -> Option<ReceivedAnswer> {
        while !self.over {
            let step = self.awaited.next_step();
            if step == NextStep::Recount {
                let place = self.place;
                let counted = self.counting.get_or_insert_with(|| Box::pin(place.counted())).await;
                self.counting = None;
                self.awaited.recounted(counted, place.members());
                continue;
            }
            let grace = match step {
                NextStep::Grace => Some(*self.grace.get_or_insert(Instant::now() + GRACE)),
                _ => None,
            };
            self.grace = grace;
            self.over = step == NextStep::Over;
            if self.over {
                break;
            }
            tokio::select! {
                biased;
                answer = self.request.next() => {
                    self.over = answer.is_none();
                    return answer;
                }
                _ = self.members_changed.changed() => self.awaited.members(self.place.members()),
                () = sleep_until(grace.unwrap_or_else(Instant::now)), if grace.is_some() => self.over = true,
                () = sleep_until(self.recount.0), if self.awaited.awaits_only_unnamed() => {
                    let next = (2 * self.recount.1).min(RECOUNT_LAST);
                    self.recount = (Instant::now() + next, next);
                    self.awaited.expire_count();
                }
            }
        }
        None
    }

    fn missing(&self) -> Missing {
        self.place.subscription().is_mixed(self.awaited.is_mixed());
        self.awaited.missing(self.request.again.load(Ordering::Relaxed))
    }
}

impl Place {
    /// The servers that have the namespace, as far as they are known by name.
    fn members(&self) -> BTreeMap<ServerId, u64> {
        self.directory().members(self.namespace(), Instant::now())
    }

    /// The number of other servers.
    async fn counted(&self) -> ServerCount {
        match timeout(COUNT_TIMEOUT, self.count_others()).await {
            Ok(Ok(Some(Count { servers, complete: true }))) => ServerCount::All(servers),
            Ok(Ok(Some(Count { servers, .. }))) => ServerCount::AtLeast(servers),
            Ok(Ok(None)) => ServerCount::NotCounted,
            Ok(Err(_)) | Err(_) => ServerCount::Unknown,
        }
    }

    /// The servers that the broker counts, without this one.
    async fn count_others(&self) -> Result<Option<Count>, BrokerError> {
        loop {
            let before = self.subscription().since();
            let count = self.broker().count(self.namespace()).await?;
            if !self.is_open() {
                return Ok(count);
            }
            if before.is_some() && before == self.subscription().since() {
                return Ok(count.map(|count| Count { servers: count.servers.saturating_sub(1), ..count }));
            }
            // Nobody can tell whether the count includes this server: its subscription is still being made, or an old
            // one has not ended yet. Besides, it would receive no answer before it is subscribed.
            self.subscription().until_connected().await;
        }
    }

    /// Who is awaited, and a channel that tells when the members of the namespace have changed since.
    async fn awaited(&self, question: &Body, until: Instant) -> (Awaited, watch::Receiver<()>) {
        let members_changed = self.directory().members_changed();
        // In this order: a server that is known by name now is counted, if the broker counts it.
        let mut named = self.members();
        let counted = timeout_at(until, self.counted()).await.unwrap_or(ServerCount::Unknown);
        if counted == ServerCount::NotCounted {
            let mut connected = self.directory().connected_since();
            let acquainted = async {
                let since = connected.wait_for(Option::is_some).await.ok().and_then(|since| *since);
                sleep_until(since.unwrap_or_else(Instant::now) + ACQUAINTED).await;
            };
            // A server that is not known by then is not asked.
            let _ = timeout_at(until, acquainted).await;
            named = self.members();
        }
        let roomcast_only = self.broker().speaks(question) == Speaks::Ours;
        (Awaited::new(named, counted, roomcast_only, self.subscription().is_mixed(false)), members_changed)
    }

    /// Asks all other servers and passes each answer to `take`, which returns whether it is a proper answer, until all
    /// have answered or until `until`. If their number is unknown, they are asked all the same and awaited until then.
    pub(crate) async fn ask(
        &self,
        until: Instant,
        question: impl FnOnce(RequestId) -> Body,
        mut take: impl FnMut(Body) -> bool,
    ) -> Missing {
        let Some(request) = self.requests().begin() else { return self.nobody_asked().await };
        let question = question(request.id.clone());
        let (awaited, members_changed) = self.awaited(&question, until).await;
        // If it was closed while counting, it would receive no answer.
        if awaited.is_nobody() || !self.is_open() || Instant::now() >= until {
            return awaited.missing(false);
        }
        self.queue().ask(self.namespace(), question, request.again.clone());
        let mut asking = Asking::new(self, request, awaited, members_changed);
        let mut seen = PartsSeen::default();
        while let Ok(Some(ReceivedAnswer { sender, body })) = timeout_at(until, asking.next()).await {
            let (sender, parts) = (sender.as_ref(), body.parts());
            if matches!(body, Body::Refused { .. }) {
                asking.awaited.refused(sender);
            } else if asking.awaited.is_new(sender) && take(body) && seen.is_last(sender, parts) {
                asking.awaited.answered(sender);
            }
        }
        asking.missing()
    }

    /// What is missing if too many questions are open.
    async fn nobody_asked(&self) -> Missing {
        let counted = self.counted().await;
        Awaited::new(self.members(), counted, false, false).missing(false)
    }

    /// Asks the clients of all other servers for acknowledgements, and collects these with those of local clients.
    pub(crate) async fn ask_clients(
        &self,
        until: Instant,
        mut acks: Acks,
        question: impl FnOnce(RequestId) -> Body,
    ) -> (CollectedAcks, Missing) {
        let mut collected = CollectedAcks::default();
        // As in Node, the servers are counted before they are asked; local clients are asked before that.
        let begun = match self.requests().begin() {
            Some(request) => {
                let question = question(request.id.clone());
                Ok((request, self.awaited(&question, until).await, question))
            }
            None => Err(self.nobody_asked().await),
        };
        let (request, (awaited, members_changed), question) = match begun {
            Ok((request, (awaited, members_changed), question))
                if !awaited.is_nobody() && self.is_open() && Instant::now() < until =>
            {
                (request, (awaited, members_changed), question)
            }
            other => {
                let _ = timeout_at(until, async {
                    while let Some((_, args)) = acks.next().await {
                        collected.local(args);
                    }
                })
                .await;
                let missing = other.map_or_else(|missing| missing, |(_, (awaited, _), _)| awaited.missing(false));
                return (collected, missing);
            }
        };
        self.queue().ask(self.namespace(), question, request.again.clone());
        let mut asking = Asking::new(self, request, awaited, members_changed);
        // Local clients that left are not awaited. Other servers do not say when theirs leave.
        let mut local_pending = true;
        while local_pending || !asking.over || collected.awaits_remote() {
            let only_clients = asking.over;
            let answer = async { if only_clients { asking.request.next().await } else { asking.next().await } };
            // Answers that have arrived in time count, however long the counting took.
            tokio::select! {
                biased;
                answer = acks.next(), if local_pending => match answer {
                    Some((_, args)) => collected.local(args),
                    None => local_pending = false,
                },
                answer = answer, if !only_clients || collected.awaits_remote() => {
                    let Some(answer) = answer else { continue };
                    match answer.body {
                        Body::Refused { .. } => asking.awaited.refused(answer.sender.as_ref()),
                        Body::AskedClients { count, .. } if asking.awaited.answered(answer.sender.as_ref()) => {
                            collected.asked(count);
                        }
                        _ => collected.remote(answer),
                    }
                }
                () = sleep_until(until) => break,
            }
        }
        let missing = asking.missing();
        (collected, missing)
    }

    /// Whether no other server could ask this one.
    pub(crate) async fn is_alone(&self) -> bool {
        self.counted().await == ServerCount::All(0)
    }

    /// The number of servers.
    pub(crate) async fn count_servers(&self) -> Answer<usize> {
        let counted = self.counted().await;
        let awaited = Awaited::new(self.members(), counted, false, false);
        let value = 1 + awaited.servers();
        let missing = match counted {
            ServerCount::All(_) | ServerCount::NotCounted => Missing::default(),
            ServerCount::AtLeast(_) => Missing { names: Vec::new(), others: 1 },
            ServerCount::Unknown => awaited.missing(false),
        };
        Answer { value, missing }
    }
}

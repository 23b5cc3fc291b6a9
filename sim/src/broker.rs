//! [`SimBroker`]: a server's connection to the simulated network.

use crate::mark::mark;
use crate::network::Sim;
use crate::place::ProcessId;
use crate::plan::{CountFault, PublishFault};
use crate::state::{Stage, tell};
use roomcast_adapter::Room;
use roomcast_adapter::async_trait;
use roomcast_adapter::cluster::{
    Broker, BrokerError, Count, Hears, Inbox, Looked, Outcome, Outgoing, Route, Series, ServerId,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, sleep_until};

/// How long questions still arrive after a namespace was closed, as over Redis.
const LINGERS: u64 = 250;

/// A server's connection to the simulated network.
#[derive(Debug)]
pub(crate) struct SimBroker {
    sim: Arc<Sim>,
    process: ProcessId,
}

impl SimBroker {
    pub(crate) fn new(sim: Arc<Sim>, process: ProcessId) -> Self {
        Self { sim, process }
    }

    /// Publishes as far as the faults allow, and returns the outcomes; `None` if there will never be any.
    fn out(&self, batch: &[Outgoing]) -> Option<Vec<Outcome>> {
        let again = || Outcome::Again("simulated".to_owned());
        let routes: Vec<Route> = batch.iter().map(|outgoing| self.sim.route(outgoing, self.sim.now())).collect();
        self.sim.with(|state, now| {
            let process = state.processes.get_mut(self.process)?;
            if process.mute || process.dead {
                return Some(vec![again(); batch.len()]);
            }
            let broken = routes.first().is_some_and(|route| process.broken_roads.remove(&route.road));
            if broken && batch.iter().all(|outgoing| !outgoing.namespace.is_empty()) {
                return Some(vec![again(); batch.len()]);
            }
            let fault = process.publish.pop_front();
            let mut refused = false;
            let mut outcomes = Vec::new();
            let mute_road = process.mute_road;
            for (index, (outgoing, route)) in batch.iter().zip(routes).enumerate() {
                let (out, outcome) = match fault {
                    _ if mute_road == Some(route.road) => (false, again()),
                    Some(PublishFault::Hangs { out } | PublishFault::Again { out }) => (out, again()),
                    Some(PublishFault::Every2nd { out }) if index % 2 == 0 => (out, again()),
                    Some(PublishFault::Never) if !refused && Series::of(&outgoing.message.body).is_some() => {
                        refused = true;
                        (false, Outcome::Never("simulated".to_owned()))
                    }
                    Some(PublishFault::Half) if index > batch.len() / 2 => break,
                    _ => (true, Outcome::Sent),
                };
                let result = state.model.published(
                    (self.process, route.channel),
                    &outgoing.namespace,
                    &outgoing.message,
                    !self.sim.setup.faults,
                    now,
                );
                let result = result.and_then(|()| numbered(outgoing));
                state.check(
                    now,
                    result.map_err(|why| {
                        format!(
                            "{} in {:?}: {why}: {}",
                            state.label(self.process),
                            outgoing.namespace,
                            tell(&outgoing.message)
                        )
                    }),
                );
                if outcome != Outcome::Sent {
                    state.log(now, |state| {
                        format!(
                            "{} is told {outcome:?} (out: {out}): {}",
                            state.label(self.process),
                            tell(&outgoing.message)
                        )
                    });
                }
                if outcome == Outcome::Sent {
                    state.model.sent(self.process, &outgoing.namespace, &outgoing.message, now);
                }
                if out {
                    self.sim.send(state, self.process, outgoing, now);
                }
                if let Some(sent) = mark(&outgoing.message.body)
                    .and_then(|n| state.model.own_messages.get_mut(&n))
                    .filter(|_| outcome == Outcome::Sent)
                {
                    sent.sent = true;
                }
                outcomes.push(outcome);
            }
            (!matches!(fault, Some(PublishFault::Hangs { .. }))).then_some(outcomes)
        })
    }
}

/// Every message has a trailer, and every message in a series has a number.
fn numbered(outgoing: &Outgoing) -> Result<(), String> {
    let Some(trailer) = outgoing.message.trailer else { return Err("a message without a trailer".to_owned()) };
    if Series::of(&outgoing.message.body).is_some() && trailer.number == 0 {
        return Err("a message without a number".to_owned());
    }
    Ok(())
}

#[async_trait]
impl Broker for SimBroker {
    fn open(&self, namespace: &Arc<str>, _: &ServerId, inbox: Arc<dyn Inbox>) {
        let dead = self.sim.with(|state, _| state.processes.get(self.process).is_none_or(|it| it.dead));
        if !dead {
            self.sim.open(&(self.process, namespace.clone()), Some(inbox));
        }
    }

    async fn close(&self, namespace: &str) {
        let at = (self.process, Arc::<str>::from(namespace));
        self.sim.with(|state, now| {
            state.log(now, |state| format!("{} closes {namespace:?} at the broker", state.label(self.process)));
            let place = state.model.place(&at);
            if !namespace.is_empty() && !place.closing && place.open {
                let label = state.label(self.process);
                state.fail(now, format!("{label} closes {namespace:?} at the broker, though an adapter is open"));
            }
            state.model.closed(&at, now);
            // Other servers may learn of it by its announcement before the broker has closed.
            state.changed(&at.1, now);
        });
        if self.sim.setup.late_close {
            self.sim.latency(self.process, namespace).await;
        }
        self.sim.with(|state, now| {
            state.changed(&at.1, now);
            let Some(subscription) = state.subscriptions.get_mut(&at) else { return };
            if at.1.is_empty() {
                state.subscriptions.remove(&at);
            } else if !matches!(subscription.stage, Stage::Lingering(_)) {
                subscription.stage = Stage::Lingering(now + LINGERS);
            }
        });
        self.sim.latency(self.process, namespace).await;
    }

    fn lingers(&self) -> Duration {
        Duration::from_millis(LINGERS)
    }

    fn hears(&self, series: Series) -> Hears {
        match series {
            Series::Rooms if self.sim.setup.roads > 1 => Hears::EachRoom,
            Series::Rooms if self.looks() => Hears::Some,
            _ => Hears::All,
        }
    }

    fn route(&self, outgoing: &Outgoing) -> Route {
        self.sim.route(outgoing, self.sim.now())
    }

    async fn ready(&self, road: u64) -> Result<(), BrokerError> {
        self.sim.latency(self.process, "ready").await;
        let mute = self.sim.with(|state, _| {
            state.processes.get(self.process).is_none_or(|it| it.mute || it.dead || it.mute_road == Some(road))
        });
        self.sim.latency(self.process, "ready").await;
        if mute { Err(BrokerError("simulated".to_owned())) } else { Ok(()) }
    }

    fn looks(&self) -> bool {
        self.sim.with(|state, _| state.processes.get(self.process).is_some_and(|it| it.exact))
    }

    fn look(&self, namespace: &str, room: &Room) -> Option<Looked> {
        let known = self.sim.look(&(self.process, namespace.into()), room)?;
        let at = self.sim.begin + Duration::from_millis(known);
        Some(Box::pin(async move {
            sleep_until(at).await;
            Ok(())
        }))
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Outcome> {
        self.sim.latency(self.process, "publish").await;
        let Some(outcomes) = self.out(batch) else { return std::future::pending().await };
        self.sim.latency(self.process, "publish").await;
        outcomes
    }

    async fn count(&self, namespace: &str) -> Result<Option<Count>, BrokerError> {
        self.sim.latency(self.process, namespace).await;
        let (count, how) = self.sim.with(|state, now| {
            let process = state.processes.get(self.process);
            let how = process.and_then(|it| it.count);
            let fails = how == Some(CountFault::Fails) || process.is_none_or(|it| it.dead);
            let all = state.counted(namespace).len() + usize::from(how == Some(CountFault::Ghost));
            let hole = how == Some(CountFault::Hole);
            let count = Some(if hole { Count::at_least(all.saturating_sub(1).max(1)) } else { Count::of(all) });
            state.log(now, |state| format!("{} counts {all} in {namespace:?}", state.label(self.process)));
            (if fails { Err(BrokerError("simulated".to_owned())) } else { Ok(count) }, how)
        });
        if let Some(CountFault::Slow(time)) = how {
            sleep(Duration::from_millis(time)).await;
        }
        self.sim.latency(self.process, namespace).await;
        count
    }
}

//! [`Dialect`]: the dialect of a run's servers, and which messages a server receives in it.

use crate::faults::SubscribedBy;
use roomcast_adapter::cluster::Broker;
use roomcast_redis::{ClassicBroker, ClassicOptions, RedisConfig, ShardedBroker, ShardedMode, ShardedOptions};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Pattern,
    Exact,
    Dynamic,
    Static,
}

impl Dialect {
    pub(super) const ALL: [Self; 4] = [Self::Pattern, Self::Exact, Self::Dynamic, Self::Static];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pattern => "classic by pattern",
            Self::Exact => "classic, exact rooms",
            Self::Dynamic => "sharded dynamic",
            Self::Static => "sharded static",
        }
    }

    /// Whether each server receives the messages to every single room, so that it can count their losses.
    pub(super) fn receives_all_rooms(self) -> bool {
        matches!(self, Self::Pattern | Self::Static)
    }

    pub(super) fn broker(self, redis: RedisConfig) -> Arc<dyn Broker> {
        let mut sharded = ShardedOptions::default();
        sharded.mode = if self == Self::Static { ShardedMode::Static } else { ShardedMode::Dynamic };
        let mut classic = ClassicOptions::default();
        classic.exact_rooms = self == Self::Exact;
        match self {
            Self::Pattern | Self::Exact => ClassicBroker::new(redis, classic),
            Self::Dynamic | Self::Static => ShardedBroker::new(redis, sharded),
        }
    }

    /// The environment variables by which a Node server uses the dialect.
    pub(super) fn environment(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Pattern | Self::Exact => [("ADAPTER", "classic"), ("SUBSCRIPTION_MODE", "")],
            Self::Dynamic => [("ADAPTER", "sharded"), ("SUBSCRIPTION_MODE", "dynamic")],
            Self::Static => [("ADAPTER", "sharded"), ("SUBSCRIPTION_MODE", "static")],
        }
    }

    pub(super) fn subscribed_by(self) -> SubscribedBy {
        match self {
            Self::Pattern | Self::Exact => SubscribedBy::Channel("socket.io-roomcast#"),
            Self::Dynamic | Self::Static => SubscribedBy::Sharded("socket.io#/#"),
        }
    }
}

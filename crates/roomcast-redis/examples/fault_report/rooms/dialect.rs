//! [`Dialect`]: what the servers of a run speak, and which messages a server hears of it.

use crate::faults::HeardBy;
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

    /// Whether each server hears what is for one room, whoever is in it, so that losses of it are counted.
    pub(super) fn hears_all_rooms(self) -> bool {
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

    /// The same for a Node server, in its environment.
    pub(super) fn environment(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Pattern | Self::Exact => [("ADAPTER", "classic"), ("SUBSCRIPTION_MODE", "")],
            Self::Dynamic => [("ADAPTER", "sharded"), ("SUBSCRIPTION_MODE", "dynamic")],
            Self::Static => [("ADAPTER", "sharded"), ("SUBSCRIPTION_MODE", "static")],
        }
    }

    pub(super) fn heard_by(self) -> HeardBy {
        match self {
            Self::Pattern | Self::Exact => HeardBy::Channel("socket.io-roomcast#"),
            Self::Dynamic | Self::Static => HeardBy::Sharded("socket.io#/#"),
        }
    }
}

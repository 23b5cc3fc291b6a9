//! What the tests share: servers of Redis, what disturbs them, and servers of ours on them. Examples take single files.

pub(crate) mod by_hand;
pub(crate) mod certificates;
pub(crate) mod contract_wire;
#[allow(dead_code, reason = "an example uses more of it")]
pub(crate) mod fault_proxy;
pub(crate) mod fault_stage;
pub(crate) mod log;
#[allow(dead_code, reason = "an example uses more of it")]
pub(crate) mod redis_process;
pub(crate) mod sharded_stage;

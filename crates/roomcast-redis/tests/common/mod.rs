//! What the tests share: Redis servers, faults, and servers of ours. Examples use single files of it.

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

//! The grammar of Kubernetes: names, labels, owners, conditions, events, and the two files that write.
//!
//! Nothing here knows what a stream consumer is; `workload` and `controllers` build on it.

pub mod apply;
pub mod conditions;
pub mod events;
pub mod labels;
pub mod memory;
pub mod names;
pub mod objects;
pub mod owner;
pub mod status;

/// The name under which the operator writes fields, in every object and in every status.
pub const FIELD_MANAGER: &str = "keyweir-operator";

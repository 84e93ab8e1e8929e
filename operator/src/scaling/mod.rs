//! `scaling.mode: Builtin`: replicas by lag.
//!
//! ```text
//!   registry (what workers say, or a meter) ──▶ decide (pure, with a reason) ──▶ act (the scale subresource)
//! ```
//! With `minReplicas: 0` an object of Kafka falls asleep and wakes: then its meter says how far it is behind.

pub mod act;
pub mod decide;
pub mod idlest;

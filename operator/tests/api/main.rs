//! The operator against an API server that lives in the test: which calls it makes, in which order, and what it
//! does when they fail.

mod claims;
mod fake;
mod leader;
mod meters;
mod network;
mod objects;
mod ordinals;
mod purge;
mod rbac;
mod reconcile;
mod status;
mod upgrades;

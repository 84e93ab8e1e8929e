//! The operator on a real cluster, as a user meets it: helm, kubectl, and nothing else.
//!
//! One installation for all tests ([`world`]); each test has a namespace, topics and objects of its own. Records are
//! handled by a service that this process runs beside the cluster ([`witness`]): it knows whether one was lost, came
//! twice or came out of its key's order.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what did not hold")]

mod autoscalers;
mod charts;
mod failures;
mod health;
mod installations;
mod lacks;
mod life;
mod outages;
mod refusals;
mod sight;
mod witness;
mod world;

//! The operator: each object of a user becomes a Deployment of workers with everything around it.
//!
//! ```text
//! watch ─▶ controllers ─▶ dereference ─▶ validate ─▶ build ─▶ apply ─▶ status
//!                           reads         pure        pure     writes   writes
//! ```
//!
//! * [`cluster`] is the grammar of Kubernetes, with the only two files that write.
//! * [`workload`] is what pods are made of.
//! * [`controllers`] has one room for each kind.
//! * [`registry`] knows what workers last said of themselves, by asking them.
//! * [`meters`] measure objects that have no workers to say it.
//! * [`scaling`] decides by that how many workers there are, where a user leaves it to the operator.
//! * [`page`] shows all of it to a person, read-only.
//! * [`run`] starts it all; [`leader`] sees to it that only one replica works.
//!
//! It never talks to a broker, and never reads a Secret.

pub mod args;
pub mod cluster;
pub mod context;
pub mod controllers;
pub mod disposition;
pub mod http;
pub mod leader;
pub mod meters;
pub mod metrics;
pub mod page;
pub mod probe;
pub mod queue;
pub mod registry;
pub mod run;
pub mod scaling;
pub mod settings;
pub mod telemetry;
pub mod throttle;
pub mod workload;

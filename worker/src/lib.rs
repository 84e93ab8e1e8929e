//! The worker: adapters wired to the pump, one process with one or many objects.
//!
//! It is the program of a pod ([`run()`], of a meter's, and of one that purges), the engine room of `keyweir run` ([`Host`]), and a library: a handler
//! written in Rust is registered by name in a worker binary of one's own, and hooks beside it, see `examples/native.rs`;
//! its tests make their requests by hand ([`testing`]).
//!
//! This is the only crate that sees all adapters; [`mod@wiring`] is the one match that picks them.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod aside;
pub mod config;
pub mod cpus;
pub mod event_log;
pub mod host;
pub mod http;
pub mod lag;
pub mod lines;
mod membership;
mod meter;
mod metrics;
mod missing;
mod nowhere;
mod object;
mod provision;
mod purge;
mod reach;
mod retire;
pub mod roster;
mod routing;
mod run;
pub mod signals;
mod sources;
pub mod telemetry;
mod wiring;

pub use args::Args;
pub use host::{Applied, Host, HostError, HostOptions, ObjectView};
pub use keyweir_core::{Attempt, Fence, Offset, ShardId};
pub use keyweir_engine::{Failure, NewRecord, Outcome, Output, Record, Verdict, ports};
pub use keyweir_handlers::{Registry, codec, native, testing};
pub use provision::provision;
pub use run::run;
pub use wiring::StartError;

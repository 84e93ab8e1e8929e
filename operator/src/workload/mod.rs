//! The pieces of pods and what stands around them, built purely. Nothing here reads, writes or decides.

pub mod config_map;
pub mod disruption;
pub mod env;
pub mod handler;
pub mod network_policy;
pub mod overrides;
pub mod pod;
pub mod probes;
pub mod purge;
pub mod secrets;
pub mod service;
pub mod service_account;
pub mod trouble;
pub mod wire;

/// The port on which a worker serves `/livez`, `/readyz` and `/metrics`: not the one that a handler in the same pod
/// would choose.
pub const HTTP_PORT: u16 = 7080;
/// The name of [`HTTP_PORT`] in pods and services.
pub const HTTP_PORT_NAME: &str = "http";

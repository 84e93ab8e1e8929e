//! The words that operator, workers and the command share: plain data, no I/O, no async, no Kubernetes.
//!
//! * [`worker_config`] is the whole of what a worker is told. `keyweir-render` writes it, the worker reads it.
//! * [`policy`], [`source`], [`handler`], [`endpoints`] are its parts.
//! * [`duration`] and [`bytes`] read and write `30s` and `64Mi` the same way everywhere.
//! * [`hash`] is the one hash that never changes between versions.
//! * [`keys`] is the layout of an object's keys in etcd.
//! * [`meter`] is what a meter says, [`topics`] what it makes.
//!
//! With the feature `schema` the plain enums also describe themselves to the CRD generator.

pub mod bytes;
pub mod duration;
pub mod endpoints;
pub mod handler;
pub mod hash;
pub mod keys;
pub mod meter;
pub mod policy;
pub mod read;
pub mod source;
pub mod topics;
pub mod worker_config;

pub use bytes::ByteSize;
pub use worker_config::{CONTRACT_VERSION, FixedConfig, LiveConfig, WorkerConfig};

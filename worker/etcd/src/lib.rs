//! etcd behind the engine's ports.
//!
//! * [`EtcdStore`] is the engine's `LeaseStore`: leases, guarded transactions, lists and watches.
//! * [`source`] is a source of the engine's: changes under paths, as records.
//! * [`Connection`] is one process's way to the servers: one at a time, another one after a failure, secrets read
//!   anew from their files each time.
//!
//! What this crate may not do: know what the keys mean, or repeat a write by itself.

mod client;
mod convert;
mod error;
mod keeper;
mod lease_store;
mod range;
pub mod source;
mod watch;

pub use client::Connection;
pub use error::ConnectError;
pub use lease_store::EtcdStore;

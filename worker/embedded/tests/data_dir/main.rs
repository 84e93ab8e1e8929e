//! A data directory from outside: the ports' promises, what survives kill -9, retention, full and damaged disks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod conformance;
mod kill;
mod log;
mod model;
mod random;
mod retention;
mod trouble;

//! The real `keyweir`, as a person runs it: on the embedded log and on a real Kafka broker.
//!
//! Each test has a directory of its own, starts the program that was built, and looks at what it says, what it leaves
//! behind and how it ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod changes;
mod dropped;
mod ends;
mod etcd;
mod full;
mod inputs;
mod keys;
mod kills;
mod life;
mod manifests;
mod native;
mod objects;
mod parked;
mod quota;
mod sources;
mod support;
mod terminal;
mod troubles;

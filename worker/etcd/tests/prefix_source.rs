//! Changes under paths of a real etcd, as the engine's reader gives them.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what did not hold")]

#[path = "prefix_source/scene.rs"]
mod scene;

#[path = "prefix_source/changes.rs"]
mod changes;
#[path = "prefix_source/gaps.rs"]
mod gaps;
#[path = "prefix_source/listing.rs"]
mod listing;

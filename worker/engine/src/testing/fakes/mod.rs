//! The ports in memory.

mod handler;
mod lease_store;
mod log;
mod stores;

pub use handler::FnHandler;
pub use lease_store::{MemoryLeaseClient, MemoryLeases};
pub use log::{MemoryLog, MemoryReader};
pub use stores::{MemoryCheckpoints, MemoryParked, MemoryProducer};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A lock that a panicking test does not spoil for the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Suites that hold every adapter of a port, real or fake, to what the port's doc says. A suite panics with what did
//! not hold.
//!
//! Stores come from a closure that opens the same store anew at each call, after the earlier handle is gone: what was
//! promised durable must be there. Every suite takes names of its own, so that suites can share one server.

pub mod lease_store;

mod backlog;
mod checkpoint_store;
mod log;
mod parked_store;
mod recall;

pub use backlog::a_backlog_comes_back_in_order;
pub use checkpoint_store::checkpoint_store;
pub use log::{LogUnderTest, a_late_topic_is_read, log, log_survives_reopening};
pub use parked_store::parked_store;

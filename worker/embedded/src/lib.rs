//! A durable log of topics and the cold stores beside it, in one data directory, behind the engine's ports.
//!
//! ```text
//!  Log (append, topics) ──┐                        ┌──▶ EmbeddedReader (thread of its own, read-ahead in bytes)
//!  Checkpoints ───────────┼─▶ writer (one thread) ─┤
//!  Parked ────────────────┘    one sync a group    └──▶ EmbeddedSource (shards, bounds, identity)
//! ```
//!
//! [`DataDir`] is opened by one process at a time. Records are kept as blocks in segments of an LSM
//! store; what is acknowledged is on the disk, whatever kills the process. Offsets of a partition are contiguous from
//! 0; only retention removes records, from the front. What this crate may not do: know a broker, or another adapter.

mod checkpoints;
mod data_dir;
mod ingest;
mod lock;
mod log;
mod parked;
mod reader;
mod recall;
mod source;
mod store;
mod writer;

pub use checkpoints::Checkpoints;
pub use data_dir::{DataDir, DataDirOptions, OpenError};
pub use ingest::{Log, TopicInfo};
pub use log::{BlockError, TopicNameError, TopicOptions, partition_of};
pub use parked::Parked;
pub use reader::EmbeddedReader;
pub use source::EmbeddedSource;
pub use store::error::StoreError;
pub use writer::{AppendError, Place};

//! The log: topics with partitions, kept as blocks of records in segments.
//!
//! Reading is here and pure of any task; writing is the [writer](crate::writer)'s. Up: [crate].

pub(crate) mod block;
pub(crate) mod catalogue;
mod partitioner;
pub(crate) mod read;
pub(crate) mod topic;

pub use block::BlockError;
pub use partitioner::partition_of;
pub use topic::{TopicNameError, TopicOptions};

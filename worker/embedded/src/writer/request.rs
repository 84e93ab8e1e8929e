//! What the writer is asked, and why it may refuse.

use keyweir_core::Offset;
use keyweir_engine::NewRecord;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::rows::Rows;
use crate::log::topic::{TopicNameError, TopicOptions};
use crate::store::error::StoreError;

/// Where a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The partition.
    pub partition: u32,
    /// The offset in it.
    pub offset: Offset,
}

/// Why records were not appended. None of them was, unless the store failed in the middle of writing.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The name is none for a topic.
    #[error("failed to append: the topic's name was refused")]
    Name(#[source] TopicNameError),
    /// A record named a partition that the topic does not have.
    #[error("failed to append to {topic}: it has {partitions} partitions, not a partition {partition}")]
    Partition {
        /// The topic.
        topic: String,
        /// What the record named.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// A record is larger than any may be.
    #[error("failed to append to {topic}: a record of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The store did not write. Tried again if [`StoreError::is_retryable`].
    #[error("failed to append to {topic}")]
    Store {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: StoreError,
    },
}

/// Something to do for the writer.
pub(crate) enum Request {
    /// Records for one topic, which is made if it is missing.
    Append {
        topic: String,
        records: Vec<NewRecord>,
        /// Given back when the records are in a group.
        room: Option<OwnedSemaphorePermit>,
        done: oneshot::Sender<Result<Vec<Place>, AppendError>>,
    },
    /// Makes a topic or changes it.
    EnsureTopic { name: String, options: TopicOptions, done: oneshot::Sender<Result<(), AppendError>> },
    /// Forgets a topic and its records; answers whether there was one.
    DeleteTopic { name: String, done: oneshot::Sender<Result<bool, StoreError>> },
    /// Reads and writes rows of the cold stores.
    Change(Change),
}

/// A change of rows. It reads and decides before it writes; its reply is called when the group is durable.
pub(crate) type Change = Box<dyn FnOnce(Result<&mut Rows, StoreError>) -> Option<Reply> + Send>;

/// Tells a caller how the group ended.
pub(crate) type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

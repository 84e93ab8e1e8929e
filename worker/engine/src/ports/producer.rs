//! `Producer`: durable writes of outputs and dead letters.

use futures::future::BoxFuture;

use crate::record::NewRecord;

/// Durable writes of outputs and dead letters.
///
/// What implementers owe: the future ends only when the record is durable (all in-sync replicas, or fdatasync), or
/// with an error; records of one key written one after another keep their order; many calls may be under way at
/// once and are batched below; a full queue waits, it does not fail.
pub trait Producer: Send + Sync + 'static {
    /// Writes one record to a topic.
    fn produce<'a>(&'a self, topic: &'a str, record: NewRecord) -> BoxFuture<'a, Result<(), ProduceError>>;
}

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// Nobody answered in time. Tried again.
    #[error("failed to write to topic {topic}")]
    Unreachable {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The record can never be written so (too large, invalid topic, not allowed). A person must act.
    #[error("failed to write to topic {topic}: the record or topic was refused")]
    Refused {
        /// The topic.
        topic: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

//! `ParkedStore`: records kept aside, visible, holding no worker.

use bytes::Bytes;
use futures::future::BoxFuture;
use keyweir_core::{Offset, ShardId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::record::NewRecord;

/// Names one parked record: `topic/partition@offset`, as `keyweir parked` prints and takes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ParkedId {
    /// The shard it came from.
    pub shard: ShardId,
    /// Its place there.
    pub offset: Offset,
}

impl std::fmt::Display for ParkedId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.shard, self.offset)
    }
}

/// Records of a shard that follow a parked one, because it blocks its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BlockedKey {
    /// Those with this ordering key.
    Key(Bytes),
    /// All of the shard: it is ordered as a whole.
    Shard,
}

/// A record kept aside, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct ParkedRecord {
    /// Its name.
    pub id: ParkedId,
    /// The record as it was read.
    pub record: NewRecord,
    /// How often it was tried.
    pub attempts: u32,
    /// The stable word of the last failure.
    pub reason: String,
    /// The last failure's text.
    pub text: String,
    /// When it was parked.
    pub parked_at: UnixMillis,
    /// What follows it here, in order, until it is released; `None` = nothing, later records pass it.
    pub blocks: Option<BlockedKey>,
}

/// Records kept aside.
///
/// What implementers owe: `park` and `remove` are durable when they return; parking the same id again replaces it
/// (a crash between parking and the checkpoint repeats it).
pub trait ParkedStore: Send + Sync + 'static {
    /// Keeps a record aside.
    fn park(&self, record: ParkedRecord) -> BoxFuture<'_, Result<(), ParkedError>>;

    /// At most `limit` records behind `after`, by id.
    fn list(
        &self,
        after: Option<ParkedId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ParkedRecord>, ParkedError>>;

    /// One record.
    fn get<'a>(&'a self, id: &'a ParkedId) -> BoxFuture<'a, Result<Option<ParkedRecord>, ParkedError>>;

    /// Forgets a record; `false` = there was none.
    fn remove<'a>(&'a self, id: &'a ParkedId) -> BoxFuture<'a, Result<bool, ParkedError>>;

    /// How many there are.
    fn count(&self) -> BoxFuture<'_, Result<u64, ParkedError>>;
}

/// Why a parked record could not be kept, read or forgotten. Always tried again.
#[derive(Debug, thiserror::Error)]
#[error("failed to {act} a parked record")]
pub struct ParkedError {
    /// `keep`, `read`, `list` or `forget`.
    pub act: &'static str,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

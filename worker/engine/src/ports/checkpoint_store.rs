//! `CheckpointStore`: where frontiers survive a crash.

use futures::future::BoxFuture;
use keyweir_core::ShardId;
use keyweir_core::checkpoint::{Checkpoint, DecodeError};

/// Where frontiers survive a crash.
///
/// What implementers owe:
/// - `save` is durable when it returns: a kill -9 afterwards loses nothing of it. All or none of one shard's
///   checkpoint; several shards may be split.
/// - A checkpoint under an older fence than the stored one is refused with [`CheckpointError::Fenced`], and the
///   stored one stays.
/// - `load` gives the last saved one, checked; a damaged one is an error that names the fix, never `None`.
pub trait CheckpointStore: Send + Sync + 'static {
    /// The last saved checkpoint of each shard, in the order of `shards`.
    fn load<'a>(
        &'a self,
        shards: &'a [ShardId],
    ) -> BoxFuture<'a, Result<Vec<Option<Checkpoint>>, CheckpointError>>;

    /// Saves checkpoints durably. The fence is the checkpoint's own.
    fn save(&self, checkpoints: Vec<(ShardId, Checkpoint)>) -> BoxFuture<'_, Result<(), CheckpointError>>;
}

/// Why a checkpoint was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A newer owner has written: this one is no longer the owner. Never tried again.
    #[error("failed to save the checkpoint of {shard}: a newer owner has written")]
    Fenced {
        /// The shard.
        shard: ShardId,
    },
    /// The store does not answer, or the disk is full. Tried again.
    #[error("failed to reach the checkpoint store to {act}")]
    Unreachable {
        /// `load` or `save`.
        act: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored is damaged, foreign or newer than this program. A person must act.
    #[error("failed to read the checkpoint of {shard}; remove it to start again at `startAt`")]
    Unreadable {
        /// The shard.
        shard: ShardId,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
}

//! `GroupCheckpoints`: checkpoints in the metadata of the group's offsets, for a worker with no other store.
//!
//! A group's offset has room for [`ROOM`] bytes of text. What does not fit is given up in the order of its cost:
//! first the texts of failures, then the highest completed ranges (their records are handled again after a crash),
//! at last the attempts of failed records; the log says so. One process is meant to own the group: brokers compare
//! no fences, so an older owner is found by looking before each write, not by the write. Up: [`CheckpointStore`].

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::checkpoint::{Checkpoint, DecodeError, EncodeError};
use keyweir_core::{Fence, ShardId};
use keyweir_engine::ports::{CheckpointError, CheckpointStore, SourceError};
use thiserror::Error;

use crate::cold::Cold;
use crate::config::Connection;
use crate::offsets::{self, Committed, Mark};

/// Bytes of metadata that a broker keeps beside an offset, by default.
const ROOM: usize = 4096;
/// How often the log says that something does not fit.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Checkpoints beside the offsets of a group.
pub struct GroupCheckpoints {
    cold: Cold,
    /// When it was last said that something does not fit.
    said: Mutex<Option<Instant>>,
}

/// Why a checkpoint is not kept. Tried again.
#[derive(Debug, Error)]
enum SaveError {
    #[error("failed to fit the checkpoint of {shard} beside an offset")]
    TooLarge {
        shard: ShardId,
        #[source]
        source: EncodeError,
    },
    #[error("failed to find the checkpoint of {shard} where it was written")]
    NotKept { shard: ShardId },
}

impl GroupCheckpoints {
    /// Checkpoints beside this group's offsets. Connects at the first call.
    pub fn new(connection: Connection, group: &str) -> Self {
        Self { cold: Cold::new(connection, Some(group)), said: Mutex::default() }
    }

    async fn read(&self, shards: Vec<ShardId>) -> Result<Vec<Option<Committed>>, SourceError> {
        let what = format!("group {}", self.cold.group());
        self.cold.call(what, move |client| offsets::committed(client, &shards)).await
    }

    async fn write(&self, checkpoints: Vec<(ShardId, Checkpoint)>) -> Result<(), CheckpointError> {
        let shards: Vec<ShardId> = checkpoints.iter().map(|(shard, _)| shard.clone()).collect();
        let found = self.read(shards.clone()).await.map_err(|source| unreachable("save", source))?;
        let mut offsets = Vec::with_capacity(checkpoints.len());
        for ((shard, checkpoint), found) in checkpoints.into_iter().zip(found) {
            may_replace(&shard, &checkpoint, found)?;
            let offset = checkpoint.frontier;
            let metadata = self.fit(&shard, &checkpoint)?;
            offsets.push((shard, Committed { offset, metadata }));
        }
        let what = format!("group {}", self.cold.group());
        let written = offsets.clone();
        self.cold
            .call(what, move |client| offsets::commit(client, &written))
            .await
            .map_err(|source| unreachable("save", source))?;
        // A commit of several is answered as done when one of them is: only reading back tells.
        let kept = self.read(shards).await.map_err(|source| unreachable("save", source))?;
        match offsets.into_iter().zip(kept).find(|((_, written), kept)| kept.as_ref() != Some(written)) {
            None => Ok(()),
            Some(((shard, _), _)) => Err(unreachable("save", SaveError::NotKept { shard })),
        }
    }

    fn fit(&self, shard: &ShardId, checkpoint: &Checkpoint) -> Result<String, CheckpointError> {
        let fitted = checkpoint
            .encode_text_within(ROOM)
            .map_err(|source| unreachable("save", SaveError::TooLarge { shard: shard.clone(), source }))?;
        if (fitted.replayed > 0 || fitted.forgotten > 0) && self.is_time_to_say() {
            tracing::warn!(%shard, replayed = fitted.replayed, forgotten = fitted.forgotten,
                "the checkpoint does not fit beside the group's offset: after a crash so many records are \
                 handled again and so many forget their attempts; a data directory keeps all of it");
        }
        Ok(fitted.encoded)
    }

    fn is_time_to_say(&self) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.is_none_or(|at| at.elapsed() >= SAY_AGAIN);
        if is_due {
            *said = Some(Instant::now());
        }
        is_due
    }
}

fn unreachable(
    act: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> CheckpointError {
    CheckpointError::Unreachable { act, source: source.into() }
}

/// A newer owner's checkpoint stays, and so does a reset that was not taken yet: it ends the tenure as a newer owner
/// does. One that was taken stands at the frontier of the checkpoint that follows it.
fn may_replace(
    shard: &ShardId,
    checkpoint: &Checkpoint,
    found: Option<Committed>,
) -> Result<(), CheckpointError> {
    let Some(found) = found else { return Ok(()) };
    match fence_of(shard, &found)? {
        Some(fence) if fence > checkpoint.fence => Err(CheckpointError::Fenced { shard: shard.clone() }),
        Some(_) => Ok(()),
        None if found.offset == checkpoint.frontier => Ok(()),
        None => {
            tracing::warn!(%shard, offset = %found.offset, "the group's offset was reset: this tenure ends");
            Err(CheckpointError::Fenced { shard: shard.clone() })
        }
    }
}

/// Under which fence an offset was written; `None` = by somebody else.
fn fence_of(shard: &ShardId, found: &Committed) -> Result<Option<Fence>, CheckpointError> {
    if let Some(checkpoint) = checkpoint_in(shard, found)? {
        return Ok(Some(checkpoint.fence));
    }
    Ok(found.metadata.parse::<Mark>().ok().map(|mark| mark.fence))
}

/// The checkpoint that stands beside an offset, if one does.
fn checkpoint_in(shard: &ShardId, found: &Committed) -> Result<Option<Checkpoint>, CheckpointError> {
    if !Checkpoint::is_text(&found.metadata) {
        return Ok(None);
    }
    Checkpoint::decode_text(&found.metadata)
        .map(Some)
        .map_err(|source: DecodeError| CheckpointError::Unreadable { shard: shard.clone(), source })
}

impl CheckpointStore for GroupCheckpoints {
    fn load<'a>(
        &'a self,
        shards: &'a [ShardId],
    ) -> BoxFuture<'a, Result<Vec<Option<Checkpoint>>, CheckpointError>> {
        async move {
            let found = self.read(shards.to_vec()).await.map_err(|source| unreachable("load", source))?;
            shards
                .iter()
                .zip(found)
                .map(|(shard, found)| found.map_or(Ok(None), |found| checkpoint_in(shard, &found)))
                .collect()
        }
        .boxed()
    }

    fn save(&self, checkpoints: Vec<(ShardId, Checkpoint)>) -> BoxFuture<'_, Result<(), CheckpointError>> {
        self.write(checkpoints).boxed()
    }
}

#[cfg(test)]
mod tests {
    use keyweir_core::Offset;

    use super::*;

    fn shard() -> ShardId {
        ShardId::new("orders", 3)
    }

    fn at(frontier: i64, fence: u64) -> Checkpoint {
        Checkpoint::new(Fence::new(1, fence), Offset(frontier))
    }

    fn committed(offset: i64, metadata: String) -> Option<Committed> {
        Some(Committed { offset: Offset(offset), metadata })
    }

    #[test]
    fn a_newer_owners_checkpoint_stays() {
        let newer = committed(5, at(5, 8).encode_text());
        assert!(matches!(may_replace(&shard(), &at(9, 7), newer), Err(CheckpointError::Fenced { .. })));
        let marked = Mark { fence: Fence::new(1, 8), sequence: 1 }.to_string();
        let refused = may_replace(&shard(), &at(9, 7), committed(5, marked));
        assert!(matches!(refused, Err(CheckpointError::Fenced { .. })));
        assert!(may_replace(&shard(), &at(9, 8), committed(5, at(5, 8).encode_text())).is_ok());
        assert!(may_replace(&shard(), &at(9, 8), None).is_ok());
    }

    #[test]
    fn a_reset_stays_until_it_was_taken() {
        let reset = || committed(5, String::new());
        let kept = may_replace(&shard(), &at(9, 8), reset());
        assert!(matches!(kept, Err(CheckpointError::Fenced { .. })));
        assert!(may_replace(&shard(), &at(5, 8), reset()).is_ok());
    }

    #[test]
    fn a_damaged_checkpoint_is_an_error_and_not_a_reset() {
        let mut text = at(5, 8).encode_text();
        text.truncate(text.len() - 4);
        let found = committed(5, text);
        assert!(matches!(may_replace(&shard(), &at(5, 8), found), Err(CheckpointError::Unreadable { .. })));
    }
}

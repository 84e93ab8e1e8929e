//! `Checkpoints`: the frontiers of one object, in the data directory.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_core::{Checkpoint, ShardId};
use keyweir_engine::ports::{CheckpointError, CheckpointStore};

use crate::store::error::StoreError;
use crate::store::keys;
use crate::writer::{Followed, Rows, Table, Writer};

/// The checkpoints of one object, for any source: embedded or Kafka.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    object: Arc<str>,
    writer: Writer,
    followed: Followed,
}

impl Checkpoints {
    pub(crate) fn new(object: &str, writer: Writer, followed: Followed) -> Self {
        Self { object: object.into(), writer, followed }
    }

    /// Forgets the checkpoints of shards, damaged ones too: they start again at `startAt`.
    pub async fn remove(&self, shards: &[ShardId]) -> Result<(), CheckpointError> {
        let gone: Vec<_> = shards.iter().map(|shard| keys::shard(&self.object, shard)).collect();
        let change = move |rows: &mut Rows| {
            gone.into_iter().for_each(|key| rows.remove(Table::Checkpoints, key));
            Ok(())
        };
        self.writer.change(change, unreachable("remove")).await
    }

    fn read(&self, shard: &ShardId) -> Result<Option<Checkpoint>, CheckpointError> {
        let failed = unreachable("load");
        let store = self.followed.view.borrow().store.clone().ok_or_else(|| failed(StoreError::Closed))?;
        let stored = store.row(&store.checkpoints, &keys::shard(&self.object, shard)).map_err(failed)?;
        stored.map(|bytes| decode(shard, &bytes)).transpose()
    }
}

/// Keeps a checkpoint unless a newer owner has written.
fn save(
    rows: &mut Rows,
    object: &str,
    shard: ShardId,
    checkpoint: &Checkpoint,
) -> Result<(), CheckpointError> {
    let key = keys::shard(object, &shard);
    let stored = rows.get(Table::Checkpoints, &key).map_err(unreachable("save"))?;
    if let Some(stored) = stored
        && decode(&shard, &stored)?.fence > checkpoint.fence
    {
        return Err(CheckpointError::Fenced { shard });
    }
    rows.put(Table::Checkpoints, key, checkpoint.encode().into());
    Ok(())
}

fn decode(shard: &ShardId, bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::decode(bytes).map_err(|source| CheckpointError::Unreadable { shard: shard.clone(), source })
}

fn unreachable(act: &'static str) -> impl Fn(StoreError) -> CheckpointError + Clone {
    move |source| CheckpointError::Unreachable { act, source: Box::new(source) }
}

impl CheckpointStore for Checkpoints {
    fn load<'a>(
        &'a self,
        shards: &'a [ShardId],
    ) -> BoxFuture<'a, Result<Vec<Option<Checkpoint>>, CheckpointError>> {
        let loaded = shards.iter().map(|shard| self.read(shard)).collect();
        async { loaded }.boxed()
    }

    fn save(&self, checkpoints: Vec<(ShardId, Checkpoint)>) -> BoxFuture<'_, Result<(), CheckpointError>> {
        let object = self.object.clone();
        let change = move |rows: &mut Rows| {
            // One shard that is no longer ours does not keep the others from being saved.
            let mut refused = Ok(());
            for (shard, checkpoint) in checkpoints {
                refused = refused.and(save(rows, &object, shard, &checkpoint));
            }
            refused
        };
        self.writer.change(change, unreachable("save")).boxed()
    }
}

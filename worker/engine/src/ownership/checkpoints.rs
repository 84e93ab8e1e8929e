//! Checkpoints beside the owner keys of a `LeaseStore`: each write is fenced by the owner key under which it is
//! made, many shards share a transaction. Up: [ownership](super).

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_contract::keys::{Key, ObjectPrefix};
use keyweir_core::ShardId;
use keyweir_core::checkpoint::{Checkpoint, DecodeError, EncodeError};

use crate::ports::{
    CheckpointError, CheckpointStore, Committed, Entry, Guard, LeaseStore, MAX_OPERATIONS,
    MAX_TRANSACTION_BYTES, StoreError, Transaction,
};

/// A checkpoint takes at most so many bytes; what does not fit is handled again after a crash.
pub const LARGEST_CHECKPOINT: usize = 384 * 1024;

/// What a transaction keeps free for its keys.
const ROOM_FOR_KEYS: usize = 64 * 1024;

/// The checkpoints of one object.
#[derive(Clone)]
pub struct LeaseCheckpoints {
    store: Arc<dyn LeaseStore>,
    prefix: ObjectPrefix,
}

impl LeaseCheckpoints {
    /// The checkpoints under an object's prefix.
    #[must_use]
    pub fn new(store: Arc<dyn LeaseStore>, prefix: ObjectPrefix) -> Self {
        Self { store, prefix }
    }

    async fn load_all(&self, shards: &[ShardId]) -> Result<Vec<Option<Checkpoint>>, CheckpointError> {
        let mut found = Vec::with_capacity(shards.len());
        for shards in shards.chunks(MAX_OPERATIONS) {
            let read = shards
                .iter()
                .fold(Transaction::new(), |transaction, shard| transaction.read(self.key(shard)));
            match self.store.commit(read).await.map_err(|source| unreachable("load", source))? {
                Committed::Done { reads, .. } => {
                    for (shard, entry) in shards.iter().zip(reads) {
                        found.push(decode(shard, entry.as_ref())?);
                    }
                }
                // It has no guard that could refuse.
                Committed::Refused { .. } => found.resize(found.len() + shards.len(), None),
            }
        }
        Ok(found)
    }

    async fn save_all(&self, checkpoints: Vec<(ShardId, Checkpoint)>) -> Result<(), CheckpointError> {
        let mut fenced = None;
        for mut part in parts(checkpoints)? {
            while !part.is_empty() {
                let Some(found) = self.save_part(&part).await? else {
                    break;
                };
                // Those whose owner key is another one are out; the others are tried again without them.
                let held = part.len();
                let mut kept = Vec::with_capacity(held);
                for (write, found) in part.into_iter().zip(found) {
                    if write.guard(&self.prefix).holds(found.as_ref()) {
                        kept.push(write);
                    } else {
                        fenced.get_or_insert(write.shard);
                    }
                }
                part = if kept.len() < held { kept } else { Vec::new() };
            }
        }
        fenced.map_or(Ok(()), |shard| Err(CheckpointError::Fenced { shard }))
    }

    /// `None` = saved; else what stands under each owner key.
    async fn save_part(&self, part: &[Save]) -> Result<Option<Vec<Option<Entry>>>, CheckpointError> {
        let transaction = part.iter().fold(Transaction::new(), |transaction, write| {
            transaction.when(write.guard(&self.prefix)).put(self.key(&write.shard), write.bytes.clone(), None)
        });
        match self.store.commit(transaction).await.map_err(|source| unreachable("save", source))? {
            Committed::Done { .. } => Ok(None),
            Committed::Refused { found, .. } => Ok(Some(found)),
        }
    }

    fn key(&self, shard: &ShardId) -> String {
        self.prefix.key(&Key::Checkpoint(shard.to_string()))
    }
}

impl CheckpointStore for LeaseCheckpoints {
    fn load<'a>(
        &'a self,
        shards: &'a [ShardId],
    ) -> BoxFuture<'a, Result<Vec<Option<Checkpoint>>, CheckpointError>> {
        self.load_all(shards).boxed()
    }

    fn save(&self, checkpoints: Vec<(ShardId, Checkpoint)>) -> BoxFuture<'_, Result<(), CheckpointError>> {
        self.save_all(checkpoints).boxed()
    }
}

/// One checkpoint on its way.
struct Save {
    shard: ShardId,
    revision: u64,
    bytes: Vec<u8>,
}

impl Save {
    fn guard(&self, prefix: &ObjectPrefix) -> Guard {
        Guard::Created(prefix.key(&Key::Owner(self.shard.to_string())), self.revision)
    }
}

/// Parts that fit in a transaction each.
fn parts(checkpoints: Vec<(ShardId, Checkpoint)>) -> Result<Vec<Vec<Save>>, CheckpointError> {
    let mut parts = Vec::new();
    let mut part: Vec<Save> = Vec::new();
    let mut bytes = 0;
    for (shard, checkpoint) in checkpoints {
        let encoded = encode(&shard, &checkpoint, LARGEST_CHECKPOINT)?;
        if part.len() == MAX_OPERATIONS || bytes + encoded.len() > MAX_TRANSACTION_BYTES - ROOM_FOR_KEYS {
            parts.push(std::mem::take(&mut part));
            bytes = 0;
        }
        bytes += encoded.len();
        part.push(Save { shard, revision: checkpoint.fence.revision, bytes: encoded });
    }
    parts.push(part);
    Ok(parts)
}

/// A checkpoint as it is stored, within a bound.
pub(super) fn encode(
    shard: &ShardId,
    checkpoint: &Checkpoint,
    bound: usize,
) -> Result<Vec<u8>, CheckpointError> {
    let fitted = checkpoint
        .encode_within(bound)
        .map_err(|source: EncodeError| CheckpointError::Unreachable { act: "save", source: source.into() })?;
    if fitted.replayed > 0 || fitted.forgotten > 0 {
        let (replayed, forgotten) = (fitted.replayed, fitted.forgotten);
        tracing::warn!(%shard, replayed, forgotten, "a checkpoint was cut to its bound");
    }
    Ok(fitted.encoded)
}

/// A stored checkpoint.
pub(super) fn decode(shard: &ShardId, entry: Option<&Entry>) -> Result<Option<Checkpoint>, CheckpointError> {
    let decoded = entry.map(|entry| Checkpoint::decode(&entry.value)).transpose();
    decoded.map_err(|source: DecodeError| CheckpointError::Unreadable { shard: shard.clone(), source })
}

fn unreachable(act: &'static str, source: StoreError) -> CheckpointError {
    CheckpointError::Unreachable { act, source: source.into() }
}

//! Checkpoints beside the owner keys of a `LeaseStore`: each write is fenced by the owner key under which it is
//! made, many shards share a transaction. Up: [ownership](super).
//!
//! A save that nobody answered may still arrive, after a newer one. So each save requires that the owner key was last
//! written when its writer thinks it was, and one that follows a silence writes the owner key once more beside the
//! checkpoint: what is still on its way is refused then.

use std::collections::HashMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_contract::keys::{Key, ObjectPrefix};
use keyweir_core::ShardId;
use keyweir_core::checkpoint::{Checkpoint, DecodeError, EncodeError};
use tokio::sync::watch;

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
    /// What is known of the owner keys of shards that had a save in doubt. All clones know it: they write the same keys.
    owners: watch::Sender<HashMap<ShardId, Owner>>,
}

/// What is known of an owner key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    /// When it was created.
    created: u64,
    /// When it was last written; `None` = a save is in doubt.
    written: Option<u64>,
}

impl LeaseCheckpoints {
    /// The checkpoints under an object's prefix.
    #[must_use]
    pub fn new(store: Arc<dyn LeaseStore>, prefix: ObjectPrefix) -> Self {
        Self { store, prefix, owners: watch::Sender::default() }
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
        for mut part in self.parts(checkpoints)? {
            while !part.is_empty() {
                self.look_at_doubtful(&mut part).await?;
                let Some(found) = self.save_part(&part).await? else {
                    break;
                };
                // Those whose owner key is another one are out; the others are tried again without them.
                let (mut kept, mut changed) = (Vec::with_capacity(part.len()), false);
                for (save, found) in part.into_iter().zip(found) {
                    match found.filter(|found| found.create_revision == save.created) {
                        Some(found) if found.mod_revision == save.written() => kept.push(save),
                        Some(found) => {
                            changed = true;
                            kept.push(Save { owner: Some(found), ..save });
                        }
                        None => {
                            changed = true;
                            fenced.get_or_insert(save.shard);
                        }
                    }
                }
                part = if changed { kept } else { Vec::new() };
            }
        }
        fenced.map_or(Ok(()), |shard| Err(CheckpointError::Fenced { shard }))
    }

    /// Reads the owner keys of those shards that have a save in doubt.
    async fn look_at_doubtful(&self, part: &mut [Save]) -> Result<(), CheckpointError> {
        let doubtful: Vec<&mut Save> =
            part.iter_mut().filter(|save| save.doubtful && save.owner.is_none()).collect();
        if doubtful.is_empty() {
            return Ok(());
        }
        let look = doubtful
            .iter()
            .fold(Transaction::new(), |transaction, save| transaction.read(self.owner_key(&save.shard)));
        // It has no guard that could refuse.
        if let Committed::Done { reads, .. } =
            self.store.commit(look).await.map_err(|source| unreachable("save", source))?
        {
            doubtful.into_iter().zip(reads).for_each(|(save, owner)| save.owner = owner);
        }
        Ok(())
    }

    /// `None` = saved; else what stands under each owner key.
    async fn save_part(&self, part: &[Save]) -> Result<Option<Vec<Option<Entry>>>, CheckpointError> {
        let transaction = part.iter().fold(Transaction::new(), |transaction, save| {
            let owner = self.owner_key(&save.shard);
            let mut transaction = transaction.when(Guard::Written(owner.clone(), save.written()));
            if let Some(entry) = &save.owner {
                transaction = transaction.put(owner, entry.value.clone(), entry.lease);
            }
            transaction.put(self.key(&save.shard), save.bytes.clone(), None)
        });
        // Whatever ends this call without an answer leaves it in doubt.
        part.iter().for_each(|save| self.note(save, None));
        match self.store.commit(transaction).await.map_err(|source| unreachable("save", source))? {
            Committed::Done { revision, .. } => {
                let written = |save: &Save| if save.owner.is_some() { revision } else { save.written() };
                part.iter().for_each(|save| self.note(save, Some(written(save))));
                Ok(None)
            }
            Committed::Refused { found, .. } => Ok(Some(found)),
        }
    }

    /// When the owner key of a save was last written; `None` = the save is in doubt. A newer tenure knows better.
    fn note(&self, save: &Save, written: Option<u64>) {
        self.owners.send_if_modified(|owners| {
            let known = owners.get(&save.shard);
            let newer = known.is_some_and(|known| known.created > save.created);
            // As long as nothing was in doubt, it was written when it was created.
            if !newer && written == Some(save.created) {
                owners.remove(&save.shard);
            } else if !newer {
                owners.insert(save.shard.clone(), Owner { created: save.created, written });
            }
            // Nobody waits for it.
            false
        });
    }

    fn owner_key(&self, shard: &ShardId) -> String {
        self.prefix.key(&Key::Owner(shard.to_string()))
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
    bytes: Vec<u8>,
    /// When the owner key was created under which it is made.
    created: u64,
    /// When that was last written, as far as is known.
    known: u64,
    /// An earlier save is in doubt: the owner key is written again beside this one.
    doubtful: bool,
    /// The owner key as it stands, where it was looked at.
    owner: Option<Entry>,
}

impl Save {
    /// When the owner key must have been written last.
    fn written(&self) -> u64 {
        match &self.owner {
            Some(owner) if owner.create_revision == self.created => owner.mod_revision,
            // Another tenure's: what was known of ours can't hold any more, and the store says so.
            _ => self.known,
        }
    }

    /// What it takes in its transaction.
    fn operations(&self) -> usize {
        if self.doubtful { 2 } else { 1 }
    }
}

impl LeaseCheckpoints {
    /// Parts that fit in a transaction each.
    fn parts(&self, checkpoints: Vec<(ShardId, Checkpoint)>) -> Result<Vec<Vec<Save>>, CheckpointError> {
        let mut parts = Vec::new();
        let mut part: Vec<Save> = Vec::new();
        let (mut bytes, mut operations) = (0, 0);
        for (shard, checkpoint) in checkpoints {
            let save = self.save_of(shard, &checkpoint)?;
            let full = operations + save.operations() > MAX_OPERATIONS;
            if full || bytes + save.bytes.len() > MAX_TRANSACTION_BYTES - ROOM_FOR_KEYS {
                parts.push(std::mem::take(&mut part));
                (bytes, operations) = (0, 0);
            }
            bytes += save.bytes.len();
            operations += save.operations();
            part.push(save);
        }
        parts.push(part);
        Ok(parts)
    }

    fn save_of(&self, shard: ShardId, checkpoint: &Checkpoint) -> Result<Save, CheckpointError> {
        let bytes = encode(&shard, checkpoint, LARGEST_CHECKPOINT)?;
        let created = checkpoint.fence.revision;
        let known = self.owners.borrow().get(&shard).copied().filter(|owner| owner.created == created);
        Ok(Save {
            shard,
            bytes,
            created,
            known: known.and_then(|owner| owner.written).unwrap_or(created),
            doubtful: known.is_some_and(|owner| owner.written.is_none()),
            owner: None,
        })
    }
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

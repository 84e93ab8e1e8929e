//! What the store of parked records knows of blocked keys. Up: [`super`].

use std::collections::HashMap;

use keyweir_core::{Offset, ShardId};

use crate::ports::{BlockedKey, ParkedError, ParkedId, ParkedRecord, ParkedStore};

/// Parked records looked at together; they lie in memory meanwhile.
const PAGE: usize = 16;

/// Behind no record of a shard.
const BEFORE_ALL: Offset = Offset(-1);

/// The first parked record of each blocked key of a shard.
pub(super) async fn firsts(
    parked: &dyn ParkedStore,
    shard: &ShardId,
) -> Result<Vec<(BlockedKey, Offset)>, ParkedError> {
    let mut firsts = HashMap::new();
    let mut after = Some(BEFORE_ALL);
    while let Some(from) = after.take() {
        for record in page(parked, shard, from).await? {
            after = Some(record.id.offset);
            if let Some(key) = record.blocks {
                firsts.entry(key).or_insert(record.id.offset);
            }
        }
    }
    Ok(firsts.into_iter().collect())
}

/// Forgets what is `done`, then finds the next parked record of a key behind `after`.
pub(super) async fn forget_and_find(
    parked: &dyn ParkedStore,
    shard: &ShardId,
    key: &BlockedKey,
    done: Option<Offset>,
    after: Offset,
) -> Result<Option<ParkedRecord>, ParkedError> {
    if let Some(offset) = done {
        parked.remove(&ParkedId { shard: shard.clone(), offset }).await?;
    }
    let mut after = Some(after);
    while let Some(from) = after.take() {
        for record in page(parked, shard, from).await? {
            after = Some(record.id.offset);
            if record.blocks.as_ref() == Some(key) {
                return Ok(Some(record));
            }
        }
    }
    Ok(None)
}

/// Some parked records of a shard behind that offset.
async fn page(
    parked: &dyn ParkedStore,
    shard: &ShardId,
    after: Offset,
) -> Result<Vec<ParkedRecord>, ParkedError> {
    let behind = ParkedId { shard: shard.clone(), offset: after };
    let mut page = parked.list(Some(behind), PAGE).await?;
    page.retain(|record| record.id.shard == *shard);
    Ok(page)
}

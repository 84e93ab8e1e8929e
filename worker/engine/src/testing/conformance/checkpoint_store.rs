//! What every `CheckpointStore` owes.

use keyweir_core::checkpoint::{Checkpoint, FailedRecord};
use keyweir_core::{Attempt, Fence, Offset, OffsetRange, ShardId, UnixMillis};

use crate::ports::{CheckpointError, CheckpointStore};

/// Holds a store to its obligations. `open` opens it anew, over what earlier handles saved; it starts out empty of
/// the topic `name`.
pub async fn checkpoint_store<S: CheckpointStore>(name: &str, mut open: impl AsyncFnMut() -> S) {
    let shards: Vec<ShardId> = (0..4).map(|index| ShardId::new(name, index)).collect();
    nothing_is_there_at_first(&open().await, &shards).await;
    what_is_saved_is_loaded(&mut open, &shards).await;
    an_older_fence_is_refused(&mut open, &shards[1]).await;
    a_refused_shard_leaves_the_stored_ones_whole(&open().await, &shards[2], &shards[3]).await;
    many_saves_at_once_all_end(&open().await, &shards).await;
}

fn rich(fence: Fence, frontier: i64) -> Checkpoint {
    let mut checkpoint = Checkpoint::new(fence, Offset(frontier));
    checkpoint.sequence = 17;
    for start in [frontier + 2, frontier + 9] {
        checkpoint.completed.insert(OffsetRange { start: Offset(start), end: Offset(start + 3) });
    }
    checkpoint.failed = vec![FailedRecord {
        offset: Offset(frontier),
        attempts: Attempt(3),
        not_before: UnixMillis(1_700_000_000_000),
        reason: "TimedOut: the handler — slow".to_owned(),
    }];
    checkpoint.crash_takeovers = 2;
    checkpoint.cluster_id = Some("cluster".to_owned());
    checkpoint.stream_id = Some("stream".to_owned());
    checkpoint
}

async fn load<S: CheckpointStore>(store: &S, shards: &[ShardId]) -> Vec<Option<Checkpoint>> {
    store.load(shards).await.expect("checkpoints load")
}

async fn save<S: CheckpointStore>(store: &S, shard: &ShardId, checkpoint: &Checkpoint) {
    store.save(vec![(shard.clone(), checkpoint.clone())]).await.expect("a checkpoint is saved");
}

async fn nothing_is_there_at_first<S: CheckpointStore>(store: &S, shards: &[ShardId]) {
    assert_eq!(load(store, shards).await, vec![None; shards.len()], "an unknown shard has no checkpoint");
    assert_eq!(load(store, &[]).await, Vec::new());
}

async fn what_is_saved_is_loaded<S: CheckpointStore>(open: &mut impl AsyncFnMut() -> S, shards: &[ShardId]) {
    let (first, second) = (rich(Fence::new(0, 5), 100), Checkpoint::new(Fence::new(0, 6), Offset(7)));
    let both = vec![(shards[2].clone(), first.clone()), (shards[0].clone(), second.clone())];
    open().await.save(both).await.expect("two checkpoints are saved");
    let loaded = load(&open().await, shards).await;
    assert_eq!(loaded, [Some(second), None, Some(first), None], "in the order of the question, whole");
}

async fn an_older_fence_is_refused<S: CheckpointStore>(open: &mut impl AsyncFnMut() -> S, shard: &ShardId) {
    let store = open().await;
    let (old, new) = (Fence::new(1, 900), Fence::new(2, 3));
    save(&store, shard, &rich(old, 10)).await;
    save(&store, shard, &rich(old, 20)).await;
    save(&store, shard, &rich(new, 30)).await;
    let late = store.save(vec![(shard.clone(), rich(old, 40))]).await;
    assert!(
        matches!(&late, Err(CheckpointError::Fenced { shard: fenced }) if fenced == shard),
        "an older owner is told that it is one: {late:?}"
    );
    drop(store);
    let kept = load(&open().await, std::slice::from_ref(shard)).await;
    assert_eq!(kept, [Some(rich(new, 30))], "the newer owner's checkpoint stays");
}

async fn a_refused_shard_leaves_the_stored_ones_whole<S: CheckpointStore>(
    store: &S,
    lost: &ShardId,
    kept: &ShardId,
) {
    let (mine, newer) = (Fence::new(3, 1), Fence::new(3, 2));
    save(store, lost, &rich(newer, 50)).await;
    save(store, kept, &rich(mine, 60)).await;
    let both = vec![(lost.clone(), rich(mine, 51)), (kept.clone(), rich(mine, 61))];
    let refused = store.save(both).await;
    assert!(matches!(refused, Err(CheckpointError::Fenced { .. })), "one lost shard is told: {refused:?}");
    let loaded = load(store, &[lost.clone(), kept.clone()]).await;
    assert_eq!(loaded[0], Some(rich(newer, 50)), "the lost shard's checkpoint is its new owner's");
    let either = [Some(rich(mine, 60)), Some(rich(mine, 61))];
    assert!(either.contains(&loaded[1]), "the other one is the earlier or the later, whole");
}

async fn many_saves_at_once_all_end<S: CheckpointStore>(store: &S, shards: &[ShardId]) {
    let fence = Fence::new(9, 9);
    let saves = shards.iter().map(|shard| store.save(vec![(shard.clone(), rich(fence, 1_000))]));
    for saved in futures::future::join_all(saves).await {
        saved.expect("saves at the same time do not disturb each other");
    }
    assert_eq!(load(store, shards).await, vec![Some(rich(fence, 1_000)); shards.len()]);
}

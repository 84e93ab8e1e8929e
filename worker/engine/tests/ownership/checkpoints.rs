//! Checkpoints beside owner keys: fenced one by one, written together, bounded.

use std::sync::Arc;

use keyweir_contract::keys::Key;
use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, Offset, OffsetRange, RangeSet, ShardId};
use keyweir_engine::ownership::{LARGEST_CHECKPOINT, LeaseCheckpoints};
use keyweir_engine::ports::{CheckpointError, CheckpointStore, Committed, LeaseStore, Transaction};
use keyweir_engine::testing::fakes::MemoryLeases;

use super::fleet::prefix;

fn orders(index: u32) -> ShardId {
    ShardId::new("orders", index)
}

/// A store and its checkpoints.
fn stores() -> (MemoryLeases, LeaseCheckpoints) {
    let store = MemoryLeases::new();
    let checkpoints = LeaseCheckpoints::new(Arc::new(store.client()), prefix());
    (store, checkpoints)
}

/// Makes somebody the owner of a shard; gives the fence.
async fn owned(store: &MemoryLeases, shard: &ShardId) -> Fence {
    let key = prefix().key(&Key::Owner(shard.to_string()));
    let client = store.client();
    client.commit(Transaction::new().delete(key.clone())).await.expect("deleted");
    match client.commit(Transaction::new().put(key, "somebody", None)).await.expect("written") {
        Committed::Done { revision, .. } => Fence::new(1, revision),
        Committed::Refused { .. } => unreachable!("nothing guards it"),
    }
}

fn at(fence: Fence, frontier: i64) -> Checkpoint {
    Checkpoint::new(fence, Offset(frontier))
}

/// That many single offsets, none beside another.
fn single(count: i64) -> RangeSet {
    let offset = |n: i64| Offset(n * 1000 + n % 13 + 1);
    (0..count).map(|n| OffsetRange { start: offset(n), end: Offset(offset(n).0 + 1) }).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_saved_is_loaded_in_the_order_that_was_asked_for() {
    let (store, checkpoints) = stores();
    let fence = owned(&store, &orders(3)).await;
    checkpoints.save(vec![(orders(3), at(fence, 7))]).await.expect("saved");
    let loaded = checkpoints.load(&[orders(1), orders(3)]).await.expect("loaded");
    assert_eq!(loaded, [None, Some(at(fence, 7))]);
}

/// U21: the others that share the transaction are saved all the same.
#[tokio::test(start_paused = true)]
async fn only_the_shard_whose_fence_is_old_is_refused() {
    let (store, checkpoints) = stores();
    let old = owned(&store, &orders(1)).await;
    let new = owned(&store, &orders(1)).await;
    let other = owned(&store, &orders(2)).await;
    checkpoints.save(vec![(orders(1), at(new, 9))]).await.expect("saved");
    let both = vec![(orders(1), at(old, 5)), (orders(2), at(other, 6))];
    let refused = checkpoints.save(both).await;
    assert!(matches!(&refused, Err(CheckpointError::Fenced { shard }) if *shard == orders(1)), "{refused:?}");
    let loaded = checkpoints.load(&[orders(1), orders(2)]).await.expect("loaded");
    assert_eq!(loaded, [Some(at(new, 9)), Some(at(other, 6))]);
}

/// A shard that nobody owns any more is nobody's to write.
#[tokio::test(start_paused = true)]
async fn without_an_owner_nothing_is_saved() {
    let (store, checkpoints) = stores();
    let refused = checkpoints.save(vec![(orders(1), at(Fence::new(1, 3), 5))]).await;
    assert!(matches!(refused, Err(CheckpointError::Fenced { .. })));
    assert!(store.standing(&prefix().checkpoints()).entries.is_empty());
}

/// Section 3.8: at most 100 operations and 512 KiB in one transaction.
#[tokio::test(start_paused = true)]
async fn many_and_large_checkpoints_are_split_into_transactions() {
    let (store, checkpoints) = stores();
    let mut all = Vec::new();
    for index in 0..250 {
        let mut checkpoint = at(owned(&store, &orders(index)).await, 0);
        if index % 50 == 0 {
            checkpoint.completed = single(20_000);
        }
        all.push((orders(index), checkpoint));
    }
    checkpoints.save(all.clone()).await.expect("saved");
    let shards: Vec<ShardId> = all.iter().map(|(shard, _)| shard.clone()).collect();
    let loaded = checkpoints.load(&shards).await.expect("loaded");
    assert!(loaded.into_iter().flatten().eq(all.into_iter().map(|(_, checkpoint)| checkpoint)));
}

/// What does not fit is handled again after a crash, and never counted as complete.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_beyond_its_bound_is_cut_and_stays_true() {
    let (store, checkpoints) = stores();
    let mut checkpoint = at(owned(&store, &orders(0)).await, 0);
    checkpoint.completed = single(300_000);
    checkpoints.save(vec![(orders(0), checkpoint.clone())]).await.expect("saved");
    let stored = store.standing(&prefix().checkpoints()).entries;
    assert!(stored[0].value.len() <= LARGEST_CHECKPOINT, "{}", stored[0].value.len());
    let loaded = checkpoints.load(&[orders(0)]).await.expect("loaded").remove(0).expect("it is there");
    assert!(loaded.completed.width() > 0 && loaded.completed.width() < checkpoint.completed.width());
    assert_eq!(loaded.frontier, checkpoint.frontier);
    assert!(loaded.completed.iter().all(|range| checkpoint.completed.contains(range.start)));
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_can_not_be_read_is_told_with_its_shard() {
    let (store, checkpoints) = stores();
    let key = prefix().key(&Key::Checkpoint(orders(4).to_string()));
    store.meddle(Transaction::new().put(key, "rubbish", None)).expect("written");
    let unreadable = checkpoints.load(&[orders(3), orders(4)]).await;
    assert!(matches!(unreadable, Err(CheckpointError::Unreadable { shard, .. }) if shard == orders(4)));
}

/// A save that nobody answered may arrive when a newer one of the same owner is long stored: it takes nothing back.
#[tokio::test(start_paused = true)]
async fn a_save_that_arrives_late_takes_nothing_back() {
    let store = MemoryLeases::new();
    let client = store.client();
    let checkpoints = LeaseCheckpoints::new(Arc::new(client.clone()), prefix());
    let fences = [owned(&store, &orders(1)).await, owned(&store, &orders(2)).await];
    let all =
        |frontier: i64| vec![(orders(1), at(fences[0], frontier)), (orders(2), at(fences[1], frontier))];
    let stored = async || {
        let loaded = checkpoints.load(&[orders(1), orders(2)]).await.expect("loaded");
        loaded.into_iter().flatten().map(|checkpoint| checkpoint.frontier.0).collect::<Vec<_>>()
    };
    checkpoints.save(all(1)).await.expect("saved");
    // Two in a row stay on their way, then one arrives.
    client.hold_back(2);
    for frontier in [5, 6] {
        let silence = checkpoints.save(all(frontier)).await;
        assert!(matches!(silence, Err(CheckpointError::Unreachable { .. })), "{silence:?}");
    }
    checkpoints.save(all(9)).await.expect("saved");
    assert_eq!(client.let_through(), 2, "both are refused");
    assert_eq!(stored().await, [9, 9]);
    // One that arrives between its silence and the next save is overtaken by that.
    client.hold_back(1);
    checkpoints.save(all(11)).await.expect_err("nobody answers");
    assert_eq!(client.let_through(), 0);
    for frontier in [12, 13] {
        checkpoints.save(all(frontier)).await.expect("saved");
    }
    assert_eq!(stored().await, [13, 13]);
    // Whose tenure is over stays refused, whatever was in doubt.
    client.hold_back(1);
    checkpoints.save(all(14)).await.expect_err("nobody answers");
    let newer = owned(&store, &orders(1)).await;
    checkpoints.save(vec![(orders(1), at(newer, 20))]).await.expect("saved");
    assert!(matches!(checkpoints.save(all(15)).await, Err(CheckpointError::Fenced { .. })));
    assert_eq!((client.let_through(), stored().await), (1, vec![20, 15]));
}

/// What is in doubt takes two writes a shard: as many as ever are still saved.
#[tokio::test(start_paused = true)]
async fn many_saves_in_doubt_are_split_into_transactions() {
    let store = MemoryLeases::new();
    let client = store.client();
    let checkpoints = LeaseCheckpoints::new(Arc::new(client.clone()), prefix());
    let mut all = Vec::new();
    for index in 0..150 {
        all.push((orders(index), at(owned(&store, &orders(index)).await, 7)));
    }
    client.hold_back(1);
    checkpoints.save(all.clone()).await.expect_err("nobody answers");
    checkpoints.save(all.clone()).await.expect("saved");
    let shards: Vec<ShardId> = all.iter().map(|(shard, _)| shard.clone()).collect();
    assert_eq!(checkpoints.load(&shards).await.expect("loaded").into_iter().flatten().count(), 150);
    assert_eq!(client.let_through(), 1);
}

//! Records that are parked, and keys that stand behind one.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use keyweir_contract::policy::{ExhaustedAction, Ordering};
use keyweir_core::{Offset, UnixMillis};
use keyweir_engine::Outcome;
use keyweir_engine::ports::{BlockedKey, ParkedId, ParkedRecord, ParkedStore};
use keyweir_engine::pump::{Command, Fate, ReleaseMode, Replay};
use keyweir_engine::testing::fakes::FnHandler;
use tokio::sync::oneshot;

use super::sim::Dice;
use super::{Bench, Worker, record};

/// A handler that can't do what begins with `bad` while it is broken, and notes what it did.
#[derive(Clone, Default)]
struct Shop {
    mended: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<String>>>,
}

impl Shop {
    fn handler(&self) -> FnHandler {
        let shop = self.clone();
        FnHandler::new(move |request| {
            let shop = shop.clone();
            let value = String::from_utf8_lossy(request.record.value().unwrap_or_default()).into_owned();
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if value.starts_with("bad") && !shop.mended.load(SeqCst) {
                    return Outcome::retry("Broken", "on purpose");
                }
                shop.done.lock().expect("nobody panics").push(value);
                Outcome::DONE
            }
        })
    }

    fn mend(&self) {
        self.mended.store(true, SeqCst);
    }

    /// What was done of a key, in order.
    fn done(&self, key: &str) -> Vec<String> {
        let done = self.done.lock().expect("nobody panics");
        done.iter().filter(|value| value.trim_start_matches("bad ").starts_with(key)).cloned().collect()
    }
}

fn in_order() -> Bench {
    let mut bench = Bench::new();
    bench.fixed.on_exhausted = ExhaustedAction::Park { blocks_key: true };
    bench.live.retry.max_attempts = 1;
    bench
}

async fn parked(bench: &Bench) -> Vec<i64> {
    let all = bench.parked.list(None, 1000).await.expect("memory");
    all.into_iter().map(|parked| parked.id.offset.0).collect()
}

async fn until_parked(bench: &Bench, offsets: &[i64]) {
    for _ in 0..10_000 {
        if parked(bench).await == offsets {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(parked(bench).await, offsets);
}

pub(super) async fn release(bench: &Bench, worker: &Worker, offset: i64) -> Replay {
    let id = ParkedId { shard: bench.shard(), offset: Offset(offset) };
    let found = bench.parked.get(&id).await.expect("memory").expect("it is parked");
    let (reply, answer) = oneshot::channel();
    let replay = Command::Replay { parked: Box::new(found), reply };
    worker.pump.send(replay).await.expect("the pump runs");
    answer.await.expect("the pump answers")
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn later_records_pass_a_parked_one_unless_it_blocks_its_key() {
    let mut bench = in_order();
    bench.fixed.on_exhausted = ExhaustedAction::Park { blocks_key: false };
    let shop = Shop::default();
    for value in ["bad a1", "a2"] {
        bench.send("a", value);
    }
    let worker = bench.start(shop.handler());
    worker.completed(2).await;
    assert_eq!((parked(&bench).await, shop.done("a")), (vec![0], texts(&["a2"])));
    shop.mend();
    assert_eq!(release(&bench, &worker, 0).await, Replay::Alone);
    until_parked(&bench, &[]).await;
    assert_eq!(shop.done("a"), ["a2", "bad a1"], "out of its order");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_follows_its_parked_record_there_and_comes_back_in_order() {
    let (bench, shop) = (in_order(), Shop::default());
    for (key, value) in [("a", "bad a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("b", "b2")] {
        bench.send(key, value);
    }
    let worker = bench.start(shop.handler());
    worker.completed(5).await;
    bench.send("a", "a4");
    worker.completed(6).await;
    assert_eq!((shop.done("a"), shop.done("b")), (vec![], texts(&["b1", "b2"])), "others pass");
    assert_eq!(parked(&bench).await, [0, 1, 3, 5]);
    let all = bench.parked.list(None, 9).await.expect("memory");
    let why: Vec<_> = all.iter().map(|parked| (parked.reason.as_str(), parked.attempts)).collect();
    assert_eq!(why, [("Broken", 1), ("BehindParked", 0), ("BehindParked", 0), ("BehindParked", 0)]);
    assert!(all.iter().all(|parked| parked.blocks == Some(BlockedKey::Key(Bytes::from_static(b"a")))));

    let first = ParkedId { shard: bench.shard(), offset: Offset(0) };
    assert_eq!(release(&bench, &worker, 3).await, Replay::After(first));
    shop.mend();
    assert_eq!(release(&bench, &worker, 0).await, Replay::InOrder);
    for later in ["a5", "a6", "a7", "a8"] {
        tokio::time::sleep(Duration::from_millis(15)).await;
        bench.send("a", later);
    }
    until_parked(&bench, &[]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(shop.done("a"), ["bad a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"]);
    bench.send("a", "a9");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(shop.done("a").last().map(String::as_str), Some("a9"), "the key is free again");
    worker.stop().await;
    assert_eq!(bench.checkpoints.stored(&bench.shard()).map(|stored| stored.frontier), Some(Offset(11)));
}

#[tokio::test(start_paused = true)]
async fn what_arrives_while_a_long_line_comes_back_keeps_its_place() {
    let (bench, shop) = (in_order(), Shop::default());
    bench.send("a", "bad a000");
    for i in 1..100 {
        bench.send("a", &format!("a{i:03}"));
    }
    let worker = bench.start(shop.handler());
    worker.completed(100).await;
    shop.mend();
    assert_eq!(release(&bench, &worker, 0).await, Replay::InOrder);
    for i in 100..300 {
        bench.send("a", &format!("a{i:03}"));
        tokio::time::sleep(Duration::from_millis(17)).await;
    }
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if shop.done("a").len() == 300 {
            break;
        }
    }
    let wanted: Vec<_> =
        (0..300).map(|i| if i == 0 { "bad a000".to_owned() } else { format!("a{i:03}") }).collect();
    assert_eq!(shop.done("a"), wanted);
    until_parked(&bench, &[]).await;
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_release_that_fails_again_leaves_the_rest_where_it_is() {
    let (bench, shop) = (in_order(), Shop::default());
    for value in ["bad a1", "a2", "a3"] {
        bench.send("a", value);
    }
    let worker = bench.start(shop.handler());
    worker.completed(3).await;
    assert_eq!(release(&bench, &worker, 0).await, Replay::InOrder);
    worker.completed(4).await;
    bench.send("a", "a4");
    worker.completed(5).await;
    assert_eq!((parked(&bench).await, shop.done("a")), (vec![0, 1, 2, 3], vec![]));
    shop.mend();
    assert_eq!(release(&bench, &worker, 0).await, Replay::InOrder);
    until_parked(&bench, &[]).await;
    assert_eq!(shop.done("a"), ["bad a1", "a2", "a3", "a4"]);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_stood_behind_a_skipped_record_goes_on_in_order() {
    let (bench, shop) = (in_order(), Shop::default());
    for value in ["bad a1", "a2", "a3"] {
        bench.send("a", value);
    }
    let worker = bench.start(shop.handler());
    worker.completed(3).await;
    let first = ParkedId { shard: bench.shard(), offset: Offset(0) };
    assert!(bench.parked.remove(&first).await.expect("memory"));
    let (reply, answer) = oneshot::channel();
    let key = BlockedKey::Key(Bytes::from_static(b"a"));
    worker.pump.send(Command::Skipped { id: first, key, reply }).await.expect("the pump runs");
    assert_eq!(answer.await, Ok(Replay::InOrder));
    until_parked(&bench, &[]).await;
    assert_eq!(shop.done("a"), ["a2", "a3"]);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_next_owner_knows_which_keys_stand_behind_a_parked_record() {
    let (bench, shop) = (in_order(), Shop::default());
    for (key, value) in [("a", "bad a1"), ("b", "b1"), ("a", "a2")] {
        bench.send(key, value);
    }
    let worker = bench.start(shop.handler());
    worker.completed(3).await;
    worker.stop().await;
    bench.send("a", "a3");
    bench.send("b", "b2");
    shop.mend();
    let worker = bench.start(shop.handler());
    worker.completed(2).await;
    assert_eq!((shop.done("a"), shop.done("b")), (vec![], texts(&["b1", "b2"])));
    assert_eq!(release(&bench, &worker, 0).await, Replay::InOrder);
    until_parked(&bench, &[]).await;
    assert_eq!(shop.done("a"), ["bad a1", "a2", "a3"]);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_copy_and_the_checkpoint_parks_nothing_twice() {
    let (bench, shop) = (in_order(), Shop::default());
    for value in ["bad a1", "a2"] {
        bench.send("a", value);
    }
    bench.checkpoints.set_failing(true);
    let mut worker = bench.start_idle(shop.handler());
    let checkpoint = keyweir_core::checkpoint::Checkpoint::new(keyweir_core::Fence::new(0, 1), Offset(0));
    worker.own(bench.shard(), checkpoint.clone()).await;
    worker.completed(2).await;
    let before = bench.parked.list(None, 9).await.expect("memory");
    worker.kill(&bench.oracle).await;
    bench.checkpoints.set_failing(false);
    worker = bench.start_idle(shop.handler());
    worker.own(bench.shard(), checkpoint).await;
    worker.completed(2).await;
    let after = bench.parked.list(None, 9).await.expect("memory");
    assert_eq!(before[0], after[0], "why it was parked is still known");
    assert_eq!((parked(&bench).await, shop.done("a")), (vec![0, 1], vec![]));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_parked_at_the_old_owner_blocks_its_key_at_the_new_one() {
    let (bench, shop) = (in_order(), Shop::default());
    for (key, value) in [("a", "bad a1"), ("a", "a2"), ("b", "b1")] {
        bench.send(key, value);
    }
    let worker = bench.start_idle(shop.handler());
    let fence = keyweir_core::Fence::new(0, 1);
    let checkpoint = keyweir_core::checkpoint::Checkpoint::new(fence, Offset(0));
    worker.own_with(bench.shard(), checkpoint, vec![(Offset(0), Some(b"a".to_vec()))]).await;
    worker.pump.snapshots().wait_for(|now| now.counters.completed == 1).await.expect("the pump runs");
    let copy = ParkedRecord {
        id: ParkedId { shard: bench.shard(), offset: Offset(0) },
        record: record("a", "bad a1"),
        attempts: 1,
        reason: "Broken".to_owned(),
        text: String::new(),
        parked_at: UnixMillis(1),
        blocks: Some(BlockedKey::Key(Bytes::from_static(b"a"))),
    };
    bench.parked.park(copy).await.expect("memory");
    let ended = Command::EndedElsewhere { shard: bench.shard(), records: vec![(Offset(0), Fate::Complete)] };
    worker.pump.send(ended).await.expect("the pump runs");
    until_parked(&bench, &[0, 1]).await;
    assert_eq!((shop.done("a"), shop.done("b")), (vec![], texts(&["b1"])));
    let released = worker.pump.release(bench.shard(), ReleaseMode::Drain).await.expect("the pump runs");
    assert_eq!(released.checkpoint.map(|checkpoint| checkpoint.frontier), Some(Offset(3)));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_ordered_as_a_whole_follows_as_a_whole() {
    let (mut bench, shop) = (in_order(), Shop::default());
    bench.fixed.ordering = Ordering::Partition;
    for (key, value) in [("a", "bad a1"), ("b", "b1"), ("a", "a2")] {
        bench.send(key, value);
    }
    let worker = bench.start(shop.handler());
    worker.completed(3).await;
    assert_eq!(parked(&bench).await, [0, 1, 2]);
    shop.mend();
    assert_eq!(release(&bench, &worker, 0).await, Replay::InOrder);
    until_parked(&bench, &[]).await;
    assert_eq!(*shop.done.lock().expect("nobody panics"), ["bad a1", "b1", "a2"]);
    worker.stop().await;
}

/// A worker's life in which keys get parked and come back: what is done of a key the first time is done in order.
async fn comings_and_goings(seed: u64) {
    let (mut bench, dice) = (in_order(), Dice::new(seed));
    bench.live.drain_timeout = Duration::from_millis(50);
    if seed.is_multiple_of(2) {
        // Lanes spill.
        bench.live.execution.limits.records = 20;
        bench.live.execution.limits.records_per_key = 2;
    }
    let (shop, mut sent) = (Moody::new(&dice), 0);
    let mut worker = None::<Worker>;
    for _ in 0..30 {
        match dice.below(8) {
            0..3 => {
                for _ in 0..dice.below(30) {
                    bench.send(&format!("k{}", dice.below(4)), "v");
                    sent += 1;
                }
            }
            3..6 => release_any(&bench, worker.as_ref()).await,
            6 => end(&bench, worker.take(), dice.below(2) == 0).await,
            _ => {}
        }
        if worker.is_none() {
            worker = Some(bench.start(shop.handler()));
        }
        tokio::time::sleep(Duration::from_millis(dice.below(400))).await;
    }
    end(&bench, worker.take(), false).await;
    shop.mend();
    let worker = bench.start(shop.handler());
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        release_any(&bench, Some(&worker)).await;
        if shop.first_done().len() == sent && parked(&bench).await.is_empty() {
            break;
        }
    }
    assert_eq!(
        (shop.first_done().len(), parked(&bench).await),
        (sent, vec![]),
        "seed {seed}: nothing is lost"
    );
    let mut last = std::collections::HashMap::new();
    for (key, offset) in shop.first_done() {
        let before = last.insert(key.clone(), offset).unwrap_or(-1);
        assert!(before < offset, "seed {seed}: {offset} of {key} was first done after {before}");
    }
    worker.stop().await;
}

/// Releases the first record of any key.
async fn release_any(bench: &Bench, worker: Option<&Worker>) {
    if let (Some(worker), Some(offset)) = (worker, parked(bench).await.first()) {
        let replay = release(bench, worker, *offset).await;
        assert!(!matches!(replay, Replay::After(_)), "the very first one is behind none");
    }
}

async fn end(bench: &Bench, worker: Option<Worker>, kill: bool) {
    match worker {
        Some(worker) if kill => worker.kill(&bench.oracle).await,
        Some(worker) => drop(worker.stop().await),
        None => {}
    }
}

/// A handler that fails now and then until it is mended, and notes what it did, by key and offset.
#[derive(Clone)]
struct Moody {
    dice: Dice,
    mended: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<(String, i64)>>>,
}

impl Moody {
    fn new(dice: &Dice) -> Self {
        Self { dice: dice.clone(), mended: Arc::default(), done: Arc::default() }
    }

    fn handler(&self) -> FnHandler {
        let moody = self.clone();
        FnHandler::new(move |request| {
            let moody = moody.clone();
            let key = String::from_utf8_lossy(request.record.key().unwrap_or_default()).into_owned();
            let wait = Duration::from_millis(moody.dice.below(30));
            let fails = moody.dice.below(6) == 0 && !moody.mended.load(SeqCst);
            async move {
                tokio::time::sleep(wait).await;
                if fails {
                    return Outcome::retry("Moody", "not now");
                }
                moody.done.lock().expect("nobody panics").push((key, request.record.offset.0));
                Outcome::DONE
            }
        })
    }

    fn mend(&self) {
        self.mended.store(true, SeqCst);
    }

    /// Each record at the place where it was first done.
    fn first_done(&self) -> Vec<(String, i64)> {
        let mut seen = std::collections::HashSet::new();
        let done = self.done.lock().expect("nobody panics");
        done.iter().filter(|record| seen.insert((*record).clone())).cloned().collect()
    }
}

#[test]
fn whatever_happens_a_key_comes_back_in_order() {
    for seed in 0..60 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(comings_and_goings(seed));
    }
}

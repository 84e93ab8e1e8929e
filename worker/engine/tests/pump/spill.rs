//! A slow or hot key delays nobody but itself, however much of it there is: its records keep their places only while
//! the budget is short, and are read again in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use keyweir_contract::policy::{Concurrency, ExhaustedAction};
use keyweir_core::{Offset, ShardId};
use keyweir_engine::Outcome;
use keyweir_engine::pump::{Command, Replay, Snapshot};
use keyweir_engine::testing::fakes::FnHandler;
use tokio::sync::Semaphore;

use super::parked::release;
use super::{Bench, Worker, record};

/// Long enough for anything that is not stuck: time is paused.
const SOON: Duration = Duration::from_secs(3600);

fn bench(records: u64) -> Bench {
    let mut bench = Bench::new();
    bench.live.execution.limits.records = records;
    bench
}

/// A handler whose records of keys that begin with `slow` wait for a permit each.
fn slow(permits: &Arc<Semaphore>) -> FnHandler {
    let permits = Arc::clone(permits);
    FnHandler::new(move |request| {
        let permits = Arc::clone(&permits);
        async move {
            if request.record.key().is_some_and(|key| key.starts_with(b"slow")) {
                permits.acquire().await.expect("nobody closes it").forget();
            }
            Outcome::DONE
        }
    })
}

impl Worker {
    async fn until(&self, what: &str, holds: impl FnMut(&Arc<Snapshot>) -> bool) {
        let mut snapshots = self.pump.snapshots();
        let done = tokio::time::timeout(SOON, snapshots.wait_for(holds)).await;
        assert!(done.is_ok(), "not seen: {what}; last {:?}", self.pump.snapshot());
    }
}

/// All of these were done once, in order.
fn assert_done(bench: &Bench, offsets: &[(u32, Offset)]) {
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
    for (partition, offset) in offsets {
        assert_eq!(
            bench.oracle.done(&ShardId::new("orders", *partition), *offset),
            1,
            "{partition}@{offset}"
        );
    }
}

/// Every twentieth record is one of another key.
fn send(bench: &Bench, partition: u32, slow: &str, count: usize) -> Vec<(u32, Offset)> {
    let key = |i: usize| if i % 20 == 19 { format!("k{}", i % 997) } else { slow.to_owned() };
    let sent = (0..count).map(|i| bench.log.append("orders", partition, record(&key(i), "a value")));
    sent.map(|offset| (partition, offset)).collect()
}

/// U43, U44: a key that stands still holds its depth of a small budget, and the offsets of 100,000 records.
#[tokio::test(start_paused = true)]
async fn the_backlog_of_a_key_that_stands_still_leaves_the_budget_to_the_others() {
    let bench = bench(1_000);
    let sent = send(&bench, 0, "slow", 105_000);
    let permits = Arc::new(Semaphore::new(0));
    let worker = bench.start(slow(&permits));
    worker.until("all the others", |now| now.counters.completed == 105_000 / 20).await;
    let now = worker.pump.snapshot();
    assert!(now.spilled > 98_000 && now.in_sight == 99_750 && !now.intake_stopped, "{now:?}");
    assert!(now.bytes_in_sight < 10_000, "one key holds little of the budget: {} bytes", now.bytes_in_sight);

    permits.add_permits(99_750);
    worker.completed(105_000).await;
    let now = worker.pump.snapshot();
    assert_eq!((now.spilled, now.counters.gone), (0, 0));
    assert_done(&bench, &sent);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_slow_keys_of_few_records_each_leave_room_too() {
    let mut bench = bench(300);
    let keys = 40;
    // They leave one permit.
    bench.live.execution.concurrency = Concurrency::Fixed(41);
    let mut sent = Vec::new();
    for _ in 0..30 {
        sent.extend((0..keys).map(|key| (0, bench.send(&format!("slow{key}"), "v"))));
    }
    sent.extend((0..2_000).map(|i| (0, bench.send(&format!("k{}", i % 100), "v"))));
    let permits = Arc::new(Semaphore::new(0));
    let worker = bench.start(slow(&permits));
    worker.until("all the others", |now| now.counters.completed == 2_000).await;
    permits.add_permits(30 * keys);
    worker.completed(sent.len() as u64).await;
    assert_done(&bench, &sent);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_budget_whose_keys_wait_for_permits_is_read_once() {
    let mut bench = bench(200);
    bench.live.execution.limits.records_per_key = 2;
    bench.live.execution.concurrency = Concurrency::Fixed(3);
    let sent: Vec<_> = (0..3_000).map(|i| (0, bench.send(&format!("k{}", i % 20), "v"))).collect();
    let worker = bench.start(super::delay(Duration::from_millis(5)));
    worker.until("a full budget", |now| now.intake_stopped).await;
    worker.completed(3_000).await;
    assert_eq!(worker.pump.snapshot().counters.spilled, 0);
    assert_done(&bench, &sent);
    worker.stop().await;
}

/// More permits than keys: some are always idle, and a full budget is still soon through.
#[tokio::test(start_paused = true)]
async fn a_full_budget_that_turns_over_soon_is_hardly_read_twice_though_permits_are_idle() {
    let mut bench = bench(400);
    bench.live.execution.concurrency = Concurrency::Fixed(64);
    let key = |i: u64| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % 40;
    let sent: Vec<_> = (0..60_000).map(|i| (0, bench.send(&format!("k{}", key(i)), "v"))).collect();
    let worker = bench.start(super::delay(Duration::from_millis(5)));
    worker.completed(60_000).await;
    let spilled = worker.pump.snapshot().counters.spilled;
    assert!(spilled < 60_000 / 100, "{spilled} of lanes that are hardly longer than others");
    assert_done(&bench, &sent);
    worker.stop().await;
}

/// Other shards have enough for all permits: a shard with a slow key is not left behind for that.
#[tokio::test(start_paused = true)]
async fn a_shard_that_a_slow_key_fills_is_read_while_others_keep_all_permits_busy() {
    let mut bench = bench(2_000);
    bench.log.create("orders", 2);
    bench.live.execution.concurrency = Concurrency::Fixed(5);
    let mut sent = send(&bench, 0, "slow", 20_000);
    for i in 0..40_000 {
        sent.push((1, bench.log.append("orders", 1, record(&format!("b{}", i % 50), "v"))));
    }
    let (permits, others) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let (gate, count) = (Arc::clone(&permits), Arc::clone(&others));
    let worker = bench.start(FnHandler::new(move |request| {
        let (gate, count) = (Arc::clone(&gate), Arc::clone(&count));
        async move {
            if request.record.key() == Some(b"slow") {
                gate.acquire().await.expect("nobody closes it").forget();
            } else {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            if request.shard.index == 0 {
                count.fetch_add(1, SeqCst);
            }
            Outcome::DONE
        }
    }));
    worker.until("the others of its shard", |_| others.load(SeqCst) == 1_000).await;
    assert!(worker.pump.snapshot().counters.completed < 40_000, "the other shard still has work");
    permits.add_permits(20_000);
    worker.completed(60_000).await;
    assert_done(&bench, &sent);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_has_caught_up_is_read_once_again() {
    let bench = bench(1_000);
    let mut sent = send(&bench, 0, "slow", 5_000);
    let permits = Arc::new(Semaphore::new(0));
    let worker = bench.start(slow(&permits));
    worker.until("a spilled tail", |now| now.spilled > 1_000).await;
    // From now on it is as quick as its records come, and they go on coming.
    permits.add_permits(1_000_000);
    for _ in 0..500 {
        sent.extend(send(&bench, 0, "slow", 20));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    worker.completed(sent.len() as u64).await;
    let spilled = worker.pump.snapshot().counters.spilled;
    sent.extend(send(&bench, 0, "slow", 500));
    worker.completed(sent.len() as u64).await;
    let now = worker.pump.snapshot();
    assert_eq!((now.counters.spilled, now.spilled), (spilled, 0), "it is a lane like any other");
    assert_done(&bench, &sent);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn equal_keys_of_several_shards_come_back_in_the_order_in_which_they_were_read() {
    let bench = bench(400);
    bench.log.create("orders", 3);
    let mut sent = Vec::new();
    let permits = Arc::new(Semaphore::new(0));
    let worker = bench.start(slow(&permits));
    for round in 0..300 {
        for partition in 0..3 {
            sent.extend(send(&bench, partition, "slow", 20));
        }
        if round % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    worker.until("a spilled tail", |now| now.spilled > 10_000).await;
    permits.add_permits(sent.len());
    worker.completed(sent.len() as u64).await;
    assert_done(&bench, &sent);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_away_is_asked_again_visibly() {
    let bench = bench(200);
    let sent = send(&bench, 0, "slow", 3_000);
    let permits = Arc::new(Semaphore::new(0));
    let worker = bench.start(slow(&permits));
    worker.until("a spilled tail", |now| now.spilled > 2_000).await;
    bench.log.set_unreachable(true);
    permits.add_permits(3_000);
    let about_recall = |now: &Snapshot| now.troubles.iter().any(|trouble| trouble.about == "recall/orders/0");
    worker.until("trouble", |now| about_recall(now)).await;
    assert!(worker.pump.snapshot().spilled > 2_000);
    bench.log.set_unreachable(false);
    worker.completed(3_000).await;
    worker.until("recovery", |now| !about_recall(now)).await;
    assert_done(&bench, &sent);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_log_has_dropped_meanwhile_is_complete_as_gone() {
    let bench = bench(200);
    let sent = send(&bench, 0, "slow", 3_000);
    let permits = Arc::new(Semaphore::new(0));
    let worker = bench.start(slow(&permits));
    worker.until("a spilled tail", |now| now.spilled > 2_000).await;
    bench.log.drop_below("orders", 0, Offset(2_000));
    permits.add_permits(3_000);
    worker.completed(3_000).await;
    let gone = worker.pump.snapshot().counters.gone;
    assert!((1_800..1_900).contains(&gone), "{gone}");
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
    for (_, offset) in &sent[..2_000] {
        let shard = bench.shard();
        let (done, said) = (bench.oracle.done(&shard, *offset), bench.oracle.is_gone(&shard, *offset));
        assert!((done == 1) != said, "{offset}: done {done} times, said to be gone: {said}");
    }
    assert_done(&bench, &sent[2_000..]);
    worker.stop().await;
    let stored = bench.checkpoints.stored(&bench.shard()).expect("a checkpoint");
    assert_eq!(stored.frontier, Offset(3_000));
}

#[tokio::test(start_paused = true)]
async fn a_paused_partition_forgets_what_is_spilled_and_reads_it_again() {
    let mut bench = bench(200);
    let sent = send(&bench, 0, "slow", 3_000);
    let permits = Arc::new(Semaphore::new(0));
    let worker = bench.start(slow(&permits));
    worker.until("a spilled tail", |now| now.spilled > 2_000).await;
    let running = bench.live.clone();
    let partition = serde_json::json!({"topic": "orders", "partition": 0});
    bench.live.paused_partitions = vec![serde_json::from_value(partition).expect("it reads")];
    worker.pump.send(Command::Tune(Box::new(bench.live.clone()))).await.expect("the pump runs");
    worker.until("nothing spilled", |now| now.spilled == 0 && now.shards[0].paused).await;
    permits.add_permits(4_000);
    worker.pump.send(Command::Tune(Box::new(running))).await.expect("the pump runs");
    worker.until("all of it", |now| now.shards[0].frontier == Offset(3_000)).await;
    assert_done(&bench, &sent);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_parked_record_is_parked_in_order_though_it_was_spilled() {
    let mut bench = bench(200);
    bench.fixed.on_exhausted = ExhaustedAction::Park { blocks_key: true };
    bench.live.retry.max_attempts = 1;
    bench.live.execution.concurrency = Concurrency::Fixed(8);
    let sent = send(&bench, 0, "slow", 2_000);
    let (permits, failures) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(1)));
    let gate = Arc::clone(&permits);
    let worker = bench.start(FnHandler::new(move |request| {
        let (gate, failures) = (Arc::clone(&gate), Arc::clone(&failures));
        async move {
            let slow = request.record.key() == Some(b"slow");
            if slow {
                gate.acquire().await.expect("nobody closes it").forget();
            }
            let fails = slow && failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            if fails { Outcome::retry("Broken", "on purpose") } else { Outcome::DONE }
        }
    }));
    worker.until("a spilled tail", |now| now.spilled > 1_500).await;
    permits.add_permits(1);
    worker.until("all of it parked", |now| now.counters.parked == 1_900).await;
    worker.completed(2_000).await;

    permits.add_permits(2_000);
    assert_eq!(release(&bench, &worker, 0).await, Replay::InOrder);
    worker.completed(2_000 + 1_900).await;
    assert_done(&bench, &sent);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_backlog_that_even_places_can_not_hold_pauses_its_shard_visibly() {
    let mut bench = bench(1_000);
    bench.live.execution.limits.bytes = "1Mi".parse().expect("a size");
    // Places may take 16 MiB at the least.
    let sent: Vec<_> = (0..450_000).map(|_| (0, bench.send("slow", ""))).collect();
    let permits = Arc::new(Semaphore::new(0));
    let worker = bench.start(slow(&permits));
    let full = |now: &Snapshot| now.troubles.iter().any(|trouble| trouble.reason == "KeyBacklog");
    worker.until("the shard held back", |now| full(now) && now.shards[0].held_back).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(worker.pump.snapshot().in_sight < sent.len());
    permits.add_permits(sent.len());
    worker.completed(sent.len() as u64).await;
    worker.until("recovery", |now| !full(now)).await;
    assert_done(&bench, &sent);
    worker.stop().await;
}

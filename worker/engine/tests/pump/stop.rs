//! How a pump ends, and how it gives a shard up.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, Offset, ShardId};
use keyweir_engine::ports::{MirrorState, Observer, RecordEvent, ShardEvent};
use keyweir_engine::pump::{Activity, Command, Fate, ReleaseMode};
use keyweir_engine::testing::fakes::FnHandler;
use keyweir_engine::{NewRecord, Outcome, Record};

use super::{Bench, delay};

type Counter = Arc<AtomicUsize>;

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_is_executing_and_starts_nothing_new() {
    let bench = Bench::new();
    for i in 0..200 {
        bench.send(&format!("k{i}"), "v");
    }
    let worker = bench.start(delay(Duration::from_secs(3)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = worker.stop().await;
    assert_eq!((report.cancelled, report.last.counters.completed), (0, 64));
    let stored = bench.checkpoints.stored(&bench.shard()).expect("a checkpoint");
    let complete = stored.frontier.0 as u64 + stored.completed.width();
    assert_eq!(complete, 64, "exactly what was done counts as complete");
}

/// U151: the handler's own last words come once, after the last record.
#[tokio::test(start_paused = true)]
async fn a_handler_is_closed_once_when_nothing_is_in_flight_any_more() {
    let bench = Bench::new();
    for i in 0..100 {
        bench.send(&format!("k{i}"), "v");
    }
    let (begun, ended, closed) = (Counter::default(), Counter::default(), Arc::new(Mutex::new(Vec::new())));
    let handler = {
        let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
        FnHandler::new(move |_| {
            let ended = Arc::clone(&ended);
            begun.fetch_add(1, Relaxed);
            async move {
                tokio::time::sleep(Duration::from_secs(3)).await;
                ended.fetch_add(1, Relaxed);
                Outcome::DONE
            }
        })
    };
    let words = Arc::clone(&closed);
    let (at_begin, at_end) = (Arc::clone(&begun), Arc::clone(&ended));
    let handler = handler.with_close(move || {
        let now = (at_begin.load(Relaxed), at_end.load(Relaxed));
        words.lock().expect("no test panics with it").push(now);
    });
    let worker = bench.start(handler);
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.stop().await;
    assert_eq!(*closed.lock().expect("no test panics with it"), [(64, 64)]);
}

#[tokio::test(start_paused = true)]
async fn what_outlasts_the_drain_time_is_cancelled_and_not_complete() {
    let bench = Bench::new();
    bench.send("k", "v");
    let worker = bench.start(FnHandler::new(|_| std::future::pending()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = tokio::time::Instant::now();
    let report = worker.stop().await;
    assert!(before.elapsed() < Duration::from_secs(31));
    assert_eq!((report.cancelled, report.unsaved.len()), (1, 0));
    assert_eq!(bench.checkpoints.stored(&bench.shard()).expect("a checkpoint").frontier, Offset(0));
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_does_not_wait_for_the_drain_time() {
    let bench = Bench::new();
    bench.send("k", "v");
    let worker = bench.start(FnHandler::new(|_| std::future::pending()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    worker.hurry.cancel();
    let before = tokio::time::Instant::now();
    assert_eq!(worker.stop().await.cancelled, 1);
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_release_names_its_checkpoint_only_when_it_is_durable() {
    let bench = Bench::new();
    for _ in 0..10 {
        bench.send("k", "v");
    }
    let worker = bench.start(delay(Duration::from_millis(300)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let released = worker.pump.release(bench.shard(), ReleaseMode::Drain).await.expect("the pump runs");
    let named = released.checkpoint.expect("it was owned");
    assert_eq!(bench.checkpoints.stored(&bench.shard()), Some(named.clone()));
    assert_eq!((named.frontier, released.executing.len()), (Offset(4), 0));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_answers_at_once_and_names_what_executes() {
    let bench = Bench::new();
    for i in 0..3 {
        bench.send(&format!("k{i}"), "v");
    }
    let worker = bench.start(delay(Duration::from_secs(600)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = tokio::time::Instant::now();
    let released = worker.pump.release(bench.shard(), ReleaseMode::HandOver).await.expect("the pump runs");
    assert!(before.elapsed() < Duration::from_millis(100));
    let mut keys: Vec<_> = released.executing.into_iter().collect();
    keys.sort();
    assert_eq!(keys[0], (Offset(0), Some(b"k0".to_vec())));
    assert_eq!(keys.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn keys_that_execute_at_the_old_owner_wait_and_others_do_not() {
    let bench = Bench::new();
    for key in ["held", "free", "held"] {
        bench.send(key, "v");
    }
    let worker = bench.start(delay(Duration::from_secs(600)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let released = worker.pump.release(bench.shard(), ReleaseMode::HandOver).await.expect("the pump runs");
    let mut checkpoint = released.checkpoint.expect("it was owned");
    checkpoint.fence.revision += 1;
    bench.oracle.crashed();

    let other = Bench { log: bench.log.clone(), oracle: bench.oracle.clone(), ..Bench::new() };
    let taker = other.start_idle(delay(Duration::from_millis(10)));
    taker.own_with(bench.shard(), checkpoint, vec![(Offset(0), Some(b"held".to_vec()))]).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let done = |offset| bench.oracle.done(&bench.shard(), Offset(offset));
    assert_eq!((done(0), done(1), done(2)), (0, 1, 0), "only the free key went on");

    let ended = Command::EndedElsewhere { shard: bench.shard(), records: vec![(Offset(0), Fate::Complete)] };
    taker.pump.send(ended).await.expect("the pump runs");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        (bench.oracle.begun(&bench.shard(), Offset(0)), done(2)),
        (1, 1),
        "done there is not run again here"
    );
    taker.stop().await;
    assert_eq!(other.checkpoints.stored(&bench.shard()).map(|stored| stored.frontier), Some(Offset(3)));
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn a_paused_partition_waits_while_others_go_on_and_loses_nothing() {
    let mut bench = Bench::new();
    bench.log.create("orders", 2);
    let send = |partition: u32, key: &str| {
        bench.log.append(
            "orders",
            partition,
            NewRecord { key: Some(key.to_owned().into()), ..NewRecord::default() },
        )
    };
    for i in 0..50 {
        send(0, &format!("a{i}"));
        send(1, &format!("b{i}"));
    }
    bench.live.paused_partitions =
        serde_json::from_str(r#"[{"topic": "orders", "partition": 1}]"#).expect("it reads");
    let worker = bench.start(delay(Duration::from_millis(10)));
    worker.completed(50).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(worker.pump.snapshot().counters.completed, 50);
    let mut live = bench.live.clone();
    live.paused_partitions.clear();
    worker.pump.send(Command::Tune(Box::new(live))).await.expect("the pump runs");
    worker.completed(100).await;
    worker.stop().await;
    let other = ShardId::new("orders", 1);
    assert_eq!(bench.checkpoints.stored(&other).map(|stored| stored.frontier), Some(Offset(50)));
}

#[tokio::test(start_paused = true)]
async fn a_frozen_pump_starts_nothing_and_cancels_nothing() {
    let bench = Bench::new();
    for i in 0..100 {
        bench.send(&format!("k{i}"), "v");
    }
    let worker = bench.start(delay(Duration::from_secs(1)));
    tokio::time::sleep(Duration::from_millis(500)).await;
    worker.pump.send(Command::Freeze).await.expect("the pump runs");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let frozen = worker.pump.snapshot();
    assert_eq!((frozen.activity, frozen.counters.completed), (Activity::Frozen, 64));
    worker.pump.send(Command::Thaw).await.expect("the pump runs");
    worker.completed(100).await;
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_delays_the_checkpoint_and_nothing_else() {
    let bench = Bench::new();
    bench.send("k", "v");
    let worker = bench.start(FnHandler::new(|_| async { Outcome::DONE }));
    worker.completed(1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    bench.checkpoints.set_failing(true);
    bench.send("k", "v");
    worker.completed(2).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let troubled = worker.pump.snapshot();
    assert_eq!(troubled.troubles[0].reason, "CheckpointStoreUnreachable");
    bench.checkpoints.set_failing(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(worker.pump.snapshot().troubles, []);
    assert_eq!(bench.checkpoints.stored(&bench.shard()).map(|stored| stored.frontier), Some(Offset(2)));
    worker.stop().await;
}

/// The last frontier before a shard is idle: nothing newer follows it.
#[tokio::test(start_paused = true)]
async fn a_frontier_that_could_not_be_shown_is_shown_when_it_can() {
    let bench = Bench::new();
    bench.send("k", "v");
    let worker = bench.start(FnHandler::new(|_| async { Outcome::DONE }));
    tokio::time::sleep(Duration::from_secs(2)).await;
    bench.log.set_unreachable(true);
    bench.send("k", "v");
    worker.completed(2).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(worker.pump.snapshot().troubles.iter().any(|trouble| trouble.about == "mirror"));
    bench.log.set_unreachable(false);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(matches!(bench.log.mirror_of(&bench.shard()), MirrorState::Marked { frontier: Offset(2), .. }));
    assert_eq!(worker.pump.snapshot().troubles, []);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reset_while_it_runs_opens_the_shard_anew_there() {
    let bench = Bench::new();
    for i in 0..100 {
        bench.send(&format!("k{}", i % 5), "v");
    }
    let worker = bench.start(delay(Duration::from_millis(1)));
    worker.completed(100).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(matches!(bench.log.mirror_of(&bench.shard()), MirrorState::Marked { frontier: Offset(100), .. }));
    let before = bench.checkpoints.stored(&bench.shard()).expect("a checkpoint").fence;
    bench.log.set_mirror(bench.shard(), MirrorState::Reset(Offset(40)));
    worker.completed(160).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(worker.pump.snapshot().counters.completed, 160, "it is taken once");
    assert!(matches!(bench.log.mirror_of(&bench.shard()), MirrorState::Marked { frontier: Offset(100), .. }));
    let after = bench.checkpoints.stored(&bench.shard()).expect("a checkpoint");
    assert!(after.fence > before && after.frontier == Offset(100));
    let told: Vec<_> = bench.notices.last().into_iter().map(|notice| (notice.reason, notice.text)).collect();
    assert_eq!(told, [("OffsetReset", "orders/0 starts at 40".to_owned())]);
    worker.stop().await;
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
}

/// What an observer was told of a shard, and of the ends of its records.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn say(&self, what: String) {
        self.0.lock().expect("no test panics with it").push(what);
    }
}

impl Observer for Told {
    fn record(
        &mut self,
        _: &Arc<ShardId>,
        _: Fence,
        _: Option<&[u8]>,
        record: &Record,
        event: RecordEvent<'_>,
    ) {
        if let RecordEvent::Ended(..) = event {
            self.say(format!("ended {}", record.offset));
        }
    }

    fn shard(&mut self, _: &Arc<ShardId>, _: Fence, event: ShardEvent) {
        self.say(format!("{event:?}"));
    }
}

/// U38: assigned, activated, will-revoke, and revoked after the last record in flight, in a move and at the end.
#[tokio::test(start_paused = true)]
async fn a_shard_is_told_of_in_order_and_released_after_its_last_record() {
    for mode in [ReleaseMode::Drain, ReleaseMode::HandOver] {
        let bench = Bench::new();
        bench.send("k", "v");
        let told = Told::default();
        let worker = bench.start_observed(delay(Duration::from_secs(2)), vec![Box::new(told.clone())]);
        worker.own(bench.shard(), Checkpoint::new(Fence::new(1, 1), Offset(0))).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        worker.pump.release(bench.shard(), mode).await.expect("the pump runs");
        tokio::time::sleep(Duration::from_secs(5)).await;
        let wanted = ["Owned", "Activated", "WillRelease", "ended 0", "Released"];
        assert_eq!(*told.0.lock().expect("no test panics with it"), wanted, "{mode:?}");
        worker.stop().await;
    }
}

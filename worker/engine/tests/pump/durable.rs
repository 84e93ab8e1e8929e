//! When what is complete becomes durable, and what follows where it can't.

use std::time::Duration;

use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, Offset};
use keyweir_engine::Outcome;
use keyweir_engine::testing::fakes::FnHandler;
use tokio::time::sleep;

use super::{Bench, Worker, delay};

/// An interval, and the tick at which it is seen to be over.
const WITHIN: Duration = Duration::from_millis(1_100);

fn durable(bench: &Bench) -> Option<i64> {
    bench.checkpoints.stored(&bench.shard()).map(|stored| stored.frontier.0)
}

/// U64: within the checkpoint interval and hardly more often; while nothing changes not at all; and at the end.
#[tokio::test(start_paused = true)]
async fn what_completes_is_durable_within_the_interval_and_at_the_end() {
    let bench = Bench::new();
    let worker = bench.start(FnHandler::new(|_| async { Outcome::DONE }));
    for sent in 1..=20 {
        bench.send("k", "v");
        worker.completed(sent).await;
        sleep(WITHIN).await;
        assert_eq!(durable(&bench), Some(sent as i64));
    }
    let before = bench.checkpoints.saves();
    for i in 0..100 {
        bench.send(&format!("k{i}"), "v");
        sleep(Duration::from_millis(100)).await;
    }
    sleep(WITHIN).await;
    let saves = bench.checkpoints.saves();
    assert!((9..=12).contains(&(saves - before)), "{} saves in ten seconds", saves - before);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.checkpoints.saves(), saves, "nothing has changed");
    bench.send("last", "v");
    worker.completed(121).await;
    let report = worker.stop().await;
    assert_eq!((durable(&bench), report.unsaved.len()), (Some(121), 0), "without waiting for the interval");
    let shard = &report.last.shards;
    assert!(shard.is_empty(), "given up: {shard:?}");
}

/// Keeps a record coming every 100 ms for so long.
async fn trickle(bench: &Bench, seconds: u64) -> u64 {
    for i in 0..seconds * 10 {
        bench.send(&format!("k{}", i % 7), "v");
        sleep(Duration::from_millis(100)).await;
    }
    seconds * 10
}

async fn is_reading(worker: &Worker) -> bool {
    let mut snapshots = worker.pump.snapshots();
    snapshots.changed().await.expect("the pump runs");
    let now = snapshots.borrow().clone();
    !now.intake_stopped
}

/// Section 3.8: all that is done while checkpoints are refused would be done again after a crash. So after 30 s nothing more
/// is read, visibly; what was read goes on, and all goes on once they are taken again.
#[tokio::test(start_paused = true)]
async fn checkpoints_that_are_refused_for_long_stop_the_reading_and_nothing_else() {
    let bench = Bench::new();
    bench.send("k", "v");
    let worker = bench.start(delay(Duration::from_millis(10)));
    worker.completed(1).await;
    sleep(WITHIN).await;
    bench.checkpoints.set_failing(true);
    let mut sent = 1 + trickle(&bench, 25).await;
    worker.completed(sent).await;
    assert!(is_reading(&worker).await, "a short outage stops nothing");

    let meanwhile = trickle(&bench, 60).await;
    let now = worker.pump.snapshot();
    assert!(now.counters.completed < sent + meanwhile / 4, "{:?}", now.counters);
    assert_eq!((now.in_sight, now.intake_stopped), (0, true), "what was read is done");
    let told = &now.troubles[0];
    assert_eq!((told.about.as_str(), told.reason), ("checkpoints", "CheckpointStoreUnreachable"));
    assert!(told.text.starts_with("nothing more is read: "), "{}", told.text);

    bench.checkpoints.set_failing(false);
    sent += meanwhile;
    worker.completed(sent).await;
    assert!(is_reading(&worker).await && worker.pump.snapshot().troubles.is_empty());
    worker.stop().await;
    assert_eq!(durable(&bench), Some(sent as i64));
    assert!((0..sent as i64).all(|offset| bench.oracle.done(&bench.shard(), Offset(offset)) == 1));
}

/// A lease that was lost meanwhile took what was refused along: the next tenure begins with a checkpoint that was taken.
#[tokio::test(start_paused = true)]
async fn what_was_refused_of_an_earlier_tenure_stops_nobody() {
    let bench = Bench::new();
    let worker = bench.start_idle(FnHandler::new(|_| async { Outcome::DONE }));
    worker.own(bench.shard(), Checkpoint::new(Fence::new(1, 1), Offset(0))).await;
    bench.checkpoints.set_failing(true);
    bench.send("k", "v");
    worker.completed(1).await;
    sleep(Duration::from_secs(60)).await;
    assert!(!is_reading(&worker).await);
    worker.pump.abandon().await.expect("the pump runs");
    bench.checkpoints.set_failing(false);
    worker.own(bench.shard(), Checkpoint::new(Fence::new(1, 2), Offset(0))).await;
    worker.completed(2).await;
    worker.stop().await;
}

//! A record that kills its worker: found after three crashes, and down its road.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyweir_engine::Outcome;
use keyweir_engine::testing::fakes::FnHandler;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::Bench;

/// A handler that asks to be killed for one value, and takes ten milliseconds for any other.
fn killer(kills: &Arc<Notify>, at_once: &Arc<AtomicUsize>, most: &Arc<AtomicUsize>) -> FnHandler {
    let (kills, at_once, most) = (Arc::clone(kills), Arc::clone(at_once), Arc::clone(most));
    FnHandler::new(move |request| {
        let kill = request.record.value() == Some(b"killer");
        let (kills, at_once, most) = (Arc::clone(&kills), Arc::clone(&at_once), Arc::clone(&most));
        async move {
            if kill {
                kills.notify_one();
                std::future::pending::<()>().await;
            }
            most.fetch_max(at_once.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_millis(10)).await;
            at_once.fetch_sub(1, Ordering::Relaxed);
            Outcome::DONE
        }
    })
}

/// Section 4, Retries: three crashes with an unmoved frontier, then one record at a time, then an attempt for each
/// further crash, then the dead-letter topic; all others are done.
#[tokio::test(start_paused = true)]
async fn a_record_that_kills_its_worker_is_found_and_goes_down_its_road() {
    let mut bench = Bench::new();
    bench.live.retry.max_attempts = 2;
    bench.live.checkpoint_interval = Duration::from_secs(60);
    bench.send("a", "killer");
    for i in 0..20 {
        bench.send(&format!("k{i}"), "v");
    }
    let (kills, most) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let mut crashes = 0;
    loop {
        let at_once = Arc::new(AtomicUsize::new(0));
        most.store(0, Ordering::Relaxed);
        let worker = bench.start(killer(&kills, &at_once, &most));
        tokio::select! {
            biased;
            // A crash first: nothing else counts then.
            () = async { kills.notified().await; sleep(Duration::from_millis(5)).await } => {
                worker.kill(&bench.oracle).await;
                crashes += 1;
                assert!(crashes < 20, "the killer is not found");
            }
            () = sleep(Duration::from_secs(30)) => {
                assert_eq!(bench.log.records("orders.dlq").len(), 1);
                worker.stop().await;
                break;
            }
        }
    }
    assert_eq!(crashes, 3 + 2, "three to find out, one for each of its attempts");
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
    let stored = bench.checkpoints.stored(&bench.shard()).expect("a checkpoint");
    assert_eq!((stored.frontier.0, stored.failed.len(), stored.crash_takeovers), (21, 0, 0));
}

/// Crashes that have nothing to do with its records: one at a time, until the frontier has moved, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn a_shard_whose_owners_died_goes_on_one_by_one_and_then_as_before() {
    let bench = Bench::new();
    bench.log.create("orders", 1);
    for _ in 0..4 {
        let worker = bench.start(FnHandler::new(|_| std::future::pending()));
        sleep(Duration::from_secs(1)).await;
        worker.kill(&bench.oracle).await;
    }
    for i in 0..20 {
        bench.send(&format!("k{i}"), "v");
    }
    let (kills, most) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let worker = bench.start(killer(&kills, &Arc::default(), &most));
    sleep(Duration::from_millis(15)).await;
    assert!(most.load(Ordering::Relaxed) <= 1, "one at a time at first");
    worker.completed(20).await;
    worker.stop().await;
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
}

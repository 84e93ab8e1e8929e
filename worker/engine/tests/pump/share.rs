//! What shards leave each other of the budget, and keys of the permits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyweir_core::{Fence, Offset, ShardId};
use keyweir_engine::ports::{Observer, RecordEvent, ShardEvent};
use keyweir_engine::testing::fakes::FnHandler;
use keyweir_engine::{Outcome, Record};
use tokio::time::Instant;

use super::{Bench, record};

#[tokio::test(start_paused = true)]
async fn a_shard_that_stands_still_does_not_starve_the_others() {
    let mut bench = Bench::new();
    bench.live.execution.limits.records = 400;
    for i in 0..4_000 {
        bench.log.append("orders", 0, record("stuck", "v"));
        bench.log.append("orders", 1, record(&format!("k{}", i % 50), "v"));
    }
    let worker = bench.start(FnHandler::new(|request| async move {
        let quick = request.shard.index == 1;
        tokio::time::sleep(if quick { Duration::from_millis(1) } else { Duration::from_secs(200) }).await;
        Outcome::DONE
    }));
    let mut snapshots = worker.pump.snapshots();
    let all_quick = snapshots.wait_for(|now| now.counters.completed >= 4_000);
    tokio::time::timeout(Duration::from_secs(100), all_quick).await.expect("in time").expect("the pump runs");
    worker.kill(&bench.oracle).await;
    let last = Offset(3_999);
    assert_eq!(bench.oracle.done(&ShardId::new("orders", 1), last), 1);
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
}

/// U44: of ten partitions one is blocked for a minute.
#[tokio::test(start_paused = true)]
async fn nine_partitions_keep_their_rate_while_the_tenth_is_blocked() {
    let free = nine_partitions(Duration::from_millis(10)).await;
    let beside_a_blocked_one = nine_partitions(Duration::from_secs(60)).await;
    assert!(beside_a_blocked_one < Duration::from_secs(60), "it was blocked all the time");
    assert!(
        free >= beside_a_blocked_one.mul_f64(0.95),
        "alone {free:?}, beside a blocked partition {beside_a_blocked_one:?}"
    );
}

/// How long nine partitions take while each handler call of the tenth takes that long.
async fn nine_partitions(tenth: Duration) -> Duration {
    const EACH: u32 = 10_000;
    let bench = Bench::new();
    bench.log.create("orders", 10);
    for i in 0..EACH {
        for partition in 0..10 {
            // What is blocked has one key: each of its calls takes a permit.
            let keys = if partition == 9 { 1 } else { 100 };
            bench.log.append("orders", partition, record(&format!("p{partition}-{}", i % keys), "v"));
        }
    }
    let (began, last) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let seen = Arc::clone(&last);
    let worker = bench.start(FnHandler::new(move |request| {
        let seen = Arc::clone(&seen);
        async move {
            let blocked = request.shard.index == 9;
            tokio::time::sleep(if blocked { tenth } else { Duration::from_millis(10) }).await;
            if !blocked {
                seen.fetch_max(began.elapsed().as_millis() as u64, SeqCst);
            }
            Outcome::DONE
        }
    }));
    let done =
        |partition| bench.oracle.done(&ShardId::new("orders", partition), Offset(i64::from(EACH) - 1)) == 1;
    let mut snapshots = worker.pump.snapshots();
    let all_nine = snapshots.wait_for(|_| (0..9).all(done));
    tokio::time::timeout(Duration::from_secs(3600), all_nine).await.expect("in time").expect("the pump runs");
    worker.kill(&bench.oracle).await;
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
    Duration::from_millis(last.load(SeqCst))
}

/// Hooks that do nothing.
struct Nobody;

impl Observer for Nobody {
    fn record(&mut self, _: &Arc<ShardId>, _: Fence, _: Option<&[u8]>, _: &Record, _: RecordEvent<'_>) {}

    fn shard(&mut self, _: &Arc<ShardId>, _: Fence, _: ShardEvent) {}
}

/// What a handler saw of each key, and how many of its calls there were at a time.
#[derive(Default)]
struct Seen {
    next: HashMap<Vec<u8>, u64>,
    open: usize,
    most: usize,
    handling: Duration,
}

/// U40: as many handlers at a time as there are keys or permits, whichever is less, and each key in its order.
#[tokio::test(start_paused = true)]
async fn as_many_keys_as_there_are_permits_run_at_a_time_each_in_its_order() {
    for (records, keys, permits) in [(20_000, 10, 64), (1_000_000, 1_000, 64)] {
        let (most, took, handling) = random_times(records, keys).await;
        let at_once = keys.min(permits);
        assert_eq!(most as u64, at_once, "{keys} keys, {permits} permits");
        // The ceiling: what all handlers took, spread over those that may run at once.
        let least = handling / at_once as u32;
        assert!(least >= took.mul_f64(0.95), "{keys} keys: {took:?}, at least {least:?}");
    }
}

/// Handlers of 1 to 20 ms by chance; gives how many ran at once, how long all took, and each handler's time in sum.
async fn random_times(records: u64, keys: u64) -> (usize, Duration, Duration) {
    let mut bench = Bench::new();
    // The handler judges for itself: a million records are much to remember.
    bench.observer = |_| Box::new(Nobody);
    for i in 0..records {
        bench.send(&format!("k{}", i % keys), &(i / keys).to_string());
    }
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (began, shared) = (Instant::now(), Arc::clone(&seen));
    let worker = bench.start(FnHandler::new(move |request| {
        let seen = Arc::clone(&shared);
        async move {
            let key = request.record.key().unwrap_or_default().to_vec();
            let number: u64 = std::str::from_utf8(request.record.value().unwrap_or_default())
                .ok()
                .and_then(|text| text.parse().ok())
                .expect("a number");
            let called = Instant::now();
            {
                let mut seen = seen.lock().expect("nobody panics with it");
                let next = seen.next.entry(key).or_default();
                assert_eq!(*next, number, "in order, and one at a time");
                *next += 1;
                seen.open += 1;
                seen.most = seen.most.max(seen.open);
            }
            let chance = request.record.offset.0.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) as u64 >> 32;
            tokio::time::sleep(Duration::from_millis(1 + chance % 20)).await;
            let mut seen = seen.lock().expect("nobody panics with it");
            seen.open -= 1;
            seen.handling += called.elapsed();
            Outcome::DONE
        }
    }));
    worker.completed(records).await;
    let took = began.elapsed();
    let counters = worker.stop().await.last.counters;
    assert_eq!((counters.panics, counters.retries), (0, 0), "no call found its key out of order");
    let seen = seen.lock().expect("nobody panics with it");
    (seen.most, took, seen.handling)
}

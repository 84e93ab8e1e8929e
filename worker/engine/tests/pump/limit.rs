//! A lease's word over dispatch, as the pump itself looks at it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, Offset};
use keyweir_engine::Outcome;
use keyweir_engine::pump::{Allowance, DispatchLimit};
use keyweir_engine::testing::fakes::FnHandler;
use tokio::time::{Instant, sleep};

use super::{Bench, delay};

/// A lease as it is renewed: dispatch may go on for two seconds, what ends within three counts.
fn renewed() -> Option<Allowance> {
    let now = Instant::now();
    Some(Allowance { dispatch: now + Duration::from_secs(2), count: now + Duration::from_secs(3) })
}

/// What a process does that was frozen for longer than its lease: nothing, though nobody has told it yet.
#[tokio::test(start_paused = true)]
async fn nothing_starts_beyond_the_limit_and_all_goes_on_when_it_moves() {
    let (lease, limit) = DispatchLimit::new();
    let bench = Bench { limit, ..Bench::new() };
    let worker = bench.start(delay(Duration::from_millis(10)));
    bench.send("a", "v");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.pump.snapshot().counters.attempts, 0, "without a lease nothing may start");
    lease.send_replace(renewed());
    worker.completed(1).await;
    sleep(Duration::from_secs(2)).await;
    bench.send("a", "v");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.pump.snapshot().counters.attempts, 1);
    lease.send_replace(renewed());
    worker.completed(2).await;
    worker.stop().await;
}

/// What was in flight in a process that was frozen for longer than its lease: it has ended, and does not count.
#[tokio::test(start_paused = true)]
async fn what_ends_after_the_lease_is_over_does_not_count() {
    let (lease, limit) = DispatchLimit::new();
    let bench = Bench { limit, ..Bench::new() };
    let worker = bench.start(delay(Duration::from_secs(4)));
    let offset = bench.send("a", "v");
    lease.send_replace(renewed());
    sleep(Duration::from_secs(10)).await;
    let counters = worker.pump.snapshot().counters;
    assert_eq!((counters.attempts, counters.completed), (1, 0));
    assert_eq!(bench.oracle.done(&bench.shard(), offset), 0);
    lease.send_replace(Some(Allowance {
        dispatch: Instant::now() + Duration::from_secs(60),
        count: Instant::now() + Duration::from_secs(60),
    }));
    worker.completed(1).await;
    let counters = worker.pump.snapshot().counters;
    assert_eq!((counters.attempts, counters.retries), (2, 0), "nobody is charged for it");
    worker.stop().await;
}

/// A probe that is taken away with its shard says nothing of the handler: another one follows.
#[tokio::test(start_paused = true)]
async fn a_probe_that_goes_with_its_shard_does_not_close_the_handler_for_good() {
    let bench = Bench::new();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    // First it is full, then it hangs, then it works.
    let handler = FnHandler::new(move |_| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            match call {
                0 => Outcome::unavailable("Full", "try again"),
                1 => std::future::pending().await,
                _ => Outcome::DONE,
            }
        }
    });
    let worker = bench.start_idle(handler);
    bench.send("a", "v");
    worker.own(bench.shard(), Checkpoint::new(Fence::new(1, 1), Offset(0))).await;
    while calls.load(Ordering::Relaxed) < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    worker.pump.abandon().await.expect("the pump runs");
    worker.own(bench.shard(), Checkpoint::new(Fence::new(1, 2), Offset(0))).await;
    worker.completed(1).await;
    worker.stop().await;
}

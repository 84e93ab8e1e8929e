//! A lease's word over dispatch, as the pump itself looks at it.

use std::time::Duration;

use keyweir_engine::pump::DispatchLimit;
use tokio::time::{Instant, sleep};

use super::{Bench, delay};

/// What a process does that was frozen for longer than its lease: nothing, though nobody has told it yet.
#[tokio::test(start_paused = true)]
async fn nothing_starts_beyond_the_limit_and_all_goes_on_when_it_moves() {
    let (lease, limit) = DispatchLimit::new();
    let bench = Bench { limit, ..Bench::new() };
    let worker = bench.start(delay(Duration::from_millis(10)));
    bench.send("a", "v");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.pump.snapshot().counters.attempts, 0, "without a lease nothing may start");
    lease.send_replace(Some(Instant::now() + Duration::from_secs(2)));
    worker.completed(1).await;
    sleep(Duration::from_secs(2)).await;
    bench.send("a", "v");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.pump.snapshot().counters.attempts, 1);
    lease.send_replace(Some(Instant::now() + Duration::from_secs(2)));
    worker.completed(2).await;
    worker.stop().await;
}

//! A hot key delays nobody but itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use keyweir_engine::Outcome;
use keyweir_engine::testing::fakes::FnHandler;
use tokio::time::Instant;

use super::{Bench, record};

/// U43's own case: 40,000 records, one in eight of the hot key, 5 ms each, 64 at a time (the default).
const RECORDS: u32 = 40_000;
const TAKES: Duration = Duration::from_millis(5);
const AT_A_TIME: u64 = 64;

async fn hot_key(partitions: u32, others: u32) {
    let bench = Bench::new();
    bench.log.create("orders", partitions);
    for i in 0..RECORDS {
        // The hot key lies in one partition, the others in all of them.
        let (key, partition) =
            if i % 8 == 0 { ("hot".to_owned(), 0) } else { (format!("k{}", i % others), i % partitions) };
        bench.log.append("orders", partition, record(&key, "v"));
    }
    let of_each = [Arc::new(Times::default()), Arc::new(Times::default())];
    let (times, began) = (of_each.clone(), Instant::now());
    let worker = bench.start(FnHandler::new(move |request| {
        let times = Arc::clone(&times[usize::from(request.record.key() != Some(b"hot"))]);
        async move {
            let called = Instant::now();
            tokio::time::sleep(TAKES).await;
            // A timer rounds up to a whole millisecond: what counts is how long the handler took.
            times.handling.fetch_add(micros(called.elapsed()), SeqCst);
            times.last.fetch_max(micros(began.elapsed()), SeqCst);
            Outcome::DONE
        }
    }));
    worker.completed(RECORDS.into()).await;
    worker.stop().await;
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
    for (whose, times, at_a_time) in
        [("the hot key", &of_each[0], 1), ("the other keys", &of_each[1], AT_A_TIME - 1)]
    {
        let took = times.last.load(SeqCst);
        let wanted = times.handling.load(SeqCst) * 11 / 10 / at_a_time;
        assert!(
            took <= wanted,
            "{partitions} partitions, {others} keys: {whose} took {took} us, want {wanted}"
        );
    }
}

/// Microseconds: spent in handlers, and until the last one ended.
#[derive(Default)]
struct Times {
    handling: AtomicU64,
    last: AtomicU64,
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

#[tokio::test(start_paused = true)]
async fn a_hot_key_delays_nobody_but_itself() {
    for partitions in [1, 8] {
        // Beside it, keys with one record each, and keys with many.
        hot_key(partitions, RECORDS).await;
        hot_key(partitions, 1000).await;
    }
}

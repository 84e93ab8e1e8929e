//! A source whose partitions can't be listed for a while.

use std::time::Duration;

use keyweir_core::ShardId;
use keyweir_engine::Outcome;
use keyweir_engine::testing::fakes::FnHandler;
use tokio::time::{Instant, sleep};

use super::{Bench, record};

/// Beyond the longest wait between two tries.
const BACK: Duration = Duration::from_secs(16);

/// U10: a listing that fails keeps nobody from working; it is tried again, ever more seldom, and then finds what is new.
#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_is_tried_again_and_stops_nobody() {
    let bench = Bench::new();
    let worker = bench.start(FnHandler::new(|_| async { Outcome::DONE }));
    bench.log.create("orders", 1);
    let mut sent = 0;
    let mut send = |partition: u32| {
        bench.log.append("orders", partition, record("k", "v"));
        sent += 1;
        sent
    };
    worker.completed(send(0)).await;
    // Longer than it takes until the next listing is due.
    let before = bench.log.listings();
    bench.log.set_unreachable(true);
    bench.log.create("orders", 3);
    for _ in 0..300 {
        worker.completed(send(0)).await;
        sleep(Duration::from_secs(1)).await;
    }
    let tries = bench.log.listings() - before;
    assert!((10..40).contains(&tries), "{tries} tries in five minutes");

    bench.log.set_unreachable(false);
    let back = Instant::now();
    worker.completed(send(1)).await;
    worker.completed(send(2)).await;
    assert!(back.elapsed() < BACK, "{:?}", back.elapsed());
    assert_eq!(worker.pump.owned().len(), 3);
    worker.stop().await;
    for (partition, records) in [(0, 301), (1, 1), (2, 1)] {
        let stored = bench.checkpoints.stored(&ShardId::new("orders", partition)).expect("a checkpoint");
        assert_eq!(stored.frontier.0, records);
    }
}

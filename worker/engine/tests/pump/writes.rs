//! What a record owes is its own: a write that outlives its shard means nothing to the next record of the lane.

use std::time::Duration;

use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, Offset, ShardId};
use keyweir_engine::Outcome;
use keyweir_engine::pump::ReleaseMode;
use keyweir_engine::testing::fakes::FnHandler;
use tokio::time::sleep;

use super::{Bench, record};

/// Equal keys of two partitions share a lane. The first one's shard is given up while its dead letter can't be written;
/// what becomes of that write later must not complete the second one, whose own letter is not written either.
#[tokio::test(start_paused = true)]
async fn a_write_of_a_shard_that_has_gone_completes_no_other_record() {
    let mut bench = Bench::new();
    bench.live.drain_timeout = Duration::from_secs(5);
    bench.producer.set_latency(Duration::from_secs(60));
    let worker = bench.start_idle(FnHandler::new(|_| async { Outcome::reject("Broken", "never") }));
    let shards = [ShardId::new("orders", 0), ShardId::new("orders", 1)];
    for (partition, shard) in (0..).zip(&shards) {
        bench.log.append("orders", partition, record("same", "v"));
        worker.own(shard.clone(), Checkpoint::new(Fence::new(1, 1), Offset(0))).await;
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.pump.snapshot().writing, 1, "the second one waits for the first");
    worker.pump.release(shards[0].clone(), ReleaseMode::Drain).await.expect("the pump runs");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(worker.pump.snapshot().writing, 2, "its turn has come");
    // The first one's write ends now, the second one's later.
    sleep(Duration::from_secs(54)).await;
    let now = worker.pump.snapshot();
    assert_eq!((bench.log.records("orders.dlq").len(), now.writing), (1, 1));
    assert_eq!(
        (now.counters.completed, now.counters.dead_lettered),
        (0, 0),
        "its own letter is not written yet"
    );
    worker.completed(1).await;
    assert_eq!(bench.log.records("orders.dlq").len(), 2);
    worker.stop().await;
}

/// The same where the first write fails: nobody repeats it, and nobody is in trouble for it.
#[tokio::test(start_paused = true)]
async fn a_failed_write_of_a_shard_that_has_gone_is_nobodys_trouble() {
    let mut bench = Bench::new();
    bench.live.drain_timeout = Duration::from_secs(5);
    bench.producer.set_failing(true);
    bench.producer.set_latency(Duration::from_secs(20));
    bench.send("same", "v");
    let worker = bench.start_idle(FnHandler::new(|_| async { Outcome::reject("Broken", "never") }));
    worker.own(bench.shard(), Checkpoint::new(Fence::new(1, 1), Offset(0))).await;
    sleep(Duration::from_secs(1)).await;
    worker.pump.release(bench.shard(), ReleaseMode::Drain).await.expect("the pump runs");
    sleep(Duration::from_secs(60)).await;
    let now = worker.pump.snapshot();
    assert_eq!((now.writing, now.troubles.len()), (0, 0), "{:?}", now.troubles);
    worker.stop().await;
}

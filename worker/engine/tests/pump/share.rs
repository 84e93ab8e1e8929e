//! What shards leave each other of the budget.

use std::time::Duration;

use keyweir_core::{Offset, ShardId};
use keyweir_engine::Outcome;
use keyweir_engine::testing::fakes::FnHandler;

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

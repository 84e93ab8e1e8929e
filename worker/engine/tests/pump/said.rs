//! What a pump says of itself: how old its oldest record is, and what last failed.

use std::time::Duration;

use keyweir_core::Offset;
use keyweir_engine::testing::fakes::FnHandler;
use keyweir_engine::{NewRecord, Outcome};

use super::{Bench, record};

#[tokio::test(start_paused = true)]
async fn the_oldest_record_that_is_not_complete_has_an_age_and_the_last_failure_is_told() {
    let bench = Bench::new();
    for second in 0..20 {
        let written = NewRecord { timestamp: Some(second * 1000), ..record(&format!("k{second}"), "v") };
        bench.log.append("orders", 0, written);
    }
    let worker = bench.start(FnHandler::new(|request| async move {
        match request.record.offset {
            Offset(7) => Outcome::retry("HandlerStuck", "no sign of life"),
            _ => Outcome::DONE,
        }
    }));
    let mut snapshots = worker.pump.snapshots();
    let waiting = snapshots.wait_for(|now| now.counters.completed == 19 && now.shards[0].outstanding == 1);
    let seen = tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .expect("in time")
        .expect("it runs")
        .clone();
    assert_eq!((seen.shards[0].frontier, seen.shards[0].oldest), (Offset(7), Some(7_000)));
    let failure = seen.last_failure.as_ref().expect("an attempt has failed");
    assert_eq!((failure.failure.reason, failure.failure.text.as_ref()), ("HandlerStuck", "no sign of life"));

    let all = snapshots.wait_for(|now| now.counters.completed == 20 && now.shards[0].outstanding == 0);
    let seen =
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("in time").expect("it runs").clone();
    assert_eq!(seen.shards[0].oldest, None, "nothing is open");
    worker.stop().await;
}

//! Handlers that take minutes are normal.

use std::time::Duration;

use keyweir_core::Offset;
use keyweir_engine::Outcome;
use keyweir_engine::testing::fakes::FnHandler;

use super::Bench;

const TEN_MINUTES: Duration = Duration::from_secs(600);

/// U49: a worker by itself. With several, see `a_long_handler_neither_delays_a_move_nor_runs_twice`.
#[tokio::test(start_paused = true)]
async fn while_a_handler_takes_ten_minutes_what_others_complete_is_durable() {
    let mut bench = Bench::new();
    bench.fixed.handler.options.timeout = None;
    bench.send("slow", "v");
    let worker = bench.start(FnHandler::new(|request| async move {
        let is_slow = request.record.key() == Some(b"slow");
        tokio::time::sleep(if is_slow { TEN_MINUTES } else { Duration::from_millis(10) }).await;
        Outcome::DONE
    }));
    let mut sent = 1;
    for _ in 0..9 {
        for i in 0..1_000 {
            bench.send(&format!("k{}", i % 50), "v");
        }
        sent += 1_000;
        tokio::time::sleep(Duration::from_secs(60)).await;
        // Behind the long one, and durable all the same: a crash would repeat that one only.
        let stored = bench.checkpoints.stored(&bench.shard()).expect("a checkpoint");
        assert_eq!((stored.frontier, stored.completed.len()), (Offset(0), 1));
        assert!((1..sent).all(|offset| stored.completed.contains(Offset(offset))));
        let now = worker.pump.snapshot();
        assert_eq!((now.shards.len(), now.in_flight, now.troubles.len()), (1, 1, 0), "it stays owned");
    }
    worker.completed(sent as u64).await;
    worker.stop().await;
    assert_eq!(bench.oracle.begun(&bench.shard(), Offset(0)), 1);
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
    assert_eq!(bench.checkpoints.stored(&bench.shard()).expect("a checkpoint").frontier, Offset(sent));
}

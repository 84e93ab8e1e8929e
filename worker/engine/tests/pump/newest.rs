//! `delivery` of an etcd source: of changes that wait for their key only the newest is handled, or each one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keyweir_contract::source::Source;
use keyweir_engine::Outcome;
use keyweir_engine::testing::fakes::FnHandler;

use super::{Bench, failure};

/// What a handler saw, in order.
type Seen = Arc<Mutex<Vec<String>>>;

fn bench(delivery: &str) -> Bench {
    let mut bench = Bench::new();
    let source = serde_json::json!({"etcd": {
        "endpoint": {"endpoints": ["http://etcd"]}, "paths": ["/a"], "slots": 1, "delivery": delivery,
        "startAt": "ListThenFollow", "pageSize": 1, "watchBuffer": 1,
    }});
    bench.fixed.source = serde_json::from_value::<Source>(source).expect("the source reads");
    bench
}

/// Takes a second for each record.
fn slow() -> (FnHandler, Seen) {
    let seen = Seen::default();
    let handler = {
        let seen = Arc::clone(&seen);
        FnHandler::new(move |request| {
            let value = String::from_utf8_lossy(request.record.value().unwrap_or_default()).into_owned();
            seen.lock().expect("nobody panics").push(value);
            async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Outcome::DONE
            }
        })
    };
    (handler, seen)
}

fn seen(seen: &Seen) -> Vec<String> {
    seen.lock().expect("nobody panics").clone()
}

/// U07.
#[tokio::test(start_paused = true)]
async fn while_a_key_is_busy_its_newest_change_replaces_what_waits() {
    let bench = bench("Latest");
    let (handler, values) = slow();
    let worker = bench.start(handler);
    bench.send("busy", "0");
    tokio::time::sleep(Duration::from_millis(500)).await;
    for number in 1..10 {
        bench.send("busy", &number.to_string());
        bench.send(&format!("other-{number}"), "other");
    }
    worker.completed(11).await;
    let snapshot = worker.pump.snapshot();
    assert_eq!((snapshot.counters.superseded, snapshot.counters.completed), (8, 11));
    worker.stop().await;
    let busy: Vec<_> = seen(&values).into_iter().filter(|value| value != "other").collect();
    assert_eq!(busy, ["0", "9"]);
    let stored = bench.checkpoints.stored(&bench.shard()).expect("a checkpoint");
    assert_eq!((stored.frontier.0, stored.completed.len()), (19, 0), "what was replaced is complete");
}

/// U07.
#[tokio::test(start_paused = true)]
async fn where_every_change_is_wanted_all_come_in_order() {
    let bench = bench("Every");
    let (handler, values) = slow();
    let worker = bench.start(handler);
    let all: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    for value in &all {
        bench.send("busy", value);
    }
    worker.completed(10).await;
    assert_eq!(worker.pump.snapshot().counters.superseded, 0);
    worker.stop().await;
    assert_eq!(seen(&values), all);
    assert_eq!(bench.oracle.violations(), Vec::<String>::new());
}

/// A change whose attempt has failed keeps its turn: what was tried is not taken from under its retry.
#[tokio::test(start_paused = true)]
async fn a_change_that_was_tried_is_not_replaced() {
    let bench = bench("Latest");
    let values = Seen::default();
    let handler = {
        let values = Arc::clone(&values);
        FnHandler::new(move |request| {
            let value = String::from_utf8_lossy(request.record.value().unwrap_or_default()).into_owned();
            values.lock().expect("nobody panics").push(value);
            let fails = request.attempt.0 < 3;
            async move {
                let failure = failure("NotYet");
                if fails { Outcome::retry(failure.reason, failure.text) } else { Outcome::DONE }
            }
        })
    };
    let worker = bench.start(handler);
    bench.send("k", "first");
    tokio::time::sleep(Duration::from_millis(20)).await;
    for number in 0..5 {
        bench.send("k", &number.to_string());
    }
    worker.completed(2).await;
    worker.stop().await;
    assert_eq!(seen(&values), ["first", "first", "first", "4", "4", "4"]);
}

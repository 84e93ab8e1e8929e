//! What a handler sees of a record, and what stays as it was.

use std::sync::{Arc, Mutex};

use keyweir_contract::policy::{DecodeFormat, ExhaustedAction};
use keyweir_core::Offset;
use keyweir_engine::Outcome;
use keyweir_engine::ports::{ParkedId, ParkedStore};
use keyweir_engine::testing::fakes::FnHandler;

use super::Bench;

const ENVELOPE: &str = r#"{"meta": "whatever streamback adds to a value of its own", "value": {"total": 5}}"#;

fn streamback() -> Bench {
    let mut bench = Bench::new();
    bench.fixed.decode.format = DecodeFormat::Streamback;
    bench.fixed.on_exhausted = ExhaustedAction::Park { blocks_key: false };
    bench.live.retry.max_attempts = 1;
    bench
}

#[tokio::test(start_paused = true)]
async fn an_envelope_weighs_the_same_when_it_comes_and_when_it_goes() {
    let mut bench = streamback();
    bench.live.execution.limits.bytes = "10Ki".parse().expect("a size");
    for i in 0..2000 {
        bench.send(&format!("k{}", i % 50), ENVELOPE);
    }
    let worker = bench.start(FnHandler::new(|_| async { Outcome::DONE }));
    worker.completed(2000).await;
    assert_eq!(worker.pump.snapshot().bytes_in_sight, 0);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_the_inner_value_and_a_copy_keeps_the_envelope() {
    let bench = streamback();
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let handler = {
        let seen = Arc::clone(&seen);
        FnHandler::new(move |request| {
            let mut seen = seen.lock().expect("nobody panics");
            seen.push(request.record.value().unwrap_or_default().to_vec());
            let outcome = if seen.len() == 1 { Outcome::reject("No", "not yet") } else { Outcome::DONE };
            async { outcome }
        })
    };
    bench.send("a", ENVELOPE);
    bench.send("a", "no envelope");
    let worker = bench.start(handler);
    worker.completed(2).await;
    let id = ParkedId { shard: bench.shard(), offset: Offset(0) };
    let parked = bench.parked.get(&id).await.expect("memory").expect("it is parked");
    assert_eq!(parked.record.value.as_deref(), Some(ENVELOPE.as_bytes()), "as it was read");
    super::parked::release(&bench, &worker, 0).await;
    worker.completed(3).await;
    assert_eq!(
        *seen.lock().expect("nobody panics"),
        [br#"{"total": 5}"#.to_vec(), br#"{"total": 5}"#.to_vec()]
    );
    assert_eq!(bench.parked.count().await.expect("memory"), 0, "it went through");
    assert_eq!(worker.pump.snapshot().counters.undecodable, 1, "the other one");
    worker.stop().await;
}

//! A pump over a log: what stands behind a slow key is read, what of it was given back is read again, in order.

use std::sync::Arc;
use std::time::Duration;

use keyweir_contract::worker_config::{FixedConfig, LiveConfig};
use keyweir_core::checkpoint::Checkpoint;
use keyweir_core::{Fence, Offset, ShardId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::log::{LogUnderTest, record};
use crate::outcome::Outcome;
use crate::pump::{Command, DispatchLimit, Ownership, Parts, Ports, Snapshot, pump};
use crate::record::NewRecord;
use crate::testing::fakes::{FnHandler, MemoryCheckpoints, MemoryLog, MemoryProducer};
use crate::testing::oracle::Oracle;

/// How long anything may take that must happen.
const DEADLINE: Duration = Duration::from_secs(120);
/// All but every twentieth are of the slow key.
const RECORDS: usize = 20_000;
const OTHERS: usize = RECORDS / 20;
/// Of which the pump may hold so many.
const HELD: u64 = 500;

/// A key that stands still leaves a small budget to the others, and comes back in order once it moves on.
pub async fn a_backlog_comes_back_in_order<L: LogUnderTest>(name: &str, log: &L) {
    let topic = format!("{name}.backlog");
    log.create(&topic, 1).await;
    let key = |number: usize| if number % 20 == 19 { format!("k{}", number % 97) } else { "slow".to_owned() };
    let keyed = |number: usize| NewRecord { key: Some(key(number).into()), ..record(0, number.to_string()) };
    log.append(&topic, (0..RECORDS).map(keyed).collect()).await;

    let (permits, oracle) = (Arc::new(Semaphore::new(0)), Oracle::default());
    let (shutdown, elsewhere) = (CancellationToken::new(), MemoryLog::default());
    let mut live = LiveConfig::default();
    live.execution.limits.records = HELD;
    let (handle, run) = pump(Parts {
        reader: log.reader(),
        handlers: vec![Arc::new(slow(&permits))],
        ports: Ports {
            source: Arc::new(log.source(&[&topic])),
            checkpoints: Arc::new(MemoryCheckpoints::default()),
            producer: Arc::new(MemoryProducer::new(elsewhere)),
            parked: None,
            recall: Some(Arc::new(log.recall())),
            notices: Default::default(),
        },
        observers: vec![Box::new(oracle.clone())],
        fixed: Arc::new(fixed(&topic)),
        live,
        cpus: 1,
        seed: 7,
        departed: None,
        limit: DispatchLimit::default(),
        shutdown: shutdown.clone(),
        hurry: CancellationToken::new(),
    });
    let run = tokio::spawn(run);
    let (shard, fence) = (ShardId::new(topic.as_str(), 0), Fence::new(0, 1));
    let checkpoint = Checkpoint::new(fence, Offset(0));
    let own = Ownership { shard: shard.clone(), fence, checkpoint, executing: Vec::new() };
    handle.send(Command::Own(own)).await.expect("the pump runs");

    let mut snapshots = handle.snapshots();
    let mut until = async |holds: &dyn Fn(&Snapshot) -> bool| {
        let seen = tokio::time::timeout(DEADLINE, snapshots.wait_for(|now| holds(now))).await;
        seen.expect("in time").expect("the pump runs");
    };
    until(&|now| now.counters.completed == OTHERS as u64 && now.spilled > RECORDS - OTHERS - HELD as usize)
        .await;
    permits.add_permits(RECORDS);
    until(&|now| now.counters.completed == RECORDS as u64).await;
    shutdown.cancel();
    let report =
        tokio::time::timeout(DEADLINE, run).await.expect("in time").expect("the pump does not panic");
    assert_eq!((report.last.spilled, report.last.counters.gone), (0, 0));
    assert_eq!(oracle.violations(), Vec::<String>::new());
    assert!((0..RECORDS as i64).all(|offset| oracle.done(&shard, Offset(offset)) == 1), "each once");
}

/// A handler that needs a permit for each record of the slow key.
fn slow(permits: &Arc<Semaphore>) -> FnHandler {
    let permits = Arc::clone(permits);
    FnHandler::new(move |request| {
        let permits = Arc::clone(&permits);
        async move {
            if request.record.key() == Some(b"slow") {
                permits.acquire().await.expect("nobody closes it").forget();
            }
            Outcome::DONE
        }
    })
}

fn fixed(topic: &str) -> FixedConfig {
    let fixed = serde_json::json!({
        "source": {"embedded": {"topics": [topic], "group": "g", "partitions": 1, "startAt": "earliest",
            "retentionAge": "168h", "retentionBytes": "10Gi"}},
        "handler": {"handler": {"builtin": "drop"}, "options": {"maxResponseBytes": "1Mi"}},
        "onUndecodable": "skip",
        "onExhausted": "stop",
    });
    serde_json::from_value(fixed).expect("the configuration reads")
}

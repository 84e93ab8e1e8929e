//! How far an object is behind: asked of the source now and then, never on a record's way.

use std::sync::Arc;
use std::time::Duration;

use keyweir_core::ShardId;
use keyweir_engine::ports::{Bounds, Source};
use keyweir_engine::pump::{PumpHandle, ShardSnapshot};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How far an object is behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lag {
    /// Records behind the frontiers of the owned shards, those in flight included.
    pub records: u64,
    /// Of each owned shard.
    pub shards: Vec<(Arc<ShardId>, u64)>,
}

/// Asks for the lag each `interval` until cancelled; `None` = unknown, never zero.
pub(crate) async fn follow(
    source: Arc<dyn Source>,
    pump: PumpHandle,
    interval: Duration,
    lag: watch::Sender<Option<Lag>>,
    cancel: CancellationToken,
) {
    loop {
        let owned = pump.snapshot().shards.clone();
        let ids: Vec<ShardId> = owned.iter().map(|shard| (*shard.id).clone()).collect();
        // Without a shard there is nothing to be behind of, and so nothing to be told.
        if ids.is_empty() {
            lag.send_if_modified(|known| known.take().is_some());
        } else {
            let bounds = tokio::select! {
                biased;
                // The end first: a source that does not answer must not hold it up.
                () = cancel.cancelled() => return,
                bounds = source.bounds(&ids) => bounds,
            };
            let found = match bounds {
                Ok(bounds) => {
                    let counts = source.counts_records();
                    let behind = |(shard, bounds): (&ShardSnapshot, Bounds)| {
                        let records = if counts { distance(shard, bounds) } else { in_sight(shard)? };
                        Some((Arc::clone(&shard.id), records))
                    };
                    let shards: Option<Vec<_>> = owned.iter().zip(bounds).map(behind).collect();
                    shards.map(|shards| Lag {
                        records: shards.iter().map(|(_, records)| records).sum(),
                        shards,
                    })
                }
                Err(error) => {
                    tracing::debug!(error = keyweir_engine::error_chain(&error), "the lag is not known");
                    None
                }
            };
            lag.send_replace(found);
        }
        tokio::select! {
            biased;
            // The end first: nobody asks for the lag any more.
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

fn distance(shard: &ShardSnapshot, bounds: Bounds) -> u64 {
    let behind = bounds.end.0.saturating_sub(shard.frontier.0.max(bounds.first.0));
    u64::try_from(behind).unwrap_or(0)
}

/// Where offsets count nothing, what is not read yet is not known: a source that tells each change at once has read
/// all there is, unless it had to stop, or has not begun.
fn in_sight(shard: &ShardSnapshot) -> Option<u64> {
    let reads = shard.caught_up && !shard.held_back && !shard.paused;
    reads.then_some(shard.outstanding as u64)
}

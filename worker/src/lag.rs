//! How far an object is behind: asked of the source now and then, never on a record's way.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyweir_core::ShardId;
use keyweir_engine::ports::{Bounds, Source};
use keyweir_engine::pump::{PumpHandle, ShardSnapshot};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What has appeared behind all that was read is read within this time, or nobody knows how old it is.
const READ_SOON: Duration = Duration::from_secs(5);

/// How far an object is behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lag {
    /// Records behind the frontiers of the owned shards, those in flight included.
    pub records: u64,
    /// Age of the oldest of them in seconds; `None` = unknown.
    pub seconds: Option<u64>,
    /// Of each owned shard.
    pub shards: Vec<ShardLag>,
}

/// How far a shard is behind.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardLag {
    /// Which.
    pub id: Arc<ShardId>,
    /// Records behind its frontier.
    pub records: u64,
    /// Age of the oldest of them in seconds; `None` = unknown.
    pub seconds: Option<u64>,
}

/// Asks for the lag each `interval` until cancelled; `None` = unknown, never zero.
pub(crate) async fn follow(
    source: Arc<dyn Source>,
    pump: PumpHandle,
    interval: Duration,
    lag: watch::Sender<Option<Lag>>,
    cancel: CancellationToken,
) {
    let mut unread = Unread::default();
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
                Ok(bounds) => measured(&owned, bounds, source.counts_records(), &mut unread),
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

fn measured(owned: &[ShardSnapshot], bounds: Vec<Bounds>, counts: bool, unread: &mut Unread) -> Option<Lag> {
    unread.keep(owned);
    let behind = |(shard, bounds): (&ShardSnapshot, Bounds)| {
        let records = if counts { distance(shard, bounds) } else { in_sight(shard)? };
        let seconds = unread.age(shard, records, Instant::now(), now());
        Some(ShardLag { id: Arc::clone(&shard.id), records, seconds })
    };
    let shards: Vec<ShardLag> = owned.iter().zip(bounds).map(behind).collect::<Option<_>>()?;
    let oldest =
        shards.iter().map(|shard| shard.seconds).try_fold(0, |most, age| age.map(|age| most.max(age)));
    Some(Lag { records: shards.iter().map(|shard| shard.records).sum(), seconds: oldest, shards })
}

/// Since when shards are behind of which nothing is in sight: what is to be read has only just been written, unless the
/// reader does not come to it.
#[derive(Default)]
struct Unread(HashMap<Arc<ShardId>, Instant>);

impl Unread {
    fn keep(&mut self, owned: &[ShardSnapshot]) {
        self.0.retain(|id, _| owned.iter().any(|shard| shard.id == *id));
    }

    /// Age of the oldest record of a shard that is not complete, in seconds. `at` and `now` are the same moment.
    fn age(&mut self, shard: &ShardSnapshot, records: u64, at: Instant, now: i64) -> Option<u64> {
        if records == 0 || shard.outstanding > 0 {
            self.0.remove(&shard.id);
            if records == 0 {
                return Some(0);
            }
            // Clocks of others may be ahead of ours.
            let age = now.saturating_sub(shard.oldest?).max(0) / 1000;
            return u64::try_from(age).ok();
        }
        let since = *self.0.entry(Arc::clone(&shard.id)).or_insert(at);
        (at.duration_since(since) < READ_SOON && shard.caught_up && !shard.paused).then_some(0)
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
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

#[cfg(test)]
mod tests {
    use keyweir_core::{Fence, Offset};

    use super::*;

    fn shard(outstanding: usize, oldest: Option<i64>) -> ShardSnapshot {
        ShardSnapshot {
            id: Arc::new(ShardId::new("orders", 0)),
            fence: Fence::new(1, 1),
            frontier: Offset(10),
            durable: Offset(10),
            next: Offset(10 + outstanding as i64),
            outstanding,
            oldest,
            failed: 0,
            checkpoint_age: Duration::ZERO,
            held_back: false,
            paused: false,
            caught_up: true,
            history_lost: false,
        }
    }

    #[test]
    fn the_age_is_that_of_the_oldest_record_and_unknown_where_nobody_says_it() {
        let (mut unread, at, now) = (Unread::default(), Instant::now(), 100_000);
        assert_eq!(unread.age(&shard(3, Some(58_000)), 3, at, now), Some(42));
        assert_eq!(unread.age(&shard(3, Some(200_000)), 3, at, now), Some(0), "the writer's clock is ahead");
        assert_eq!(unread.age(&shard(3, None), 3, at, now), None);
        assert_eq!(unread.age(&shard(0, None), 0, at, now), Some(0));
    }

    #[test]
    fn what_is_not_read_is_young_at_first_and_then_of_unknown_age() {
        let (mut unread, at, now) = (Unread::default(), Instant::now(), 100_000);
        let (soon, late) = (at + Duration::from_secs(1), at + READ_SOON);
        assert_eq!(unread.age(&shard(0, None), 7, at, now), Some(0));
        assert_eq!(unread.age(&shard(0, None), 7, soon, now), Some(0));
        assert_eq!(unread.age(&shard(0, None), 7, late, now), None);
        assert_eq!(unread.age(&shard(1, Some(now)), 7, late, now), Some(0));
        assert_eq!(unread.age(&shard(0, None), 7, late, now), Some(0), "that is another one");
        let paused = ShardSnapshot { paused: true, ..shard(0, None) };
        assert_eq!(unread.age(&paused, 7, late, now), None);
    }

    #[test]
    fn the_age_of_an_object_is_known_when_that_of_each_shard_is() {
        let bounds = |end| Bounds { first: Offset(0), end: Offset(end) };
        let other = |oldest| ShardSnapshot { id: Arc::new(ShardId::new("orders", 1)), ..shard(1, oldest) };
        let of = |shards: &[ShardSnapshot]| {
            let lag = measured(shards, vec![bounds(13), bounds(11)], true, &mut Unread::default());
            let lag = lag.expect("it is known");
            (lag.records, lag.seconds)
        };
        let recent = now() - 30_000;
        assert_eq!(of(&[shard(3, Some(recent)), other(None)]), (4, None));
        let (records, seconds) = of(&[shard(3, Some(recent)), other(Some(recent + 20_000))]);
        assert_eq!((records, seconds.map(|age| age / 10)), (4, Some(3)));
    }
}

//! Failures of records in the log: the first of each kind, then one a minute, with how many were not told. A flood of
//! poisoned records is no flood of lines, and one that fails does not fail in silence. Up: the [pump](super).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keyweir_core::LaneId;
use tokio::time::Instant;

use super::Pump;
use super::dispatch::{Answer, Work};
use crate::outcome::Failure;
use crate::ports::{Handler, Reader};

/// How long after one of a kind the next one is told.
const PAUSE: Duration = Duration::from_secs(60);

/// What was told lately: what became of the record and the reason, when that was told, and how many were not since.
#[derive(Default)]
pub(super) struct Warned(HashMap<(&'static str, &'static str), (Instant, u64)>);

impl Warned {
    /// Whether another one is told now; then how many were not since the last one that was.
    fn next(&mut self, kind: (&'static str, &'static str), now: Instant) -> Option<u64> {
        match self.0.get_mut(&kind) {
            Some((told, untold)) if now.saturating_duration_since(*told) < PAUSE => {
                *untold += 1;
                None
            }
            known => {
                let untold = known.map_or(0, |(_, untold)| *untold);
                self.0.insert(kind, (now, 0));
                Some(untold)
            }
        }
    }
}

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    /// Tells what became of the head of a lane, and why.
    pub(super) fn warn_of(&mut self, lane: LaneId, what: &'static str, failure: &Failure) {
        let Some(untold) = self.warned.next((what, failure.reason), self.now) else { return };
        let Some(task) = self.lanes.head(lane) else { return };
        let shard = self.shards.get(task.record.shard.as_usize()).and_then(Option::as_ref);
        let record = shard.map(|shard| format!("{}@{}", shard.id, task.record.offset)).unwrap_or_default();
        let (attempts, reason, text) = (task.failed, failure.reason, &*failure.text);
        tracing::warn!(record, attempts, reason, text, untold, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_told_and_then_one_a_minute_with_how_many_were_not() {
        let (mut warned, now) = (Warned::default(), Instant::now());
        let mut at = |seconds| warned.next(("failed", "HandlerFailed"), now + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(59), at(60), at(61)], [Some(0), None, None, Some(2), None]);
        assert_eq!(warned.next(("failed", "HandlerTimeout"), now), Some(0), "another kind is another line");
    }
}

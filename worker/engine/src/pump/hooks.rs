//! The hooks: told of each step in a record's and a shard's life, before it counts.
//!
//! Each hook is called by itself: one that panics harms neither the record nor the others. It is counted, and said once.
//! Up: [`super`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use keyweir_core::{LaneId, ShardIndex};

use super::Pump;
use super::dispatch::{Answer, Work};
use crate::outcome::Verdict;
use crate::ports::{Aside, Handler, Observer, Reader, RecordEvent, ShardEvent};
use crate::record::Record;

/// All hooks of a pump.
pub(super) struct Hooks {
    observers: Vec<Box<dyn Observer>>,
    failed: u64,
}

impl Hooks {
    pub(super) fn new(observers: Vec<Box<dyn Observer>>) -> Self {
        Self { observers, failed: 0 }
    }

    /// Whether anybody is to be told of anything.
    #[inline]
    pub(super) fn are_there(&self) -> bool {
        !self.observers.is_empty()
    }

    /// How many calls have panicked.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    pub(super) fn tell(&mut self, mut what: impl FnMut(&mut dyn Observer)) {
        for observer in &mut self.observers {
            if catch_unwind(AssertUnwindSafe(|| what(observer.as_mut()))).is_err() {
                if self.failed == 0 {
                    tracing::error!(
                        "a hook has panicked: that costs no record anything, and further ones are counted"
                    );
                }
                self.failed += 1;
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
    /// A step in a record's life.
    #[inline]
    pub(super) fn observe(&mut self, record: &Record, key: Option<&[u8]>, event: RecordEvent<'_>) {
        if self.hooks.are_there() {
            self.observe_record(record, key, event);
        }
    }

    fn observe_record(&mut self, record: &Record, key: Option<&[u8]>, event: RecordEvent<'_>) {
        let Some(Some(shard)) = self.shards.get(record.shard.as_usize()) else {
            return;
        };
        let (id, fence) = (&shard.id, shard.fence);
        self.hooks.tell(|observer| observer.record(id, fence, key, record, event));
    }

    /// The call of a lane's head has ended, or was cancelled.
    #[inline]
    pub(super) fn observe_end(&mut self, lane: LaneId, verdict: Option<&Verdict>) {
        if self.hooks.are_there() {
            self.observe_end_of_head(lane, verdict);
        }
    }

    fn observe_end_of_head(&mut self, lane: LaneId, verdict: Option<&Verdict>) {
        let Some(task) = self.lanes.head(lane) else {
            return;
        };
        let (record, attempt) = (task.record.clone(), task.attempt());
        let key = self.lanes.key(lane).map(<[u8]>::to_vec);
        self.observe(&record, key.as_deref(), RecordEvent::Ended(attempt, verdict));
    }

    /// The road of a lane's head ends.
    pub(super) fn observe_aside(&mut self, lane: LaneId, aside: Aside) {
        if self.hooks.are_there()
            && let Some(task) = self.lanes.head(lane)
        {
            let record = task.record.clone();
            let key = self.lanes.key(lane).map(<[u8]>::to_vec);
            self.observe(&record, key.as_deref(), RecordEvent::SetAside(aside));
        }
    }

    /// A step in a shard's life.
    pub(super) fn tell_shard(&mut self, index: ShardIndex, event: ShardEvent) {
        let Some(Some(shard)) = self.shards.get(index.as_usize()) else {
            return;
        };
        let (id, fence) = (&shard.id, shard.fence);
        self.hooks.tell(|observer| observer.shard(id, fence, event));
    }

    /// Hooks write out what they have gathered.
    pub(super) fn observe_tick(&mut self) {
        self.hooks.tell(|observer| observer.tick());
    }
}

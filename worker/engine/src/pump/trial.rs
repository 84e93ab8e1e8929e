//! A shard whose owners keep dying: its records run one at a time, and each attempt is durably charged before it starts.
//! So the record that kills its worker is found, and goes down its road when its attempts are used up.
//!
//! What was in flight when an owner died is among the first records that may start, as many as run at a time: after so
//! many that ended well, the shard goes on as before. A charge that was not followed by an end is a crash of that very
//! record: the next owner begins with trials at once. Each charge is in the same checkpoint as all that is complete by
//! then, so that nobody is charged twice for another record's crash. Up: [`super`].

use std::time::Duration;

use keyweir_core::checkpoint::FailedRecord;
use keyweir_core::{Attempt, LaneId, Offset, Route, UnixMillis};

use super::Pump;
use super::dispatch::{Answer, Work, backoff};
use super::shard::Shard;
use super::timers::Due;
use crate::outcome::Failure;
use crate::ports::{Handler, Reader};

/// After so many tenures in a row that a crash ended with the frontier where it is.
const CRASHES: u32 = 3;

/// How long a record waits whose charge is not durable yet, and one that has no turn yet.
const CHARGED_WITHIN: Duration = Duration::from_millis(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why a record is charged before it starts.
const WORKER_DIED: &str = "WorkerDied";

/// The record whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trial {
    offset: Offset,
    /// The checkpoint that charges it.
    sequence: u64,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Charging,
    Charged,
    Started,
}

impl Trial {
    /// A checkpoint is durable.
    pub(super) fn saved(&mut self, sequence: u64) {
        if self.step == Step::Charging && sequence >= self.sequence {
            self.step = Step::Charged;
        }
    }
}

impl Shard {
    /// How many records are to run one at a time, where so many run at a time otherwise.
    pub(super) fn trials_due(&self, concurrency: usize) -> usize {
        let suspected = self.failed.values().any(|failed| failed.reason.starts_with(WORKER_DIED));
        if suspected || self.begun_in_a_row() > CRASHES { concurrency } else { 0 }
    }

    /// Charges a record with an attempt that is about to start.
    fn charge_before(&mut self, offset: Offset, attempts: Attempt, not_before: UnixMillis) {
        tracing::warn!(shard = %self.id, %offset, attempt = attempts.0, "owners keep dying: records run one at a time");
        let reason = format!("{WORKER_DIED}: its worker died while it was handled");
        self.failed.insert(offset, FailedRecord { offset, attempts, not_before, reason });
        self.trial = Some(Trial { offset, sequence: self.sequence + 1, step: Step::Charging });
    }
}

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(std::sync::Arc<H>, Work) -> F,
{
    /// Whether any shard runs one record at a time; looked at when one is owned and at each tick.
    pub(super) fn look_for_trials(&mut self) {
        self.trials = self.shards.iter().flatten().any(|shard| shard.trials_left > 0);
    }

    /// Whether the head of a taken lane has its turn. One that has had its last attempt goes down its road.
    pub(super) fn has_its_turn(&mut self, lane: LaneId, route: Route) -> bool {
        let Some(task) = self.lanes.head(lane) else {
            return false;
        };
        let (index, offset, failed) = (task.record.shard, task.record.offset, task.failed);
        if failed >= backoff(&self.live).max_attempts {
            self.end_without_attempt(lane, route);
            return false;
        }
        if !self.trials {
            return true;
        }
        let not_before = UnixMillis(self.wall(self.now));
        let now = self.now;
        let Some(shard) = self.shard(index).filter(|shard| shard.trials_left > 0) else {
            return true;
        };
        let busy = shard.executing > 0;
        let wait = match &mut shard.trial {
            _ if busy => LOOK_AGAIN,
            Some(trial) if trial.step == Step::Started => {
                shard.trial = None;
                shard.trials_left -= 1;
                // Nobody executes: the next in line has its turn.
                return self.has_its_turn(lane, route);
            }
            Some(trial) if trial.offset == offset && trial.step == Step::Charged => {
                trial.step = Step::Started;
                return true;
            }
            Some(trial) if trial.offset == offset => CHARGED_WITHIN,
            Some(_) => LOOK_AGAIN,
            None => {
                shard.charge_before(offset, Attempt(failed.saturating_add(1)), not_before);
                shard.touch(now);
                self.save_after = now;
                self.save_checkpoints();
                CHARGED_WITHIN
            }
        };
        self.gates[usize::from(route)].probe_lost(now);
        self.lanes.wait(lane);
        self.timers.add(now + wait, lane, Due::Attempt);
        false
    }

    /// Its last attempt was charged to it and brought no answer: its worker died, or its road was cut short.
    fn end_without_attempt(&mut self, lane: LaneId, route: Route) {
        self.gates[usize::from(route)].probe_lost(self.now);
        let known = self.lanes.head(lane).map(|task| (task.record.shard, task.record.offset));
        let shard = known.and_then(|(index, offset)| Some((self.shard(index)?, offset)));
        let said =
            shard.and_then(|(shard, offset)| shard.failed.get(&offset)).map(|failed| failed.reason.clone());
        let said = said.unwrap_or_else(|| "it had its last attempt".to_owned());
        let reason = if said.starts_with(WORKER_DIED) { WORKER_DIED } else { "Exhausted" };
        self.executing(lane, 1);
        let action = self.on_exhausted();
        self.follow_road(lane, Failure::new(reason, said), action);
    }
}

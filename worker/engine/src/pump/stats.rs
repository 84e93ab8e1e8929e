//! What a pump says of itself: plain numbers, published at each tick, read by metrics, progress and status.
//!
//! The pump counts in fields of its own and copies them out: no reader can delay it.

use std::sync::Arc;
use std::time::Duration;

use keyweir_core::{Fence, Offset, ShardId};
use tokio::time::Instant;

use super::Pump;
use super::dispatch::{Answer, Work};
use crate::outcome::Failure;
use crate::ports::{Handler, Reader};

/// Upper bounds of the histograms' classes, in seconds; one more class holds the rest.
pub const TIME_BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0, 60.0];

/// Counters since the pump began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// Records read and charged.
    pub polled: u64,
    /// Records that completed, whatever their road.
    pub completed: u64,
    /// Of those polled: known to be complete from the checkpoint.
    pub replayed: u64,
    /// Calls made, a batch counting once for each of its records.
    pub attempts: u64,
    /// Attempts that failed and will be made again.
    pub retries: u64,
    /// Records written to a dead-letter topic.
    pub dead_lettered: u64,
    /// Records parked.
    pub parked: u64,
    /// Records dropped because the policy says `Skip`.
    pub skipped: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Records that no route takes.
    pub unroutable: u64,
    /// Attempts that ended by the time-out.
    pub timeouts: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Answers `Unavailable`.
    pub unavailable: u64,
    /// Outputs written.
    pub outputs: u64,
    /// Writes of outputs, dead letters or parked records that failed and are tried again.
    pub failed_writes: u64,
    /// Checkpoints saved.
    pub checkpoints: u64,
    /// Saves of checkpoints that failed and are tried again.
    pub failed_checkpoints: u64,
    /// Checkpoints refused because a newer owner has written.
    pub fenced: u64,
    /// Hooks that panicked.
    pub failed_hooks: u64,
    /// Records whose content was given back, to be read again.
    pub spilled: u64,
    /// Records read again.
    pub recalled: u64,
    /// Spilled records that the log had dropped before they were read again.
    pub gone: u64,
    /// Records that a newer one of their key replaced before they were handled.
    pub superseded: u64,
    /// Shards that were read anew, because the history that they needed was no more.
    pub resyncs: u64,
}

/// How long things took, as a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many of them ended in each class of [`TIME_BOUNDS`]; not cumulative.
    pub classes: [u64; TIME_BOUNDS.len() + 1],
    /// All of them together.
    pub total: Duration,
}

impl Durations {
    pub(crate) fn add(&mut self, took: Duration, calls: u64) {
        let seconds = took.as_secs_f64();
        let class = TIME_BOUNDS.partition_point(|bound| *bound < seconds);
        self.classes[class] += calls;
        self.total = self.total.saturating_add(took.saturating_mul(u32::try_from(calls).unwrap_or(u32::MAX)));
    }
}

/// Whether the pump works, and why not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// Records are handled.
    #[default]
    Running,
    /// The manifest says `Paused`.
    Paused,
    /// The lease is in doubt: nothing new is started.
    Frozen,
    /// It drains.
    Draining,
    /// A record could not be handled and the policy says `Stop`, or the manifest does.
    Stopped,
}

/// Trouble that is survived, for people to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it is about: a shard, `source`, `handler/<route>`, `checkpoints`, a topic.
    pub about: String,
    /// The stable word.
    pub reason: &'static str,
    /// The whole chain of causes.
    pub text: String,
}

/// An attempt that failed, or a record that could not even be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// Why.
    pub failure: Failure,
    /// When.
    pub at: Instant,
}

/// One shard.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardSnapshot {
    /// Which.
    pub id: Arc<ShardId>,
    /// Under which fence it is owned.
    pub fence: Fence,
    /// All below is complete.
    pub frontier: Offset,
    /// All below is complete, durably.
    pub durable: Offset,
    /// The next offset to be read.
    pub next: Offset,
    /// Charged and not complete.
    pub outstanding: usize,
    /// About when the oldest of those was written, in milliseconds since the epoch; `None` = unknown, or there is none.
    pub oldest: Option<i64>,
    /// Records that failed and will be tried again.
    pub failed: usize,
    /// How long the checkpoint has been behind the frontier.
    pub checkpoint_age: Duration,
    /// Reading is paused because the shard is above its share, its ledger is too long or too much of it is spilled.
    pub held_back: bool,
    /// The manifest pauses it.
    pub paused: bool,
    /// The reader has said how far it has read, since the shard is owned here.
    pub caught_up: bool,
    /// Since it is owned here, changes were lost that its source can no longer show.
    pub history_lost: bool,
}

/// What a pump says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Whether it works.
    pub activity: Activity,
    /// Counters.
    pub counters: Counters,
    /// How long handlers took, calls that ended at once included.
    pub handler_time: Durations,
    /// How long saves of checkpoints took, those that failed included.
    pub checkpoint_time: Durations,
    /// Records that may execute at the same time.
    pub concurrency: usize,
    /// Records that are executing.
    pub in_flight: usize,
    /// Records in sight: read and not complete.
    pub in_sight: usize,
    /// Of those: of which only the place is kept.
    pub spilled: usize,
    /// Bytes of the others.
    pub bytes_in_sight: u64,
    /// Keys that have a record here.
    pub busy_keys: usize,
    /// Records that wait for their next attempt.
    pub waiting: usize,
    /// Writes under way.
    pub writing: usize,
    /// The budget's high mark is reached.
    pub intake_stopped: bool,
    /// The shards.
    pub shards: Vec<ShardSnapshot>,
    /// What is wrong now.
    pub troubles: Vec<Trouble>,
    /// The last failure of a record.
    pub last_failure: Option<LastFailure>,
}

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    /// Tells whoever looks how it is now.
    pub(super) fn publish_snapshot(&mut self) {
        let mut troubles: Vec<_> = self.troubles.values().cloned().collect();
        troubles.sort_by(|one, other| one.about.cmp(&other.about));
        let snapshot = Snapshot {
            activity: self.activity,
            counters: Counters { failed_hooks: self.hooks.failed(), ..self.counters },
            handler_time: self.handler_time,
            checkpoint_time: self.checkpoint_time,
            concurrency: self.limits.concurrency,
            in_flight: self.calls.cargo().map(|cargo| cargo.lanes.len()).sum(),
            in_sight: self.lanes.records() + self.lanes.spilled(),
            spilled: self.lanes.spilled(),
            bytes_in_sight: self.budget.held().bytes,
            busy_keys: self.lanes.keys(),
            waiting: self.timers.len(),
            writing: self.writing,
            intake_stopped: !self.takes(),
            shards: self.shards_of_now().map(|shard| shard.snapshot(self.now)).collect(),
            troubles,
            last_failure: self.last_failure.clone(),
        };
        self.publish.send_replace(Arc::new(snapshot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_class() {
        let mut time = Durations::default();
        time.add(Duration::ZERO, 2);
        time.add(Duration::from_millis(1), 1);
        time.add(Duration::from_secs(600), 1);
        assert_eq!((time.classes[0], time.classes[1], time.classes[12]), (2, 1, 1));
    }
}

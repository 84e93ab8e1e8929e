//! One owned shard: its ledger, what failed of it, and how far that is durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use keyweir_core::checkpoint::{Checkpoint, FailedRecord};
use keyweir_core::{Ages, Fence, Ledger, Offset, ShardId, ShardIndex};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::blocked::Blocked;
use super::command::{Ownership, Released};
use super::elsewhere::Held;
use super::recall::Recalling;
use super::stats::ShardSnapshot;
use super::trial::Trial;
use crate::ports::{BlockedKey, Reader};

/// Longest encoded ledger of a shard, in bytes: beyond it the shard is held back, visibly. Below what one etcd
/// transaction carries.
pub(super) const LONGEST_LEDGER: usize = 384 * 1024;

/// One owned shard.
pub(super) struct Shard {
    pub(super) id: Arc<ShardId>,
    /// Which of the object's streams: equal keys of one stream share a lane.
    pub(super) stream: u16,
    pub(super) fence: Fence,
    pub(super) ledger: Ledger,
    /// When its records were written.
    pub(super) ages: Ages,
    /// Failed records that are not complete, by offset.
    pub(super) failed: BTreeMap<Offset, FailedRecord>,
    pub(super) phase: Phase,
    /// Reading is paused: above its share, the ledger is too long, or too much is spilled.
    pub(super) held_back: bool,
    /// How many of its records are spilled.
    pub(super) spilled: usize,
    /// The read of some of them.
    pub(super) recalling: Recalling,
    /// Calls and writes of its records that are under way.
    pub(super) executing: usize,
    /// Something changed that the last taken checkpoint does not say.
    pub(super) dirty_since: Option<Instant>,
    /// Since when its checkpoints have been refused; `None` = the last one was saved.
    pub(super) refused_since: Option<Instant>,
    pub(super) durable: Offset,
    /// Records that execute at an earlier owner.
    pub(super) elsewhere: BTreeMap<Offset, Held>,
    /// Keys that stand behind a parked record.
    pub(super) blocked: HashMap<BlockedKey, Blocked>,
    /// Records that ended elsewhere before they were read here.
    early: Vec<Offset>,
    pub(super) sequence: u64,
    /// The record whose turn it is, where they run one at a time.
    pub(super) trial: Option<Trial>,
    /// The reader has been told of it.
    was_opened: bool,
    /// The reader has said how far it has read.
    pub(super) caught_up: bool,
    /// Changes were lost that its source can no longer show.
    pub(super) history_lost: bool,
    /// How many more records run one at a time.
    pub(super) trials_left: usize,
    /// The frontier with which this tenure began.
    start: Offset,
    /// What every checkpoint of this shard repeats: identity, crash take-overs.
    template: Checkpoint,
}

/// What a shard is about.
pub(super) enum Phase {
    /// Not read yet: which keys stand behind parked records is being looked up.
    Learning,
    /// Read and handled.
    Active,
    /// Paused by the manifest: nothing of it is read or waits in a lane.
    Paused,
    /// No longer paused: read again once nothing of it executes.
    Resuming,
    /// Given up: nothing new starts; the reply goes out with the last checkpoint.
    Releasing { until: Instant, reply: Option<oneshot::Sender<Released>> },
    /// Another member owns it now; what still executes here ends here.
    HandedOver,
    /// The last checkpoint is being written.
    Closing { reply: Option<oneshot::Sender<Released>> },
}

impl Shard {
    pub(super) fn new(ownership: Ownership, stream: u16) -> Self {
        let Ownership { shard, fence, checkpoint, .. } = ownership;
        Self {
            id: Arc::new(shard),
            stream,
            fence,
            ledger: Ledger::restore(checkpoint.frontier, &checkpoint.completed),
            ages: Ages::default(),
            failed: checkpoint.failed.iter().map(|failed| (failed.offset, failed.clone())).collect(),
            phase: Phase::Active,
            held_back: false,
            spilled: 0,
            recalling: Recalling::default(),
            executing: 0,
            dirty_since: None,
            refused_since: None,
            durable: checkpoint.frontier,
            elsewhere: BTreeMap::new(),
            blocked: HashMap::new(),
            early: Vec::new(),
            sequence: checkpoint.sequence,
            trial: None,
            was_opened: false,
            caught_up: false,
            history_lost: false,
            trials_left: 0,
            start: checkpoint.frontier,
            template: Checkpoint { fence, completed: Default::default(), failed: Vec::new(), ..checkpoint },
        }
    }

    /// Whether new records of it may start.
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Active)
    }

    /// Whether this is the shard as it is owned now, not what is left of an earlier tenure.
    pub(super) fn is_tenure_of(&self, id: &ShardId) -> bool {
        *self.id == *id && !matches!(self.phase, Phase::HandedOver)
    }

    /// Which log its offsets belong to, where that has an id.
    pub(super) fn log(&self) -> Option<&str> {
        self.template.stream_id.as_deref()
    }

    /// A record that executed elsewhere is complete and will be read later.
    pub(super) fn ended_early(&mut self, offset: Offset) {
        self.early.push(offset);
    }

    /// Whether a record that is being read ended elsewhere before.
    #[inline]
    pub(super) fn has_ended_early(&mut self, offset: Offset) -> bool {
        if self.early.is_empty() {
            return false;
        }
        let found = self.early.iter().position(|early| *early == offset);
        found.map(|place| self.early.swap_remove(place)).is_some()
    }

    /// Back to the frontier, with what is complete above it known. Only while nothing executes.
    pub(super) fn rewind(&mut self) {
        self.ledger = Ledger::restore(self.ledger.frontier(), &self.ledger.completed_above());
    }

    /// Something changed that a checkpoint should say.
    #[inline]
    pub(super) fn touch(&mut self, now: Instant) {
        if self.dirty_since.is_none() {
            self.dirty_since = Some(now);
        }
    }

    /// The checkpoint of now; it counts as taken.
    pub(super) fn checkpoint(&mut self, index: ShardIndex, reader: &mut impl Reader) -> Checkpoint {
        self.dirty_since = None;
        self.sequence += 1;
        self.note(index, reader);
        self.last_checkpoint()
    }

    /// Takes down what the source must know to go on from here. A shard that was never read keeps what it came with.
    pub(super) fn note(&mut self, index: ShardIndex, reader: &mut impl Reader) {
        if self.was_opened {
            self.template.notes = reader.notes(index, self.ledger.frontier(), &self.ledger.completed_above());
        }
    }

    /// What the source noted, for opening the shard.
    pub(super) fn take_notes(&mut self) -> Vec<u8> {
        self.was_opened = true;
        std::mem::take(&mut self.template.notes)
    }

    /// How many tenures in a row began with the frontier where it is and did not end in order, this one included.
    pub(super) fn begun_in_a_row(&self) -> u32 {
        if self.ledger.frontier() > self.start { 1 } else { self.template.crash_takeovers }
    }

    /// The same again, while nothing has changed since it was taken.
    pub(super) fn last_checkpoint(&self) -> Checkpoint {
        let in_order = matches!(self.phase, Phase::HandedOver | Phase::Closing { .. });
        Checkpoint {
            crash_takeovers: self.begun_in_a_row().saturating_sub(u32::from(in_order)),
            frontier: self.ledger.frontier(),
            completed: self.ledger.completed_above(),
            failed: self.failed.values().cloned().collect(),
            sequence: self.sequence,
            ..self.template.clone()
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> ShardSnapshot {
        ShardSnapshot {
            id: Arc::clone(&self.id),
            fence: self.fence,
            frontier: self.ledger.frontier(),
            durable: self.durable,
            next: self.ledger.next_offset(),
            outstanding: self.ledger.outstanding(),
            oldest: (self.ledger.outstanding() > 0)
                .then(|| self.ages.written(self.ledger.frontier()))
                .flatten(),
            failed: self.failed.len(),
            checkpoint_age: self.dirty_since.map_or(Duration::ZERO, |since| now - since),
            held_back: self.held_back,
            paused: matches!(self.phase, Phase::Paused),
            caught_up: self.caught_up,
            history_lost: self.history_lost,
        }
    }
}

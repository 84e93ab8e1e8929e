//! Shards come and go: own, release, hand over, pause, drain, abandon, tune, and the end.

use std::sync::Arc;
use std::time::Duration;

use keyweir_contract::worker_config::{LiveConfig, RunState};
use keyweir_core::{LaneId, Offset, ShardId, ShardIndex};
use tokio::sync::oneshot;

use super::command::{Ownership, ReleaseMode, Released};
use super::dispatch::{Answer, Permits, Work};
use super::shard::{Phase, Shard};
use super::{Activity, Pump, PumpReport};
use crate::ports::{Handler, Reader, ShardEvent};

/// How much longer than the drain time the last checkpoints may take.
const LAST_SAVES: Duration = Duration::from_secs(5);

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    /// Starts to read and handle a shard.
    pub(super) fn own(&mut self, ownership: Ownership) {
        if self.find(&ownership.shard).is_some() || self.drain_until.is_some() {
            tracing::warn!(shard = %ownership.shard, "already owned or draining: not taken");
            return;
        }
        let vacant = self.shards.iter().position(Option::is_none).unwrap_or(self.shards.len());
        let index = ShardIndex(vacant as u32);
        let streams = self.streams.len() as u16;
        let stream = *self.streams.entry(Arc::clone(&ownership.shard.stream)).or_insert(streams);
        let executing = ownership.executing.clone();
        let mut shard = Shard::new(ownership, stream);
        shard.trials_left = shard.trials_due(self.limits.concurrency);
        let (id, from) = (Arc::clone(&shard.id), shard.ledger.next_offset());
        if vacant == self.shards.len() {
            self.shards.push(Some(shard));
        } else {
            self.shards[vacant] = Some(shard);
        }
        self.budget.open(index);
        self.look_for_trials();
        self.hold_executing(index, stream, &executing);
        self.tell_shard(index, ShardEvent::Owned);
        if self.learns() {
            if let Some(shard) = self.shard(index) {
                shard.phase = Phase::Learning;
            }
            self.learn(index, Vec::new(), Duration::ZERO);
        } else {
            self.activate(index);
        }
        tracing::info!(shard = %id, %from, "shard owned");
    }

    /// Reads and handles an owned shard from now on, unless it is paused.
    pub(super) fn activate(&mut self, index: ShardIndex) {
        let Some(shard) = self.shard(index) else {
            return;
        };
        let (id, from) = (Arc::clone(&shard.id), shard.ledger.next_offset());
        let paused = self.is_paused(&id);
        if let Some(shard) = self.shard(index) {
            shard.phase = if paused { Phase::Paused } else { Phase::Active };
        }
        if !paused {
            self.open_reading(index, &id, from);
            self.tell_shard(index, ShardEvent::Activated);
        }
    }

    /// Begins to read a shard; the source gets back what it noted with the checkpoint.
    fn open_reading(&mut self, index: ShardIndex, id: &ShardId, from: Offset) {
        let notes = self.shard(index).map(|shard| shard.take_notes()).unwrap_or_default();
        if !notes.is_empty() {
            self.reader.remind(index, &notes);
        }
        let log = self.shard(index).and_then(|shard| shard.log().map(str::to_owned));
        if let Some(log) = log {
            self.reader.expect(index, &log);
        }
        self.reader.open(index, id, from);
    }

    /// Gives a shard up.
    pub(super) fn release(&mut self, id: &ShardId, mode: ReleaseMode, reply: oneshot::Sender<Released>) {
        let Some(index) = self.find(id) else {
            // Nobody listening any more is the listener's choice.
            let _ = reply.send(Released { checkpoint: None, executing: Vec::new() });
            return;
        };
        self.tell_shard(index, ShardEvent::WillRelease);
        self.stop_reading(index);
        match mode {
            ReleaseMode::Drain => {
                let until = self.now + self.live.drain_timeout;
                if let Some(shard) = self.shard(index) {
                    shard.phase = Phase::Releasing { until, reply: Some(reply) };
                }
            }
            ReleaseMode::HandOver => self.hand_over(index, reply),
        }
        self.advance_releases();
    }

    /// Answers at once: the checkpoint of now and what still executes here.
    fn hand_over(&mut self, index: ShardIndex, reply: oneshot::Sender<Released>) {
        let mut executing = Vec::new();
        for lane in self.executing_lanes(index) {
            // One that was parked is complete in the ledger already.
            let task = self.lanes.head(lane).filter(|task| task.ticket != super::task::Ticket::Replayed);
            if let Some(task) = task {
                executing.push((task.record.offset, self.lanes.key(lane).map(<[u8]>::to_vec)));
            }
        }
        // Hooks write out what they know before a checkpoint counts it.
        self.observe_tick();
        if let Some(Some(shard)) = self.shards.get_mut(index.as_usize()) {
            shard.phase = Phase::HandedOver;
            let checkpoint = Some(shard.checkpoint(index, &mut self.reader));
            let _ = reply.send(Released { checkpoint, executing });
        }
    }

    /// Lanes whose head, a record of that shard, is in a call or owes a write.
    fn executing_lanes(&self, index: ShardIndex) -> Vec<LaneId> {
        let called = self.calls.cargo().flat_map(|cargo| cargo.lanes.iter().copied());
        let owing = self.owed.lanes();
        called
            .chain(owing)
            .filter(|lane| self.lanes.head(*lane).is_some_and(|task| task.record.shard == index))
            .collect()
    }

    /// Nothing of the shard is read any more, and nothing that waits can start.
    fn stop_reading(&mut self, index: ShardIndex) {
        self.reader.close(index);
        // Whoever opens it again is told anew what is wrong with it.
        let about = self.about_source(Some(index));
        self.recovered(&about);
        self.drop_kept_aside(index);
        self.end_key_releases(index);
        for task in self.lanes.remove_where(|task| task.record.shard == index) {
            if matches!(task.ticket, super::task::Ticket::Charged(_)) {
                self.budget.refund(index, task.record.weight() as u64);
            }
        }
        self.forget_spilled(index);
    }

    /// Moves releases on: nothing executing, or the drain time is over.
    pub(super) fn advance_releases(&mut self) {
        let now = self.now;
        let hurried = self.hurry.is_cancelled();
        let drained = self.drain_until.is_some_and(|until| until <= now);
        for index in 0..self.shards.len() {
            let index = ShardIndex(index as u32);
            let Some(shard) = self.shard(index) else {
                continue;
            };
            let idle = shard.executing == 0;
            match &mut shard.phase {
                Phase::Releasing { until, .. } if !idle && (*until <= now || hurried) => {
                    self.cancel_shard(index);
                    self.close(index);
                }
                Phase::Releasing { .. } if idle => self.close(index),
                Phase::HandedOver if !idle && (drained || hurried) => {
                    self.cancel_shard(index);
                    self.drop_shard(index);
                }
                Phase::HandedOver if idle => self.drop_shard(index),
                Phase::Resuming if idle => self.reopen(index),
                _ => {}
            }
        }
    }

    /// The last checkpoint is all that is left to write.
    fn close(&mut self, index: ShardIndex) {
        let now = self.now;
        if let Some(shard) = self.shard(index)
            && let Phase::Releasing { reply, .. } = &mut shard.phase
        {
            shard.phase = Phase::Closing { reply: reply.take() };
            shard.touch(now);
        }
        self.save_checkpoints();
    }

    fn cancel_shard(&mut self, index: ShardIndex) {
        let lanes = &self.lanes;
        let of_shard = |lane: &LaneId| lanes.head(*lane).is_some_and(|task| task.record.shard == index);
        let owing: Vec<LaneId> = self.owed.lanes().filter(of_shard).collect();
        let ended = self.calls.cancel(|cargo, _| cargo.lanes.iter().any(of_shard));
        for cargo in &ended {
            self.gates[usize::from(cargo.route)].probe_lost(self.now);
        }
        let called: Vec<LaneId> = ended.into_iter().flat_map(|cargo| cargo.lanes).collect();
        for lane in &called {
            self.observe_end(*lane, None);
        }
        for lane in called.into_iter().chain(owing) {
            self.cancelled += 1;
            self.owed.forget(lane);
            self.executing(lane, -1);
            self.give_back(lane);
        }
    }

    /// Forgets a shard whose last checkpoint is durable or no longer ours to write.
    pub(super) fn drop_shard(&mut self, index: ShardIndex) {
        self.tell_shard(index, ShardEvent::Released);
        self.stop_reading(index);
        if let Some(shard) = self.shards[index.as_usize()].take() {
            self.budget.close(index);
            self.reader.forget(index);
            tracing::info!(shard = %shard.id, frontier = %shard.ledger.frontier(), "shard released");
            self.let_go_of(shard.elsewhere.into_values());
        }
    }

    /// The lease is lost: another member may own everything already.
    pub(super) fn abandon(&mut self) {
        for index in 0..self.shards.len() {
            self.abandon_shard(ShardIndex(index as u32));
        }
    }

    /// Another member has written under a newer fence, or the lease is lost.
    pub(super) fn abandon_shard(&mut self, index: ShardIndex) {
        if self.shard(index).is_some() {
            self.stop_reading(index);
            if let Some(shard) = self.shard(index) {
                shard.phase = Phase::HandedOver;
            }
            self.cancel_shard(index);
            self.drop_shard(index);
        }
    }

    /// Begins the drain of everything.
    pub(super) fn drain(&mut self) {
        if self.drain_until.is_some() {
            return;
        }
        let until = self.now + self.live.drain_timeout;
        self.drain_until = Some(until);
        if self.activity != Activity::Stopped {
            self.activity = Activity::Draining;
        }
        for index in 0..self.shards.len() {
            let index = ShardIndex(index as u32);
            let Some(shard) = self.shard(index) else {
                continue;
            };
            match &mut shard.phase {
                // Given up already.
                Phase::HandedOver | Phase::Closing { .. } => continue,
                Phase::Releasing { until: earlier, .. } => {
                    *earlier = until.min(*earlier);
                    continue;
                }
                phase => *phase = Phase::Releasing { until, reply: None },
            }
            self.tell_shard(index, ShardEvent::WillRelease);
            self.stop_reading(index);
        }
        self.advance_releases();
    }

    /// Whether the loop has nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        let Some(until) = self.drain_until else {
            return false;
        };
        let empty =
            self.shards.iter().all(Option::is_none) && self.saving.is_none() && !self.mirrors.under_way;
        empty || !self.in_time(until + LAST_SAVES)
    }

    /// The last words: handlers close, hooks write out.
    pub(super) async fn end(mut self) -> PumpReport {
        self.unsaved.extend(self.shards.iter().flatten().map(|shard| (*shard.id).clone()));
        for handler in std::mem::take(&mut self.handlers) {
            // A handler that does not close in time is dropped: its children die with it.
            let _ = tokio::time::timeout(LAST_SAVES, handler.close()).await;
        }
        self.observe_tick();
        self.publish_snapshot();
        let last = Arc::clone(&self.publish.borrow());
        PumpReport { stopped: self.stopped, cancelled: self.cancelled, unsaved: self.unsaved, last }
    }

    /// Takes up changed settings without losing or reordering anything.
    pub(super) fn tune(&mut self, live: LiveConfig) {
        self.budget.set_limits(super::dispatch::budget_limits(&live));
        self.limits = Permits::new(&live, self.cpus, self.now);
        let from = self.activity;
        self.live = live;
        if matches!(from, Activity::Running | Activity::Paused) {
            self.activity = self.wanted_activity();
        }
        self.apply_pauses();
        tracing::info!("changed settings taken up");
    }

    /// What the manifest asks for.
    pub(super) fn wanted_activity(&self) -> Activity {
        match self.live.state {
            RunState::Running => Activity::Running,
            RunState::Paused | RunState::Stopped => Activity::Paused,
        }
    }

    pub(super) fn set_activity(&mut self, only_from: Activity, to: Activity) {
        if self.activity == only_from || (only_from == Activity::Running && self.activity == Activity::Paused)
        {
            self.activity = to;
        }
    }

    fn is_paused(&self, id: &ShardId) -> bool {
        let paused = &self.live.paused_partitions;
        paused
            .iter()
            .any(|paused| *paused.topic == *id.stream && i64::from(paused.partition) == i64::from(id.index))
    }

    /// Pauses and resumes single partitions as the settings say.
    fn apply_pauses(&mut self) {
        for index in 0..self.shards.len() {
            let index = ShardIndex(index as u32);
            let Some(id) = self.shard(index).map(|shard| Arc::clone(&shard.id)) else {
                continue;
            };
            let wanted = self.is_paused(&id);
            let Some(shard) = self.shard(index) else {
                continue;
            };
            match (&shard.phase, wanted) {
                (Phase::Active, true) => {
                    shard.phase = Phase::Paused;
                    self.stop_reading(index);
                }
                (Phase::Resuming, true) => shard.phase = Phase::Paused,
                (Phase::Paused, false) => shard.phase = Phase::Resuming,
                _ => {}
            }
        }
        self.advance_releases();
    }

    /// Reads a paused shard again, from its frontier; what is complete above it is known.
    fn reopen(&mut self, index: ShardIndex) {
        let Some(Some(shard)) = self.shards.get_mut(index.as_usize()) else {
            return;
        };
        shard.note(index, &mut self.reader);
        shard.rewind();
        shard.phase = Phase::Active;
        shard.held_back = false;
        let (id, from) = (Arc::clone(&shard.id), shard.ledger.next_offset());
        self.open_reading(index, &id, from);
    }

    /// The present tenure of a shard; of earlier ones records may still execute.
    pub(super) fn find(&self, id: &ShardId) -> Option<ShardIndex> {
        let found =
            self.shards.iter().position(|shard| shard.as_ref().is_some_and(|shard| shard.is_tenure_of(id)));
        found.map(|index| ShardIndex(index as u32))
    }
}

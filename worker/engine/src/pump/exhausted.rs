//! The end of the road: dead letter, park, skip, stop; and parked records that are handled again.

use std::sync::Arc;

use futures::FutureExt;
use keyweir_contract::policy::{ExhaustedAction, OnUnknown};
use keyweir_core::{LaneId, ShardIndex, UnixMillis};

use super::command::Replay;
use super::desk::{Job, WriteFailure};
use super::dispatch::{Answer, Work};
use super::owed::Owed;
use super::reading::Unfit;
use super::task::{Task, Ticket};
use super::{Activity, LastFailure, Pump};
use crate::outcome::{Failure, Output};
use crate::ports::{Aside, Handler, ParkedId, ParkedRecord, Reader};
use crate::provenance;
use crate::record::NewRecord;

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    /// What becomes of records whose last attempt failed.
    pub(super) fn on_exhausted(&self) -> ExhaustedAction {
        self.fixed.on_exhausted.clone()
    }

    /// No attempt can save the head of this lane: the policy says what follows.
    pub(super) fn follow_road(&mut self, lane: LaneId, failure: Failure, action: ExhaustedAction) {
        let Some(task) = self.lanes.head(lane) else {
            return;
        };
        if !matches!(task.unfit.as_deref(), Some(Unfit::Behind { .. })) {
            self.last_failure = Some(LastFailure { failure: failure.clone(), at: self.now });
            match &action {
                ExhaustedAction::Skip => self.warn_of(lane, "a record is skipped", &failure),
                ExhaustedAction::DeadLetter { .. } => {
                    self.warn_of(lane, "a record goes to the dead letters", &failure);
                }
                ExhaustedAction::Park { .. } => self.warn_of(lane, "a record is parked", &failure),
                // Told as what it is: the end.
                ExhaustedAction::Stop => {}
            }
        }
        let Some(task) = self.lanes.head(lane) else {
            return;
        };
        match action {
            ExhaustedAction::Skip => {
                self.counters.skipped += 1;
                self.observe_aside(lane, Aside::Skipped);
                self.executing(lane, -1);
                self.finish(lane);
            }
            ExhaustedAction::DeadLetter { topic } => {
                let shard = self.shards.get(task.record.shard.as_usize()).and_then(Option::as_ref);
                let letter = shard
                    .map(|shard| provenance::dead_letter(&task.record, &shard.id, task.failed, &failure));
                match letter {
                    Some(Ok(letter)) => self.owe(lane, Owed::DeadLetter(topic, letter)),
                    Some(Err(looped)) => self.break_loop(lane, looped),
                    None => self.let_go(lane, false),
                }
            }
            ExhaustedAction::Park { blocks_key } => {
                match self.parked_copy(lane, task, &failure, blocks_key) {
                    Some(copy) => self.owe(lane, Owed::Parked(Box::new(copy))),
                    None => self.stop(lane, failure),
                }
            }
            ExhaustedAction::Stop => self.stop(lane, failure),
        }
    }

    /// A record that keeps coming back to its own dead-letter topic is kept aside, or stops the object.
    fn break_loop(&mut self, lane: LaneId, failure: Failure) {
        let copy = self.lanes.head(lane).and_then(|task| self.parked_copy(lane, task, &failure, false));
        match copy {
            Some(copy) => self.owe(lane, Owed::Parked(Box::new(copy))),
            None => self.stop(lane, failure),
        }
    }

    fn parked_copy(
        &self,
        lane: LaneId,
        task: &Task,
        failure: &Failure,
        blocks: bool,
    ) -> Option<ParkedRecord> {
        self.ports.parked.as_ref()?;
        let blocks = if blocks { self.blocks(lane, task) } else { None };
        let shard = self.shards.get(task.record.shard.as_usize())?.as_ref()?;
        Some(ParkedRecord {
            id: ParkedId { shard: (*shard.id).clone(), offset: task.record.offset },
            record: NewRecord::from(&task.record),
            attempts: task.failed,
            reason: failure.reason.to_owned(),
            text: failure.text.to_string(),
            parked_at: UnixMillis(self.wall(self.now)),
            blocks,
        })
    }

    /// The object stops: the record stays undone, everything drains, the checkpoint is kept.
    fn stop(&mut self, lane: LaneId, failure: Failure) {
        let now = self.now;
        let place = self.lanes.head(lane).map(|task| (task.record.shard, task.record.offset));
        if let Some((index, offset)) = place
            && let Some(shard) = self.shard(index)
        {
            // Who starts it again has seen to the cause: its attempts begin anew.
            shard.failed.remove(&offset);
            shard.touch(now);
        }
        self.executing(lane, -1);
        self.let_go(lane, false);
        self.stopped.get_or_insert(failure);
        self.activity = Activity::Stopped;
        self.drain();
    }

    /// What the handler wants written, before its record completes.
    pub(super) fn write_outputs(&mut self, lane: LaneId, outputs: Vec<Output>) {
        let mut named = Vec::with_capacity(outputs.len());
        for Output { name, record } in outputs {
            match self.fixed.outputs.iter().find(|output| output.name == name) {
                Some(output) => named.push((output.topic.clone(), record)),
                None => {
                    let text =
                        format!("the handler wrote to output {name:?}, which the manifest does not name");
                    let action = self.on_exhausted();
                    return self.follow_road(lane, Failure::new("UnknownOutput", text), action);
                }
            }
        }
        self.owe(lane, Owed::Outputs(named));
    }

    /// What becomes of records that no route takes.
    pub(super) fn on_unknown(&self) -> ExhaustedAction {
        match &self.fixed.on_unknown {
            OnUnknown::Exhaust(action) => action.clone(),
            OnUnknown::Default => self.on_exhausted(),
        }
    }

    /// Queues a parked record again.
    pub(super) fn replay(&mut self, parked: &ParkedRecord) -> Replay {
        let Some(index) = self.find_active(&parked.id.shard) else {
            return Replay::NotOwned;
        };
        if let Some(key) = &parked.blocks
            && let Some(replay) = self.release_key(index, key, parked.id.offset, None)
        {
            return replay;
        }
        self.queue_parked(index, parked);
        Replay::Alone
    }

    pub(super) fn queue_parked(&mut self, index: ShardIndex, parked: &ParkedRecord) {
        let stream = self.shard(index).map_or(0, |shard| shard.stream);
        let record = parked.record.as_record(index, parked.id.offset);
        self.queue(stream, Ticket::Replayed, 0, record);
    }

    /// The shard of that name, where its records are handled here.
    pub(super) fn find_active(&self, id: &keyweir_core::ShardId) -> Option<ShardIndex> {
        let found = self
            .shards
            .iter()
            .position(|shard| shard.as_ref().is_some_and(|shard| *shard.id == *id && shard.is_active()));
        found.map(|index| ShardIndex(index as u32))
    }

    /// A parked record was handled again: its copy goes, unless it was parked anew.
    pub(super) fn replayed(&mut self, task: &Task, complete: bool) {
        let parked_anew = self.parked_anew.remove(&(task.record.shard, task.record.offset));
        if self.replayed_in_order(task, complete && !parked_anew) {
            return;
        }
        let shard = self.shards.get(task.record.shard.as_usize()).and_then(Option::as_ref);
        let (Some(parked), Some(shard), true, false) =
            (self.ports.parked.clone(), shard, complete, parked_anew)
        else {
            return;
        };
        let id = ParkedId { shard: (*shard.id).clone(), offset: task.record.offset };
        let job = async move {
            let failure = parked.remove(&id).await.err();
            Job::Forgot { failure: failure.map(|error| WriteFailure::new("parked", "ParkFailed", &error)) }
        };
        self.desk.push(job.boxed());
    }
}

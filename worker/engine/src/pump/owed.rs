//! What a record owes before it completes: outputs, a dead letter, a parked copy. Written until it is durable.
//!
//! ```text
//!   owe ─▶ write ─▶ durable ─▶ the record is complete
//!            ▲ └─▶ failed: said, and once more after a while
//!            └───────┘
//! ```
//! A lane outlives its records: a write that ends after its record was taken away means nothing to the next one.
//! Up: [`super`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use keyweir_core::LaneId;

use super::Pump;
use super::desk::{Job, WriteFailure};
use super::dispatch::{Answer, Work};
use super::task::Ticket;
use super::timers::Due;
use crate::ports::{Aside, Handler, ParkedRecord, ParkedStore, Producer, Reader};
use crate::record::NewRecord;

/// How long a failed write waits before it is tried again.
pub(super) const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// What a record owes before it completes. Kept until it is durable, so that a failed write is repeated.
#[derive(Clone, Debug)]
pub(super) enum Owed {
    /// Records for topics, all of them.
    Outputs(Vec<(String, NewRecord)>),
    /// One for the dead-letter topic.
    DeadLetter(String, NewRecord),
    /// A parked copy.
    Parked(Box<ParkedRecord>),
}

/// What the head of a lane owes, and by which write.
struct Debt {
    owed: Owed,
    write: WriteId,
}

/// One thing to be written, however often that is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WriteId(u64);

/// What heads of lanes owe before they complete.
#[derive(Default)]
pub(super) struct Debts {
    debts: HashMap<LaneId, Debt>,
    writes: u64,
}

impl Debts {
    /// The head of a lane owes this from now on.
    fn add(&mut self, lane: LaneId, owed: Owed) -> WriteId {
        self.writes += 1;
        let write = WriteId(self.writes);
        self.debts.insert(lane, Debt { owed, write });
        write
    }

    /// What that write is about; `None` = its record has been taken away meanwhile, and its next owner writes it again.
    fn of(&self, lane: LaneId, write: WriteId) -> Option<&Owed> {
        self.debts.get(&lane).filter(|debt| debt.write == write).map(|debt| &debt.owed)
    }

    /// The head of a lane owes nothing any more.
    pub(super) fn forget(&mut self, lane: LaneId) -> Option<Owed> {
        self.debts.remove(&lane).map(|debt| debt.owed)
    }

    /// Whether the head of a lane owes anything.
    pub(super) fn is_due(&self, lane: LaneId) -> bool {
        self.debts.contains_key(&lane)
    }

    /// The lanes whose heads owe something.
    pub(super) fn lanes(&self) -> impl Iterator<Item = LaneId> + '_ {
        self.debts.keys().copied()
    }
}

impl Owed {
    /// What trouble with it is about.
    pub(super) fn about(&self) -> String {
        match self {
            Self::Outputs(outputs) => {
                outputs.first().map_or_else(String::new, |(topic, _)| format!("topic/{topic}"))
            }
            Self::DeadLetter(topic, _) => format!("topic/{topic}"),
            Self::Parked(_) => "parked".to_owned(),
        }
    }

    /// Writes all of it.
    async fn write(
        self,
        producer: &dyn Producer,
        parked: Option<&dyn ParkedStore>,
    ) -> Result<(), WriteFailure> {
        let about = self.about();
        let produced = match self {
            Self::Outputs(outputs) => {
                let writes = outputs.iter().map(|(topic, record)| producer.produce(topic, record.clone()));
                futures::future::try_join_all(writes).await.map(drop)
            }
            Self::DeadLetter(topic, record) => producer.produce(&topic, record).await,
            Self::Parked(copy) => {
                let Some(parked) = parked else { return Ok(()) };
                let kept = parked.park(*copy).await;
                return kept.map_err(|error| WriteFailure::new(about, "ParkFailed", &error));
            }
        };
        produced.map_err(|error| WriteFailure::new(about, "ProduceFailed", &error))
    }
}

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    /// The head of a lane is complete once that is durable.
    pub(super) fn owe(&mut self, lane: LaneId, owed: Owed) {
        let write = self.owed.add(lane, owed);
        self.write(lane, write);
    }

    /// Writes what the head of a lane owes.
    pub(super) fn write(&mut self, lane: LaneId, write: WriteId) {
        let Some(owed) = self.owed.of(lane, write).cloned() else {
            return;
        };
        self.writing += 1;
        let (producer, parked) = (Arc::clone(&self.ports.producer), self.ports.parked.clone());
        let job = async move {
            let failure = owed.write(producer.as_ref(), parked.as_deref()).await.err();
            Job::Wrote { lane, write, failure }
        };
        self.desk.push(job.boxed());
    }

    /// A write has ended. One whose record was taken away meanwhile says nothing: its next owner writes it again.
    pub(super) fn wrote(&mut self, lane: LaneId, write: WriteId, failure: Option<WriteFailure>) {
        self.writing -= 1;
        if self.owed.of(lane, write).is_none() {
            return;
        }
        if let Some(failure) = failure {
            self.write_failed(failure);
            self.timers.add(self.now + WRITE_AGAIN, lane, Due::Write(write));
            return;
        }
        let Some(owed) = self.owed.forget(lane) else {
            return;
        };
        self.recovered(&owed.about());
        let blocks = match owed {
            Owed::Outputs(outputs) => {
                self.counters.outputs += outputs.len() as u64;
                None
            }
            Owed::DeadLetter(..) => {
                self.counters.dead_lettered += 1;
                self.observe_aside(lane, Aside::DeadLettered);
                None
            }
            Owed::Parked(copy) => {
                self.counters.parked += 1;
                self.observe_aside(lane, Aside::Parked);
                self.note_parked_anew(lane);
                self.block(lane, *copy)
            }
        };
        self.executing(lane, -1);
        self.finish(lane);
        if let Some((index, key)) = blocks {
            self.look_behind_held(index, &key);
        }
    }

    fn note_parked_anew(&mut self, lane: LaneId) {
        if let Some(task) = self.lanes.head(lane)
            && task.ticket == Ticket::Replayed
        {
            self.parked_anew.insert((task.record.shard, task.record.offset));
        }
    }

    pub(super) fn write_failed(&mut self, failure: WriteFailure) {
        self.counters.failed_writes += 1;
        self.trouble(&failure.about, failure.reason, failure.text);
    }
}

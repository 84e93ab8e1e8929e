//! Down: from a batch of the reader to records in lanes.

use std::sync::Arc;

use keyweir_core::{Charge, LaneKey, Route, ShardIndex};

use super::reading::{DEFAULT_ROUTE, Unfit};
use super::shard::LONGEST_LEDGER;
use super::task::{Task, Ticket};
use super::{Activity, Pump};
use crate::error_chain;
use crate::ports::{Aside, Batch, Handler, Intake, Reader, RecordEvent};
use crate::record::Record;

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = super::Answer>,
    L: Fn(Arc<H>, super::Work) -> F,
{
    /// Whether the source is read now: the budget's high mark stops the taking, and a place for checkpoints that is away
    /// for long, since all that is done meanwhile would be done again after a crash.
    pub(super) fn takes(&self) -> bool {
        self.activity == Activity::Running
            && self.drain_until.is_none()
            && self.budget.intake() == keyweir_core::Intake::Take
            && self.lanes.keys() < self.limits.keys
            && !self.refused_for_long
    }

    pub(super) fn take(&mut self, intake: Intake) {
        match intake {
            Intake::Batch(batch) => self.take_batch(batch),
            Intake::Trouble(shard, error) => {
                let about = self.about_source(shard);
                self.trouble(&about, error.reason(), error_chain(&error));
            }
            Intake::Recovered(shard) => {
                let about = self.about_source(shard);
                self.recovered(&about);
            }
            Intake::Resynced { shard, lost } => self.resynced(shard, lost),
        }
    }

    fn resynced(&mut self, shard: ShardIndex, lost: bool) {
        self.counters.resyncs += 1;
        if let Some(shard) = self.shard(shard) {
            tracing::warn!(shard = %shard.id, lost, "its history is no more: read anew");
            shard.history_lost |= lost;
        }
    }

    fn take_batch(&mut self, batch: Batch) {
        for record in batch.records {
            self.take_record(record);
        }
        for (shard, position) in batch.positions {
            let now = self.now;
            if let Some(shard) = self.shard(shard).filter(|shard| shard.is_active()) {
                shard.caught_up = true;
                let before = shard.ledger.frontier();
                shard.ledger.advance(position);
                if shard.ledger.frontier() != before {
                    shard.touch(now);
                }
            }
        }
    }

    #[inline]
    fn take_record(&mut self, record: Record) {
        let now = self.now;
        let Some(Some(shard)) = self.shards.get_mut(record.shard.as_usize()) else {
            return;
        };
        if !shard.is_active() {
            return;
        }
        let seq = match shard.ledger.charge(record.offset) {
            Charge::New(seq) => seq,
            Charge::AlreadyComplete => {
                shard.touch(now);
                self.counters.polled += 1;
                self.counters.replayed += 1;
                self.observe(&record, None, RecordEvent::Polled { replayed: true });
                return;
            }
            Charge::Stale => return,
        };
        if shard.ages.wants(record.timestamp) {
            shard.ages.mark(record.offset, record.timestamp, shard.ledger.frontier());
        }
        if shard.has_ended_early(record.offset) {
            shard.ledger.complete(seq);
            shard.touch(now);
            self.counters.polled += 1;
            return;
        }
        let failed = if shard.failed.is_empty() {
            0
        } else {
            shard.failed.get(&record.offset).map_or(0, |failed| failed.attempts.0)
        };
        let stream = shard.stream;
        self.counters.polled += 1;
        self.budget.debit(record.shard, record.weight() as u64);
        if let Some(record) = self.keep_aside(record, seq) {
            self.queue(stream, Ticket::Charged(seq), failed, record);
        }
    }

    /// Reads a record and puts it behind its key.
    #[inline]
    pub(super) fn queue(&mut self, stream: u16, ticket: Ticket, failed: u32, record: Record) {
        if self.reading.is_plain() && !self.hooks.are_there() {
            let spot = self.lanes.find(self.reading.lane(stream, &record, record.key()));
            if self.lanes.spills(&spot)
                && let Ticket::Charged(seq) = ticket
            {
                return self.spill_read(spot, seq, record);
            }
            let task = Task { record, ticket, failed, alone: false, unfit: None };
            return self.lanes.push(spot, DEFAULT_ROUTE, task);
        }
        self.queue_read(stream, ticket, failed, record);
    }

    fn queue_read(&mut self, stream: u16, ticket: Ticket, failed: u32, record: Record) {
        let key = self.reading.key(&record).map(std::borrow::Cow::into_owned);
        let (route, unfit) = self.look_at(&record, ticket, key.as_deref());
        match unfit.as_ref().and_then(Unfit::itself) {
            Some(Unfit::Undecodable(_)) => self.counters.undecodable += 1,
            Some(Unfit::Unroutable(_)) => self.counters.unroutable += 1,
            Some(Unfit::Behind { .. }) | None => {}
        }
        let lane = match ticket {
            // Its key's lane belongs to those that come after it.
            Ticket::Replayed if self.is_next_of_its_key(&record) => LaneKey::Own,
            _ => self.reading.lane(stream, &record, key.as_deref()),
        };
        let spot = self.lanes.find(lane);
        self.observe(&record, key.as_deref(), RecordEvent::Polled { replayed: false });
        if self.lanes.spills(&spot)
            && let Ticket::Charged(seq) = ticket
        {
            return self.spill_read(spot, seq, record);
        }
        let task = Task { record, ticket, failed, alone: false, unfit: unfit.map(Box::new) };
        if task.is_untried() && self.reading.wants_newest_only() && !self.is_on_trial(task.record.shard) {
            if let Some(older) = self.lanes.push_or_replace(spot, route, task, Task::is_untried) {
                self.supersede(&older, key.as_deref());
            }
        } else {
            self.lanes.push(spot, route, task);
        }
    }

    /// A record whose turn it is must not vanish from under its trial.
    fn is_on_trial(&self, index: ShardIndex) -> bool {
        let shard = self.shards.get(index.as_usize()).and_then(Option::as_ref);
        shard.is_some_and(|shard| shard.trials_left > 0 || shard.trial.is_some())
    }

    /// A newer record of the key has taken its place.
    fn supersede(&mut self, older: &Task, key: Option<&[u8]>) {
        let now = self.now;
        self.counters.superseded += 1;
        self.observe(&older.record, key, RecordEvent::SetAside(Aside::Superseded));
        let index = older.record.shard;
        self.budget.refund(index, older.record.weight() as u64);
        if let (Ticket::Charged(seq), Some(shard)) = (older.ticket, self.shard(index)) {
            shard.ledger.complete(seq);
            shard.touch(now);
        }
    }

    /// The route of a record, and why no handler sees it where that is so.
    pub(super) fn look_at(
        &mut self,
        record: &Record,
        ticket: Ticket,
        key: Option<&[u8]>,
    ) -> (Route, Option<Unfit>) {
        let topic = self.shard(record.shard).map(|shard| Arc::clone(&shard.id.stream));
        let mut unfit = self.reading.check(record).err();
        let route = match self.reading.route(topic.as_deref().unwrap_or_default(), record) {
            Ok(route) => route,
            Err(unroutable) => {
                unfit.get_or_insert(unroutable);
                DEFAULT_ROUTE
            }
        };
        if ticket != Ticket::Replayed
            && let Some(first) = self.first_parked(record, key)
        {
            let itself = unfit.take().map(Box::new);
            unfit = Some(Unfit::Behind { first, itself });
        }
        (route, unfit)
    }

    /// Holds back what stands still while the budget is short, what has too long a ledger, and of what too much is
    /// spilled.
    pub(super) fn balance_shards(&mut self) {
        self.budget.tick();
        for index in 0..self.shards.len() {
            self.balance(ShardIndex(index as u32));
        }
    }

    /// The same for one shard.
    pub(super) fn balance(&mut self, index: ShardIndex) {
        let over_share = self.budget.over_share(index);
        let Some(shard) = self.shard(index).filter(|shard| shard.is_active()) else {
            return;
        };
        let encoded = shard.ledger.encoded_len_estimate();
        let (held_back, spilled, id) = (shard.held_back, shard.spilled, Arc::clone(&shard.id));
        let too_long = encoded > if held_back { LONGEST_LEDGER / 2 } else { LONGEST_LEDGER };
        let too_many = self.has_spilled_too_many(spilled, held_back);
        let wanted = over_share || too_long || too_many;
        if wanted == held_back {
            return;
        }
        if let Some(shard) = self.shard(index) {
            shard.held_back = wanted;
        }
        if wanted {
            self.reader.pause(index);
        } else {
            self.reader.resume(index);
        }
        let about = format!("ledger/{id}");
        if wanted && too_long {
            let text = format!(
                "the checkpoint has grown to {encoded} bytes: a record at its frontier has not ended"
            );
            self.trouble(&about, "LedgerFull", text);
        } else if wanted && too_many {
            let text =
                format!("{spilled} records wait for others of their keys: no more are read until they end");
            self.trouble(&about, "KeyBacklog", text);
        } else {
            self.recovered(&about);
        }
    }

    /// What trouble with reading is about.
    pub(super) fn about_source(&mut self, shard: Option<ShardIndex>) -> String {
        let shard = shard.and_then(|index| self.shard(index)).map(|shard| shard.id.to_string());
        shard.map_or_else(|| "source".to_owned(), |id| format!("source/{id}"))
    }
}

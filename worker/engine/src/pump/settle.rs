//! Back up: from a handler's answer to the ledger.
//!
//! What a record owes is durable before the record completes ([`super::owed`]): a crash repeats it and never loses it.
//! Hooks are told before the outcome is charged.

use std::sync::Arc;
use std::time::Duration;

use keyweir_core::checkpoint::FailedRecord;
use keyweir_core::{Attempt, LaneId, Next, Route, UnixMillis};
use tokio::time::Instant;

use super::calls::Ending;
use super::desk::Job;
use super::dispatch::{Answer, Cargo, Work, backoff};
use super::shard::Phase;
use super::task::Ticket;
use super::timers::Due;
use super::{Departed, Fate, LastFailure, Pump};
use crate::outcome::{Failure, Outcome, PANICKED, TIMEOUT, Verdict};
use crate::ports::{Handler, Reader};

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    pub(super) fn settle_ended(&mut self) {
        let mut ended = std::mem::take(&mut self.ended);
        let counts = ended.is_empty() || self.limit.counts_now();
        for (cargo, ending) in ended.drain(..) {
            if counts {
                self.settle(cargo, ending);
            } else {
                self.end_too_late(&cargo);
            }
        }
        self.ended = ended;
    }

    /// The lease was over before the call ended: its records may have gone on elsewhere.
    fn end_too_late(&mut self, cargo: &Cargo) {
        self.gates[usize::from(cargo.route)].probe_lost(self.now);
        for lane in &cargo.lanes {
            self.cancelled += 1;
            self.observe_end(*lane, None);
            self.executing(*lane, -1);
            self.give_back(*lane);
        }
    }

    #[inline]
    pub(super) fn settle(&mut self, cargo: Cargo, ending: Ending<Answer>) {
        self.handler_time.add(self.now.saturating_duration_since(cargo.started), cargo.lanes.len() as u64);
        match ending {
            Ok(Answer::One(outcome)) => self.judge(cargo.lanes[0], cargo.route, outcome),
            Ok(Answer::Batch(Ok(outcomes))) => self.judge_batch(&cargo, outcomes),
            Ok(Answer::Batch(Err(failure))) => self.split_batch(&cargo, &failure),
            Err(panic) => {
                self.counters.panics += 1;
                self.fail_call(&cargo, PANICKED, panic);
            }
        }
    }

    /// A call that brought no answer: one record has failed an attempt; a batch charges nobody.
    fn fail_call(&mut self, cargo: &Cargo, reason: &'static str, text: String) {
        if let [lane] = cargo.lanes[..] {
            self.judge(lane, cargo.route, Outcome::retry(reason, text));
        } else {
            self.split_batch(cargo, &Failure::new(reason, text));
        }
    }

    fn judge_batch(&mut self, cargo: &Cargo, outcomes: Vec<Outcome>) {
        let missing = || Outcome::retry("NoAnswer", "the handler's answer does not name this record");
        let mut outcomes = outcomes.into_iter();
        for lane in &cargo.lanes {
            self.judge(*lane, cargo.route, outcomes.next().unwrap_or_else(missing));
        }
    }

    fn split_batch(&mut self, cargo: &Cargo, failure: &Failure) {
        tracing::debug!(%failure, records = cargo.lanes.len(), "a batch failed as a whole; its records run alone");
        self.gates[usize::from(cargo.route)].answered();
        for lane in &cargo.lanes {
            self.observe_end(*lane, None);
            self.executing(*lane, -1);
            if let Some(task) = self.lanes.head_mut(*lane) {
                task.alone = true;
            }
            self.give_back(*lane);
        }
    }

    /// What becomes of one record.
    #[inline]
    fn judge(&mut self, lane: LaneId, route: Route, outcome: Outcome) {
        self.observe_end(lane, Some(&outcome.verdict));
        match outcome.verdict {
            Verdict::Done => {
                self.gates[usize::from(route)].answered();
                if outcome.outputs.is_empty() {
                    self.executing(lane, -1);
                    self.finish(lane);
                } else {
                    self.write_outputs(lane, outcome.outputs);
                }
            }
            Verdict::Retry { after, failure } => {
                self.gates[usize::from(route)].answered();
                if self.limits.spread.is_some() {
                    // Who sees to time-outs elsewhere says so by the word.
                    self.counters.timeouts += u64::from(failure.reason == TIMEOUT);
                    self.counters.panics += u64::from(failure.reason == PANICKED);
                }
                self.fail(lane, after, failure);
            }
            Verdict::Reject(failure) => {
                self.gates[usize::from(route)].answered();
                if let Some(task) = self.lanes.head_mut(lane) {
                    task.failed = task.failed.saturating_add(1);
                }
                self.note_failure(lane, Duration::ZERO, &failure);
                let action = self.on_exhausted();
                self.follow_road(lane, failure, action);
            }
            Verdict::Unavailable { after, failure } => {
                self.counters.unavailable += 1;
                self.handler_trouble(route, &failure);
                self.gates[usize::from(route)].unavailable(self.now, after, failure);
                self.executing(lane, -1);
                self.give_back(lane);
            }
        }
        if !self.troubles.is_empty() && self.gates[usize::from(route)].failure().is_none() {
            self.recovered(&format!("handler/{route}"));
        }
    }

    fn handler_trouble(&mut self, route: Route, failure: &Failure) {
        self.trouble(&format!("handler/{route}"), failure.reason, failure.text.to_string());
    }

    /// An attempt failed: another one later, or the end of the road.
    fn fail(&mut self, lane: LaneId, after: Option<Duration>, failure: Failure) {
        let Some(task) = self.lanes.head_mut(lane) else {
            return;
        };
        task.failed = task.failed.saturating_add(1);
        let attempt = Attempt(task.failed);
        let seed = self.seed ^ (task.record.offset.0 as u64) ^ (u64::from(task.record.shard.0) << 48);
        let policy = &self.live.retry;
        let worth_it =
            policy.retry_on.is_empty() || policy.retry_on.iter().any(|reason| reason == failure.reason);
        let next = if worth_it { backoff(&self.live).next(attempt, after, seed) } else { Next::Exhausted };
        match next {
            Next::After(wait) => {
                self.counters.retries += 1;
                self.warn_of(lane, "an attempt failed", &failure);
                self.note_failure(lane, wait, &failure);
                self.executing(lane, -1);
                if self.lane_stays(lane) {
                    self.lanes.wait(lane);
                    self.timers.add(self.now + wait, lane, Due::Attempt);
                } else {
                    self.let_go(lane, false);
                }
            }
            Next::Exhausted => {
                self.note_failure(lane, Duration::ZERO, &failure);
                let action = self.on_exhausted();
                self.follow_road(lane, failure, action);
            }
        }
    }

    /// Remembers a failed attempt, so that it survives a crash and a move.
    fn note_failure(&mut self, lane: LaneId, wait: Duration, failure: &Failure) {
        let not_before = UnixMillis(self.wall(self.now + wait));
        let now = self.now;
        self.last_failure = Some(LastFailure { failure: failure.clone(), at: now });
        let Some(task) = self.lanes.head(lane) else {
            return;
        };
        let (offset, attempts, index) = (task.record.offset, Attempt(task.failed), task.record.shard);
        if task.ticket == Ticket::Replayed {
            return;
        }
        if let Some(shard) = self.shard(index) {
            let reason = failure.to_string();
            shard.failed.insert(offset, FailedRecord { offset, attempts, not_before, reason });
            shard.touch(now);
        }
    }

    /// The record did not run: it goes back to its lane, or leaves with its shard.
    pub(super) fn give_back(&mut self, lane: LaneId) {
        if self.lane_stays(lane) {
            self.lanes.put_back(lane);
        } else {
            self.let_go(lane, false);
        }
    }

    /// Whether the head's shard is still handled here.
    pub(super) fn lane_stays(&mut self, lane: LaneId) -> bool {
        let index = self.lanes.head(lane).map(|task| task.record.shard);
        index.and_then(|index| self.shard(index)).is_some_and(|shard| shard.is_active())
    }

    /// The record is complete.
    #[inline]
    pub(super) fn finish(&mut self, lane: LaneId) {
        self.counters.completed += 1;
        self.let_go(lane, true);
    }

    /// The head leaves its lane, complete or not.
    #[inline]
    pub(super) fn let_go(&mut self, lane: LaneId, complete: bool) {
        let now = self.now;
        let Some(task) = self.lanes.complete(lane) else {
            return;
        };
        let index = task.record.shard;
        let Ticket::Charged(seq) = task.ticket else {
            return self.replayed(&task, complete);
        };
        self.budget.refund(index, task.record.weight() as u64);
        let Some(Some(shard)) = self.shards.get_mut(index.as_usize()) else {
            return;
        };
        if complete {
            shard.ledger.complete(seq);
            if !shard.failed.is_empty() {
                shard.failed.remove(&task.record.offset);
            }
            shard.touch(now);
        }
        if matches!(shard.phase, Phase::HandedOver) {
            let (id, fence, offset) = ((*shard.id).clone(), shard.fence, task.record.offset);
            let failed = || shard.failed.get(&offset).cloned().map_or(Fate::Unfinished, Fate::Failed);
            let fate = if complete { Fate::Complete } else { failed() };
            self.tell_departed(Departed { shard: id, fence, offset, fate });
        }
    }

    fn tell_departed(&mut self, departed: Departed) {
        let Some(sender) = &self.departed else {
            return;
        };
        if let Err(error) = sender.try_send(departed) {
            // The new owner then waits until this member is gone and runs the record again: at least once.
            tracing::warn!(%error, "the outcome of a record that was handed over is not told");
        }
    }

    /// Cancels calls whose time is over; each is a failed attempt.
    pub(super) fn end_overdue(&mut self) {
        let now = self.now;
        for cargo in self.calls.cancel(|_, deadline| deadline.is_some_and(|deadline| deadline <= now)) {
            self.counters.timeouts += cargo.lanes.len() as u64;
            let took = now.saturating_duration_since(cargo.started);
            self.handler_time.add(took, cargo.lanes.len() as u64);
            self.fail_call(&cargo, TIMEOUT, format!("no answer within {took:.1?}"));
        }
    }

    /// Wakes lanes whose wait is over, and repeats writes.
    pub(super) fn wake_due(&mut self) {
        while let Some((lane, due)) = self.timers.pop(self.now) {
            match due {
                Due::Attempt => {
                    self.lanes.resume(lane);
                }
                Due::Write(write) => self.write(lane, write),
            }
        }
    }

    pub(super) fn settle_jobs(&mut self) {
        let mut jobs = std::mem::take(&mut self.jobs);
        for job in jobs.drain(..) {
            match job {
                Job::Wrote { lane, write, failure } => self.wrote(lane, write, failure),
                Job::Forgot { failure: Some(failure) } => self.write_failed(failure),
                Job::Forgot { failure: None } => self.recovered("parked"),
                Job::Learned { tenure, ended, found } => self.learned(tenure, ended, found),
                Job::NextBehind { tenure, key, done, found } => self.next_behind(tenure, key, done, found),
                Job::Saved { saved, failure } => self.saved(saved, failure),
                Job::Mirrored { shown, failure } => self.mirrored(shown, failure),
                Job::Recalled { asked, found } => self.recalled(asked, found),
            }
        }
        self.jobs = jobs;
    }

    /// Now, as the pump counts it.
    pub(super) fn in_time(&self, until: Instant) -> bool {
        self.now < until
    }
}

//! From lanes to handlers: what may start, with a permit, through its route's gate.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use keyweir_contract::policy::{Limits, RetryPolicy};
use keyweir_contract::worker_config::LiveConfig;
use keyweir_core::slots::key_hash;
use keyweir_core::{Backoff, BudgetLimits, LaneId, Permit, Rate, Route, ShardIndex, UnixMillis};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::gate::Admission;
use super::reading::Unfit;
use super::timers::Due;
use super::{Activity, Pump};
use crate::outcome::{Failure, Outcome, Verdict};
use crate::ports::{Handler, Reader, RecordEvent, Request};

/// How many records start in one turn before what has ended and what is new get theirs.
const STARTS_A_TURN: usize = 2048;

/// What one call carries to the handler.
pub(super) enum Work {
    One(Request),
    Batch(Vec<Request>),
}

/// What one call brings back.
pub(super) enum Answer {
    One(Outcome),
    Batch(Result<Vec<Outcome>, Failure>),
}

/// What the pump needs to know when a call ends.
pub(super) struct Cargo {
    pub(super) lanes: SmallVec<[LaneId; 1]>,
    pub(super) route: Route,
    pub(super) started: Instant,
}

/// One call of user code.
pub(super) async fn call<H: Handler>(handler: Arc<H>, work: Work) -> Answer {
    match work {
        Work::One(request) => Answer::One(handler.handle(request).await),
        Work::Batch(requests) => Answer::Batch(handler.handle_batch(requests).await),
    }
}

/// What may be held at these settings.
pub(super) fn budget_limits(live: &LiveConfig) -> BudgetLimits {
    let Limits { records, bytes, .. } = live.execution.limits;
    BudgetLimits { records, bytes: bytes.get() }
}

/// How waits grow at these settings.
pub(super) fn backoff(live: &LiveConfig) -> Backoff {
    let RetryPolicy { max_attempts, initial_delay, factor, max_delay, jitter_percent, .. } = live.retry;
    Backoff { max_attempts, initial_delay, factor, max_delay, jitter_percent }
}

/// How many calls may be under way, and how fast they may start.
pub(super) struct Permits {
    pub(super) concurrency: usize,
    pub(super) keys: usize,
    /// On how many members records execute, where keys are routed.
    pub(super) spread: Option<usize>,
    rate: Option<Rate>,
    dry_until: Option<Instant>,
}

impl Permits {
    pub(super) fn new(live: &LiveConfig, cpus: u32, now: Instant) -> Self {
        let execution = &live.execution;
        Self {
            concurrency: execution.concurrency.resolve(cpus) as usize,
            keys: usize::try_from(execution.limits.keys).unwrap_or(usize::MAX),
            spread: None,
            rate: execution
                .rate_limit
                .and_then(|limit| NonZeroU32::new(limit.records_per_second))
                .map(|per_second| Rate::new(per_second, now.into_std())),
            dry_until: None,
        }
    }

    /// How many calls may be under way. Keys are spread by chance: with twice as many as there are seats, hardly one
    /// stays empty.
    #[inline]
    fn calls(&self) -> usize {
        match self.spread {
            None => self.concurrency,
            Some(members) => self.concurrency.saturating_mul(2 * members.max(1)),
        }
    }

    /// Whether one more record may start, as far as the rate goes.
    #[inline]
    fn take_token(&mut self, now: Instant) -> bool {
        let Some(rate) = &mut self.rate else {
            return true;
        };
        self.dry_until = match rate.take(now.into_std()) {
            Permit::Granted => None,
            Permit::Wait(wait) => Some(now + wait.max(Duration::from_millis(1))),
        };
        self.dry_until.is_none()
    }

    /// When the next token is there, where one is missing.
    pub(super) fn refill_due(&self) -> Option<Instant> {
        self.dry_until
    }
}

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    /// Starts what may start. Routes take turns, so that a busy one starves no other.
    pub(super) fn dispatch(&mut self) {
        self.more = false;
        if self.activity != Activity::Running || self.drain_until.is_some() || !self.limit.allows_now() {
            return;
        }
        let routes = self.gates.len();
        self.limits.spread = self.handlers.first().and_then(|handler| handler.spread());
        let mut left = STARTS_A_TURN;
        for turn in 0..routes {
            let route = (self.next_route + turn) % routes;
            self.dispatch_route(route as Route, &mut left);
        }
        self.next_route = (self.next_route + 1) % routes;
        self.more = left == 0;
    }

    fn dispatch_route(&mut self, route: Route, left: &mut usize) {
        let batch = self.handlers[usize::from(route)].batch();
        while *left > 0 && self.lanes.has_ready(route) && self.has_permit() && self.limit.allows_now() {
            let admission = self.gates[usize::from(route)].admits(self.now);
            let started = match admission {
                Admission::None => return,
                Admission::All if batch.max_records > 1 => {
                    self.start_batch(route, batch.max_records, batch.linger)
                }
                Admission::All => usize::from(self.start_next(route)),
                Admission::Probe => {
                    self.gates[usize::from(route)].probe_started();
                    usize::from(self.start_next(route))
                }
            };
            if started == 0 {
                return;
            }
            *left = left.saturating_sub(started);
        }
    }

    #[inline]
    fn has_permit(&self) -> bool {
        self.calls.len() + self.writing < self.limits.calls()
    }

    /// How many more records could start now.
    pub(super) fn idle_permits(&self) -> usize {
        let under_way = self.calls.len() + self.writing;
        let may_start = self.limits.refill_due().is_none() && self.limit.allows_now();
        if may_start { self.limits.concurrency.saturating_sub(under_way) } else { 0 }
    }

    /// Starts the next ready record of a route by itself; `false` = it may not start yet.
    #[inline]
    fn start_next(&mut self, route: Route) -> bool {
        if !self.limits.take_token(self.now) {
            self.gates[usize::from(route)].probe_lost(self.now);
            return false;
        }
        if let Some(lane) = self.lanes.take(route)
            && self.may_start(lane, route)
            && let Some(request) = self.request(lane, route)
        {
            self.start(SmallVec::from_buf([lane]), route, Work::One(request));
        }
        true
    }

    /// Gathers up to `most` records of different keys into one call; waits up to `linger` for them.
    fn start_batch(&mut self, route: Route, most: usize, linger: Duration) -> usize {
        let since = *self.linger[usize::from(route)].get_or_insert(self.now);
        if self.lanes.ready(route) < most && self.now < since + linger {
            return 0;
        }
        self.linger[usize::from(route)] = None;
        let mut lanes = SmallVec::new();
        let mut requests = Vec::with_capacity(most.min(self.lanes.ready(route)));
        while requests.len() < most
            && let Some(lane) = self.lanes.take(route)
        {
            if !self.limits.take_token(self.now) {
                self.lanes.put_back(lane);
                break;
            }
            if !self.may_start(lane, route) {
                continue;
            }
            let Some(request) = self.request(lane, route) else {
                continue;
            };
            if self.lanes.head(lane).is_some_and(|task| task.alone) {
                self.start(SmallVec::from_buf([lane]), route, Work::One(request));
            } else {
                lanes.push(lane);
                requests.push(request);
            }
        }
        let started = requests.len();
        match requests.pop() {
            None => {}
            Some(only) if requests.is_empty() => self.start(lanes, route, Work::One(only)),
            Some(last) => {
                requests.push(last);
                self.start(lanes, route, Work::Batch(requests));
            }
        }
        started
    }

    /// Whether the head of a taken lane goes to the handler now. One that can't be handled goes down its road,
    /// one whose wait was carried over from an earlier owner waits for its rest.
    #[inline]
    fn may_start(&mut self, lane: LaneId, route: Route) -> bool {
        let Some(task) = self.lanes.head(lane) else {
            return false;
        };
        if task.unfit.is_none() && task.failed == 0 && !self.trials {
            return true;
        }
        if let Some(unfit) = task.unfit.as_deref().cloned() {
            self.gates[usize::from(route)].probe_lost(self.now);
            self.unfit(lane, unfit);
            return false;
        }
        let (index, offset) = (task.record.shard, task.record.offset);
        let wall = self.wall(self.now);
        let not_before =
            self.shard(index).and_then(|shard| shard.failed.get(&offset)).map(|failed| failed.not_before);
        match not_before {
            // A millisecond of rounding is not worth another wait.
            Some(UnixMillis(not_before)) if not_before > wall + 1 => {
                self.gates[usize::from(route)].probe_lost(self.now);
                let wait = Duration::from_millis(not_before.abs_diff(wall));
                self.lanes.wait(lane);
                self.timers.add(self.now + wait, lane, Due::Attempt);
                false
            }
            _ => self.has_its_turn(lane, route),
        }
    }

    fn unfit(&mut self, lane: LaneId, unfit: Unfit) {
        let (failure, action) = match unfit {
            Unfit::Undecodable(failure) => (failure, self.fixed.on_undecodable.clone()),
            Unfit::Unroutable(failure) => (failure, self.on_unknown()),
            Unfit::Behind { first, .. } => match self.behind(lane, first) {
                Some(follows) => follows,
                None => return,
            },
        };
        self.executing(lane, 1);
        self.observe_end(lane, Some(&Verdict::Reject(failure.clone())));
        self.follow_road(lane, failure, action);
    }

    #[inline]
    fn request(&mut self, lane: LaneId, route: Route) -> Option<Request> {
        let task = self.lanes.head(lane)?;
        let shard = self.shards.get_mut(task.record.shard.as_usize())?.as_mut()?;
        shard.executing += 1;
        let request = Request {
            record: self.reading.as_seen(&task.record),
            shard: Arc::clone(&shard.id),
            attempt: task.attempt(),
            fence: shard.fence,
            time_left: self.limit_of(route),
            key_hash: self.limits.spread.and_then(|_| self.lanes.key(lane).map(key_hash)),
        };
        self.counters.attempts += 1;
        if self.hooks.are_there() {
            let key = self.lanes.key(lane).map(<[u8]>::to_vec);
            self.observe(&request.record, key.as_deref(), RecordEvent::Started(request.attempt));
        }
        Some(request)
    }

    #[inline]
    fn start(&mut self, lanes: SmallVec<[LaneId; 1]>, route: Route, work: Work) {
        let handler = Arc::clone(&self.handlers[usize::from(route)]);
        let limit = self.limit_of(route).filter(|_| self.limits.spread.is_none());
        let deadline = limit.map(|limit| self.now + limit);
        let cargo = Cargo { lanes, route, started: self.now };
        if let Some((cargo, ending)) = self.calls.start((self.launch)(handler, work), cargo, deadline) {
            self.settle(cargo, ending);
        }
    }

    /// How long a call of this route may take.
    #[inline]
    fn limit_of(&self, route: Route) -> Option<Duration> {
        match route {
            0 => self.fixed.handler.options.timeout,
            other => self.fixed.routes.get(usize::from(other) - 1)?.handler.options.timeout,
        }
    }

    /// Counts calls and writes under way for the shard of a lane's head.
    pub(super) fn executing(&mut self, lane: LaneId, change: isize) {
        let index = self.lanes.head(lane).map(|task| task.record.shard);
        if let Some(shard) = index.and_then(|index: ShardIndex| self.shard(index)) {
            shard.executing = shard.executing.saturating_add_signed(change);
        }
    }
}

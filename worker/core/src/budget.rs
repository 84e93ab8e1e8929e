//! The budget: how many records and bytes a worker holds at most, and what of it each shard can count on.
//!
//! ```text
//!   0 ─────────────────────── low mark ─────────── high mark = limit
//!                             go on                 stop taking
//! ```
//! Marks lie apart, because stopping and starting have their price. While all shards move on, nothing but the limit
//! stops them, and a lone busy one looks as far ahead as all together. A shard that stands still while the others
//! move would in time hold the whole budget: it is set aside, to be paused, and the others go on with what it left,
//! at least with a part of their own that is kept for each. So what is held may come to a quarter above the limit,
//! and a record that is larger than all of it is held alone.
//!
//! A source gives its shards in turn, handlers don't: keys are never spread evenly. Shards with fewer busy keys
//! would fill the budget, and those with more would run out of records. So when the budget is short and one shard
//! is short of records, those that hold more than an equal share are set aside for a moment too. A shard that gets
//! nothing though all may take is at its end, and waits for nothing. Up: the [crate map](crate).

use crate::ids::ShardIndex;

/// What is kept for each shard: of the limit one part in so many, divided among the open ones.
const OWN_PARTS: u64 = 4;

/// A shard stands still when its records would take so many times longer to complete than all others do.
const STANDS_STILL: u128 = 4;

/// What a worker holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Records that were taken and are not complete.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Whether records are taken from the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intake {
    /// Take more.
    Take,
    /// Take none until enough is refunded.
    Stop,
}

/// Records and bytes, held or allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// How many records.
    pub records: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

impl Held {
    /// Whether either number has come to its bound.
    #[inline]
    fn reaches(self, bound: Self) -> bool {
        self.records >= bound.records || self.bytes >= bound.bytes
    }

    /// Whether both are at or below theirs.
    #[inline]
    fn is_within(self, bound: Self) -> bool {
        self.records <= bound.records && self.bytes <= bound.bytes
    }

    #[inline]
    fn plus(self, more: Self) -> Self {
        Self { records: self.records + more.records, bytes: self.bytes.saturating_add(more.bytes) }
    }

    #[inline]
    fn minus(self, less: Self) -> Self {
        Self {
            records: self.records.saturating_sub(less.records),
            bytes: self.bytes.saturating_sub(less.bytes),
        }
    }

    /// A part of it, each number at least 1.
    fn part(self, numerator: u64, denominator: u64) -> Self {
        let part = |whole: u64| {
            let part = u128::from(whole) * u128::from(numerator) / u128::from(denominator.max(1));
            u64::try_from(part).unwrap_or(u64::MAX).max(1)
        };
        Self { records: part(self.records), bytes: part(self.bytes) }
    }
}

/// A bound with its two marks: shut at the high one, open again at the low one.
#[derive(Debug, Clone, Copy, Default)]
struct Gate {
    high: Held,
    low: Held,
    shut: bool,
}

impl Gate {
    /// The low mark lies a quarter below the high one, and always below it.
    fn set(&mut self, high: Held) {
        let low = high.part(3, 4);
        self.high = high;
        self.low = Held { records: low.records.min(high.records - 1), bytes: low.bytes.min(high.bytes - 1) };
    }

    #[inline]
    fn feel(&mut self, held: Held) {
        self.shut = if self.shut { !held.is_within(self.low) } else { held.reaches(self.high) };
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    held: Held,
    /// How many records were refunded since the last tick.
    refunded: u64,
    open: bool,
    /// Nothing came although it could: the source has no more of it for now.
    dry: bool,
    /// Set aside until it holds no more than this.
    aside: Option<Held>,
}

impl Share {
    /// Whether it may soon run out of records, although the source has more of it: below half of an equal share.
    fn is_hungry(&self, fair: Held) -> bool {
        self.open && !self.dry && self.aside.is_none() && self.held.is_within(fair.part(1, 2))
    }
}

/// What all shards of one pump hold, against what they may.
#[derive(Debug, Clone)]
pub struct Budget {
    limits: BudgetLimits,
    /// What the shards hold that are not set aside; the gate is about these.
    active: Held,
    aside: Held,
    gate: Gate,
    /// What is kept for each shard.
    own: Held,
    /// An equal share of the limit.
    fair: Held,
    /// Whether the gate was shut at any time since the last tick.
    was_shut: bool,
    shards: Vec<Share>,
    open: u64,
    set_aside: u64,
    /// How many records of all shards were refunded since the last tick.
    refunded: u64,
}

impl Budget {
    /// A budget that nobody uses yet. A limit of 0 counts as 1.
    #[must_use]
    pub fn new(limits: BudgetLimits) -> Self {
        let mut budget = Self {
            limits,
            active: Held::default(),
            aside: Held::default(),
            gate: Gate::default(),
            own: Held::default(),
            fair: Held::default(),
            was_shut: false,
            shards: Vec::new(),
            open: 0,
            set_aside: 0,
            refunded: 0,
        };
        budget.divide();
        budget
    }

    /// Changes what may be held, at once. What is held above it stays and is waited for.
    pub fn set_limits(&mut self, limits: BudgetLimits) {
        self.limits = limits;
        self.divide();
    }

    /// What may be held.
    #[must_use]
    pub fn limits(&self) -> BudgetLimits {
        self.limits
    }

    /// Gives a shard its part. An open one keeps what it holds.
    pub fn open(&mut self, shard: ShardIndex) {
        if shard.as_usize() >= self.shards.len() {
            self.shards.resize(shard.as_usize() + 1, Share::default());
        }
        let share = &mut self.shards[shard.as_usize()];
        if !share.open {
            share.open = true;
            self.open += 1;
            self.divide();
        }
    }

    /// Takes a shard's part away, refunds all that it holds and says what that was.
    pub fn close(&mut self, shard: ShardIndex) -> Held {
        let Some(share) = self.shards.get_mut(shard.as_usize()).filter(|share| share.open) else {
            return Held::default();
        };
        let Share { held, aside, .. } = std::mem::take(share);
        if aside.is_some() {
            self.aside = self.aside.minus(held);
            self.set_aside -= 1;
        } else {
            self.active = self.active.minus(held);
        }
        self.open -= 1;
        self.divide();
        held
    }

    /// Counts a record that was taken. A shard that is not open holds nothing.
    #[inline]
    pub fn debit(&mut self, shard: ShardIndex, bytes: u64) {
        let record = Held { records: 1, bytes };
        let Some(share) = self.shards.get_mut(shard.as_usize()).filter(|share| share.open) else { return };
        share.held = share.held.plus(record);
        share.dry = false;
        if share.aside.is_some() {
            self.aside = self.aside.plus(record);
            self.divide();
        } else {
            self.active = self.active.plus(record);
            self.gate.feel(self.active);
            self.was_shut |= self.gate.shut;
        }
    }

    /// Counts a record back that is complete. More than the shard holds is not counted.
    #[inline]
    pub fn refund(&mut self, shard: ShardIndex, bytes: u64) {
        let Some(share) = self.shards.get_mut(shard.as_usize()) else { return };
        let record = Held { records: share.held.records.min(1), bytes: share.held.bytes.min(bytes) };
        share.held = share.held.minus(record);
        share.refunded += record.records;
        self.refunded += record.records;
        if let Some(until) = share.aside {
            self.aside = self.aside.minus(record);
            if share.held.is_within(until) {
                share.aside = None;
                self.set_aside -= 1;
                self.aside = self.aside.minus(share.held);
                self.active = self.active.plus(share.held);
            }
            self.divide();
        } else {
            self.active = self.active.minus(record);
            self.gate.feel(self.active);
        }
    }

    /// Whether to take from the source at all: stops at the limit and goes on a quarter below it. While nothing is
    /// held it never stops.
    #[inline]
    #[must_use]
    pub fn intake(&self) -> Intake {
        if self.gate.shut { Intake::Stop } else { Intake::Take }
    }

    /// Whether a shard is set aside: its source should pause it, and resume it when this is no longer so. Becomes
    /// true in [`Budget::tick`] only; ends when half of what it held then is complete.
    #[inline]
    #[must_use]
    pub fn over_share(&self, shard: ShardIndex) -> bool {
        self.shards.get(shard.as_usize()).is_some_and(|share| share.aside.is_some())
    }

    /// To be called regularly, every 100 ms or so: while intake is stopped, sets those shards aside that hold more
    /// than their part and stand still, measured since the last call; and those that hold more than an equal share
    /// while another one runs out. Returns how many are newly set aside.
    pub fn tick(&mut self) -> usize {
        let before = self.set_aside;
        let short = self.gate.shut || self.was_shut;
        if short && self.open > 1 {
            let hungry = self.shards.iter().any(|share| share.is_hungry(self.fair));
            let (all, refunded) = (self.active, u128::from(self.refunded));
            for share in self.shards.iter_mut().filter(|share| share.open && share.aside.is_none()) {
                let stands_still = u128::from(share.refunded) * STANDS_STILL * u128::from(all.records)
                    <= refunded * u128::from(share.held.records);
                let until = if self.gate.shut && stands_still && !share.held.is_within(self.own) {
                    share.held.part(1, 2)
                } else if hungry && !share.held.is_within(self.fair) {
                    self.fair.part(3, 4)
                } else {
                    continue;
                };
                share.aside = Some(until);
                self.set_aside += 1;
                self.active = self.active.minus(share.held);
                self.aside = self.aside.plus(share.held);
            }
            self.divide();
        }
        for share in &mut self.shards {
            share.dry |= !short && share.aside.is_none() && share.held.records == 0 && share.refunded == 0;
            share.refunded = 0;
        }
        self.refunded = 0;
        self.was_shut = self.gate.shut;
        usize::try_from(self.set_aside - before).unwrap_or(usize::MAX)
    }

    /// What all shards hold.
    #[inline]
    #[must_use]
    pub fn held(&self) -> Held {
        self.active.plus(self.aside)
    }

    /// What a shard holds.
    #[must_use]
    pub fn held_by(&self, shard: ShardIndex) -> Held {
        self.shards.get(shard.as_usize()).map_or(Held::default(), |share| share.held)
    }

    /// Sets the marks anew: what is set aside counts against the limit, but never against the others' own parts.
    fn divide(&mut self) {
        let all = Held { records: self.limits.records.max(1), bytes: self.limits.bytes.max(1) };
        self.own = all.part(1, OWN_PARTS * self.open.max(1));
        self.fair = all.part(1, self.open.max(1));
        let kept = all.part(self.open - self.set_aside, OWN_PARTS * self.open.max(1));
        let left = all.minus(self.aside);
        let high = Held { records: left.records.max(kept.records), bytes: left.bytes.max(kept.bytes) };
        self.gate.set(if self.set_aside == 0 { all } else { high });
        self.gate.feel(self.active);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ShardIndex = ShardIndex(0);
    const B: ShardIndex = ShardIndex(1);

    fn budget(records: u64, bytes: u64, shards: u32) -> Budget {
        let mut budget = Budget::new(BudgetLimits { records, bytes });
        (0..shards).for_each(|shard| budget.open(ShardIndex(shard)));
        budget
    }

    #[test]
    fn intake_stops_at_the_limit_and_goes_on_a_quarter_below() {
        let mut budget = budget(100, 1_000_000, 1);
        (0..99).for_each(|_| budget.debit(A, 10));
        assert_eq!(budget.intake(), Intake::Take);
        budget.debit(A, 10);
        assert_eq!(budget.intake(), Intake::Stop);
        (0..24).for_each(|_| budget.refund(A, 10));
        assert_eq!(budget.intake(), Intake::Stop);
        budget.refund(A, 10);
        assert_eq!(budget.intake(), Intake::Take);
        assert_eq!(budget.held(), Held { records: 75, bytes: 750 });
    }

    #[test]
    fn bytes_stop_it_as_records_do() {
        let mut budget = budget(100, 1_000, 1);
        budget.debit(A, 999);
        assert_eq!(budget.intake(), Intake::Take);
        budget.debit(A, 1);
        assert_eq!(budget.intake(), Intake::Stop);
        budget.refund(A, 999);
        assert_eq!(budget.intake(), Intake::Take);
    }

    #[test]
    fn a_record_above_the_whole_budget_is_held_alone() {
        let mut budget = budget(100, 1_000, 2);
        assert_eq!(budget.intake(), Intake::Take);
        budget.debit(A, 50_000_000);
        assert_eq!(budget.intake(), Intake::Stop);
        budget.refund(A, 50_000_000);
        assert_eq!((budget.intake(), budget.held()), (Intake::Take, Held::default()));
    }

    /// Takes from both shards in turn as long as it may; what `B` got.
    fn fill(budget: &mut Budget) -> u64 {
        let before = budget.held_by(B).records;
        while budget.intake() == Intake::Take {
            for shard in [A, B] {
                if !budget.over_share(shard) && budget.intake() == Intake::Take {
                    budget.debit(shard, 1);
                }
            }
        }
        budget.held_by(B).records - before
    }

    #[test]
    fn a_shard_that_stands_still_does_not_keep_the_others_from_going_on() {
        let mut budget = budget(1_000, 1 << 30, 2);
        let mut handled = 0;
        for _ in 0..50 {
            fill(&mut budget);
            handled += budget.held_by(B).records;
            (0..budget.held_by(B).records).for_each(|_| budget.refund(B, 1));
            budget.tick();
            assert!(!budget.over_share(B));
        }
        assert!(budget.over_share(A) && handled > 50 * 100, "{handled}");
        assert!(budget.held().records <= 1_000 + 1_000 / OWN_PARTS);

        (0..budget.held_by(A).records.div_ceil(2)).for_each(|_| budget.refund(A, 1));
        assert!(!budget.over_share(A), "half of it is complete");
    }

    #[test]
    fn shards_that_move_on_alike_are_never_set_aside() {
        let mut budget = budget(1_000, 1 << 30, 3);
        assert_eq!(budget.tick(), 0, "the third one has nothing");
        for _ in 0..50 {
            fill(&mut budget);
            (0..10).for_each(|_| [A, B].into_iter().for_each(|shard| budget.refund(shard, 1)));
            assert_eq!(budget.tick(), 0);
        }
        assert_eq!(fill(&mut budget), 0, "the limit alone holds them");
    }

    /// A source that gives equal parts of four shards in turn, in chunks, to handlers that want unequal ones: how
    /// often a shard had nothing to handle, after a while.
    fn starved(wants: [u64; 4]) -> usize {
        let mut budget = budget(10_000, 1 << 30, 4);
        let mut turns = (0..4).cycle().map(ShardIndex).flat_map(|shard| std::iter::repeat_n(shard, 600));
        let mut starved = 0;
        for round in 0..2_000 {
            while budget.intake() == Intake::Take {
                let shard = turns.next().unwrap_or(A);
                if !budget.over_share(shard) {
                    budget.debit(shard, 1);
                }
            }
            for (shard, wants) in (0..4).map(ShardIndex).zip(wants) {
                let has = budget.held_by(shard).records;
                (0..has.min(wants)).for_each(|_| budget.refund(shard, 1));
                starved += usize::from(has < wants && round > 100);
            }
            budget.tick();
        }
        starved
    }

    #[test]
    fn a_shard_with_more_busy_keys_does_not_run_out_of_records() {
        assert_eq!(starved([115, 100, 95, 90]), 0);
        assert_eq!(starved([400, 100, 50, 50]), 0);
    }

    #[test]
    fn a_shard_at_its_end_keeps_no_other_from_looking_far_ahead() {
        let mut budget = budget(1_000, 1 << 30, 4);
        budget.debit(A, 1);
        assert_eq!(budget.tick(), 0);
        (1..1_000).for_each(|_| budget.debit(A, 1));
        for _ in 0..10 {
            (0..50).for_each(|_| budget.refund(A, 1));
            assert_eq!((budget.tick(), budget.over_share(A)), (0, false));
            (0..50).for_each(|_| budget.debit(A, 1));
        }
    }

    #[test]
    fn when_all_stand_still_an_idle_shard_still_gets_its_part() {
        let mut budget = budget(1_000, 1 << 30, 4);
        fill(&mut budget);
        assert_eq!((budget.intake(), budget.tick()), (Intake::Stop, 2));
        let mut taken = 0;
        while budget.intake() == Intake::Take {
            budget.debit(ShardIndex(2), 1);
            taken += 1;
        }
        assert_eq!(taken, 125, "what is kept for the two that are not set aside");
        assert_eq!(budget.tick(), 1);
        assert_eq!(budget.intake(), Intake::Take, "and one more is left");
    }

    #[test]
    fn a_lone_shard_is_never_set_aside() {
        let mut budget = budget(10, 1 << 30, 1);
        (0..10).for_each(|_| budget.debit(A, 1));
        assert_eq!((budget.tick(), budget.tick(), budget.intake()), (0, 0, Intake::Stop));
    }

    #[test]
    fn limits_and_shards_change_while_it_runs() {
        let mut budget = budget(100, 1 << 30, 1);
        (0..80).for_each(|_| budget.debit(A, 1));
        budget.set_limits(BudgetLimits { records: 50, bytes: 1 << 30 });
        assert_eq!(budget.intake(), Intake::Stop);
        budget.set_limits(BudgetLimits { records: 1_000, bytes: 1 << 30 });
        assert_eq!(budget.intake(), Intake::Take);
        budget.open(B);
        budget.debit(B, 5);
        assert_eq!(budget.close(A), Held { records: 80, bytes: 80 });
        assert_eq!((budget.held(), budget.held_by(A)), (Held { records: 1, bytes: 5 }, Held::default()));
        budget.debit(A, 5);
        budget.refund(A, 5);
        assert_eq!(budget.close(A), Held::default());
        assert_eq!(budget.held(), Held { records: 1, bytes: 5 });
    }

    #[test]
    fn a_refund_too_many_is_not_counted() {
        let mut budget = budget(2, 2, 1);
        budget.debit(A, 1);
        budget.refund(A, 9);
        budget.refund(A, 9);
        assert_eq!(budget.held(), Held::default());
    }

    #[test]
    fn the_smallest_budget_takes_one_record_at_a_time() {
        let mut budget = budget(0, 0, 3);
        for _ in 0..3 {
            assert_eq!(budget.intake(), Intake::Take);
            budget.debit(B, 0);
            assert_eq!(budget.intake(), Intake::Stop);
            budget.refund(B, 0);
        }
    }
}

//! How many replicas there should be, and why. Pure: lag, time and what was decided before are arguments.
//!
//! A lag that is not known is never zero: it changes nothing. More replicas come at once; fewer when fewer would have
//! done for the whole of the delay.

use std::time::Duration;

use tokio::time::Instant;

/// What the user says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Never fewer. 0: an object that has nothing to do falls asleep.
    pub min: i32,
    /// Never more.
    pub max: i32,
    /// One replica more for so many records.
    pub records_per_replica: i64,
    /// Replicas by lag, smallest lag first; empty: by `records_per_replica`.
    pub table: Vec<Row>,
    /// The lag is to be worked off within this time; `None`: whenever.
    pub drain_time: Option<Duration>,
    /// For so long fewer must have done before there are fewer.
    pub down_delay: Duration,
    /// No more as long as all together would hold more bytes than this; `None`: it is not looked at.
    pub max_memory: Option<i64>,
    /// Replicas without a shard have something to do too: keys are routed to them.
    pub beyond_shards: bool,
    /// Decide, and do nothing.
    pub dry_run: bool,
}

/// Up to `lag` records there are `replicas`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Records.
    pub lag: i64,
    /// Replicas.
    pub replicas: i32,
}

/// What there is to go by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signals {
    /// Replicas that are asked for now.
    pub current: i32,
    /// Records behind; `None`: unknown.
    pub lag: Option<i64>,
    /// Shards there are, where more replicas than these would have nothing to do.
    pub shards: Option<i32>,
    /// Records that one replica completes in a second; `None`: unknown.
    pub rate: Option<f64>,
    /// Bytes that one replica holds; `None`: unknown.
    pub memory: Option<i64>,
    /// Whether a worker has ever begun: the first one lays down where the object starts.
    pub started: bool,
}

/// How many there should be, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Replicas.
    pub replicas: i32,
    /// Why, in one word.
    pub reason: &'static str,
}

/// What is remembered from one decision to the next.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Memory {
    /// Since when fewer would have done, and what asked for the most since.
    low: Option<(Instant, Decision)>,
}

impl Memory {
    /// How many replicas there should be now.
    pub fn decide(&mut self, plan: &Plan, signals: Signals, now: Instant) -> Decision {
        let stay = |reason| Decision { replicas: signals.current, reason };
        let Some(lag) = signals.lag else {
            self.low = None;
            return stay("LagUnknown");
        };
        let needed = needed(plan, signals, lag);
        if needed.replicas >= signals.current {
            self.low = None;
            return needed;
        }
        let (since, most) = self
            .low
            .filter(|(_, most)| most.replicas >= needed.replicas)
            .unwrap_or((self.low.map_or(now, |(since, _)| since), needed));
        self.low = Some((since, most));
        if now.duration_since(since) < plan.down_delay {
            return stay("ScaleDownDelayed");
        }
        self.low = None;
        most
    }
}

/// What the lag alone asks for.
fn needed(plan: &Plan, signals: Signals, lag: i64) -> Decision {
    let (mut replicas, mut reason) = match plan.table.iter().find(|row| lag <= row.lag).or(plan.table.last())
    {
        Some(row) => (row.replicas, "Table"),
        None if lag == 0 => (0, "Idle"),
        None => (whole(lag, plan.records_per_replica), "RecordsPerReplica"),
    };
    if let Some(drain) = drain(plan, signals, lag).filter(|drain| *drain > replicas) {
        (replicas, reason) = (drain, "DrainTime");
    }
    let shards = signals.shards.filter(|_| !plan.beyond_shards).unwrap_or(i32::MAX);
    for (limit, above) in [(shards, "EveryShardHasOne"), (plan.max, "MaxReplicas")] {
        if replicas > limit {
            (replicas, reason) = (limit, above);
        }
    }
    if replicas == 0 && !signals.started {
        (replicas, reason) = (1, "NeverStarted");
    }
    let roomy = roomy(plan, signals);
    if replicas > roomy {
        (replicas, reason) = (roomy, "MaxMemory");
    }
    let least = plan.min;
    if replicas < least {
        Decision { replicas: least, reason: "MinReplicas" }
    } else {
        Decision { replicas, reason }
    }
}

/// Replicas for which there is memory: never fewer than there are, and one where there is none. What is not known is no
/// room.
fn roomy(plan: &Plan, signals: Signals) -> i32 {
    let present = signals.current.max(1);
    let Some(most) = plan.max_memory else { return i32::MAX };
    let room = signals.memory.filter(|each| *each > 0).map_or(0, |each| most / each);
    i32::try_from(room).unwrap_or(i32::MAX).max(present)
}

/// Replicas that work the lag off in time, where their rate is known.
fn drain(plan: &Plan, signals: Signals, lag: i64) -> Option<i32> {
    let rate = signals.rate.filter(|rate| *rate > 0.0)?;
    let each = rate * plan.drain_time?.as_secs_f64();
    Some((lag as f64 / each).ceil().min(f64::from(i32::MAX)) as i32)
}

/// Lag by records, rounded up.
fn whole(lag: i64, each: i64) -> i32 {
    let each = each.max(1);
    i32::try_from(lag / each + i64::from(lag % each > 0)).unwrap_or(i32::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan() -> Plan {
        Plan {
            min: 1,
            max: 10,
            records_per_replica: 1000,
            table: Vec::new(),
            drain_time: None,
            down_delay: Duration::from_secs(60),
            max_memory: None,
            beyond_shards: false,
            dry_run: false,
        }
    }

    fn at(current: i32, lag: i64) -> Signals {
        Signals { current, lag: Some(lag), shards: None, rate: None, memory: None, started: true }
    }

    fn once(plan: &Plan, signals: Signals) -> (i32, &'static str) {
        let decision = Memory::default().decide(plan, signals, Instant::now());
        (decision.replicas, decision.reason)
    }

    #[test]
    fn one_more_for_each_thousand_between_the_bounds() {
        let plan = plan();
        assert_eq!(once(&plan, at(1, 0)), (1, "MinReplicas"));
        assert_eq!(once(&plan, at(1, 1000)), (1, "RecordsPerReplica"));
        assert_eq!(once(&plan, at(1, 1001)), (2, "RecordsPerReplica"));
        assert_eq!(once(&plan, at(1, 1_000_000)), (10, "MaxReplicas"));
        let signals = Signals { shards: Some(8), ..at(1, 1_000_000) };
        assert_eq!(once(&plan, signals), (8, "EveryShardHasOne"));
        let routed = Plan { beyond_shards: true, ..plan };
        assert_eq!(once(&routed, signals), (10, "MaxReplicas"), "keys are routed to those without a shard");
    }

    /// U141: one record wakes it, and it falls asleep when nothing was left for the whole delay.
    #[test]
    fn an_object_falls_asleep_and_wakes_and_one_that_never_began_begins() {
        let plan = Plan { min: 0, ..plan() };
        let (mut memory, start) = (Memory::default(), Instant::now());
        let mut decide = |second, current, lag| {
            let decision = memory.decide(&plan, at(current, lag), start + Duration::from_secs(second));
            (decision.replicas, decision.reason)
        };
        assert_eq!(decide(0, 0, 0), (0, "Idle"));
        assert_eq!(decide(1, 0, 1), (1, "RecordsPerReplica"));
        assert_eq!(decide(2, 1, 0), (1, "ScaleDownDelayed"));
        assert_eq!(decide(61, 1, 1), (1, "RecordsPerReplica"));
        assert_eq!(decide(62, 1, 0), (1, "ScaleDownDelayed"));
        assert_eq!(decide(122, 1, 0), (0, "Idle"));
        let signals = Signals { started: false, ..at(0, 0) };
        assert_eq!(once(&plan, signals), (1, "NeverStarted"));
    }

    #[test]
    fn the_first_row_that_holds_the_lag_decides_and_beyond_the_last_the_last() {
        let rows = [(0, 1), (500, 3), (5000, 7)].map(|(lag, replicas)| Row { lag, replicas });
        let plan = Plan { table: rows.to_vec(), ..plan() };
        assert_eq!([0, 1, 500, 501, 9999].map(|lag| once(&plan, at(1, lag)).0), [1, 3, 3, 7, 7]);
    }

    #[test]
    fn a_lag_that_is_not_known_changes_nothing() {
        let signals = Signals { lag: None, ..at(4, 0) };
        assert_eq!(once(&Plan { down_delay: Duration::ZERO, ..plan() }, signals), (4, "LagUnknown"));
    }

    #[test]
    fn fewer_come_only_when_fewer_have_done_for_the_whole_delay() {
        let (plan, mut memory, start) = (plan(), Memory::default(), Instant::now());
        let mut decide = |second, lag| {
            let decision = memory.decide(&plan, at(5, lag), start + Duration::from_secs(second));
            (decision.replicas, decision.reason)
        };
        assert_eq!(decide(0, 0), (5, "ScaleDownDelayed"));
        assert_eq!(decide(30, 2500), (5, "ScaleDownDelayed"));
        assert_eq!(decide(61, 0), (3, "RecordsPerReplica"));
        assert_eq!(decide(62, 0), (5, "ScaleDownDelayed"));
        assert_eq!(decide(63, 5000), (5, "RecordsPerReplica"));
        assert_eq!(decide(122, 0), (5, "ScaleDownDelayed"));
    }

    /// U143.
    #[test]
    fn there_are_no_more_than_there_is_memory_for_and_not_fewer_for_it() {
        let plan = Plan { max_memory: Some(1000), ..plan() };
        let holding = |current, lag, memory| once(&plan, Signals { memory, ..at(current, lag) });
        assert_eq!(holding(2, 9000, Some(200)), (5, "MaxMemory"));
        assert_eq!(holding(2, 3000, Some(200)), (3, "RecordsPerReplica"), "there is room");
        assert_eq!(holding(2, 9000, Some(900)), (2, "MaxMemory"), "those that are there stay");
        assert_eq!(holding(4, 9000, None), (4, "MaxMemory"), "what is not known is no room");
        assert_eq!(holding(0, 9000, None), (1, "MaxMemory"), "the first one shows what one holds");
    }

    #[test]
    fn the_drain_time_asks_for_more_where_the_rate_is_known() {
        let plan = Plan { drain_time: Some(Duration::from_secs(10)), ..plan() };
        assert_eq!(once(&plan, at(1, 900)), (1, "RecordsPerReplica"));
        let signals = Signals { rate: Some(20.0), ..at(1, 900) };
        assert_eq!(once(&plan, signals), (5, "DrainTime"));
    }
}

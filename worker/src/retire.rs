//! When a worker ends by itself, to be started anew: because it is old, or holds too much memory. It drains as on a
//! signal, and never goes while another one is on its way or missing: not all of them at once.

use std::time::Duration;

use keyweir_contract::worker_config::ProcessConfig;
use keyweir_engine::ownership::OwnershipSnapshot;
use tokio::time::Instant;

/// A member, or the owner of a shard, that has not come back within this time was not to come back.
const BACK: Duration = Duration::from_secs(120);
/// Before this time memory says nothing: it would only end and begin.
const YOUNG: Duration = Duration::from_secs(60);

/// Why a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It has lived for as long as it should.
    Lifetime,
    /// It holds more memory than it should.
    Memory,
}

/// When a worker ends by itself.
pub(crate) struct Retirement {
    began: Instant,
    /// How old it gets.
    lifetime: Option<Duration>,
    /// Bytes that it may hold.
    memory: Option<u64>,
    /// How it was lately, when nobody was missing.
    whole: Whole,
}

/// A fleet in which nobody is missing.
#[derive(Clone, Copy)]
struct Whole {
    members: usize,
    /// Shards without an owner. Where placement is static nobody counts members: who is missing leaves his shards so.
    unowned: usize,
    at: Instant,
}

impl Retirement {
    /// For a worker that begins now. `seed` decides by how much its life is longer or shorter than the others': a tenth
    /// at most.
    pub(crate) fn new(process: &ProcessConfig, seed: u64, now: Instant) -> Self {
        let share = 0.9 + 0.2 * (seed % 10_000) as f64 / 9_999.0;
        Self {
            began: now,
            lifetime: process.max_lifetime.map(|lifetime| lifetime.mul_f64(share)),
            memory: process.max_memory.map(|memory| memory.get()),
            whole: Whole { members: 0, unowned: 0, at: now },
        }
    }

    /// Why it should end now, if it should. `held`: bytes that the process holds; `fleet`: what it knows of the other
    /// members, where there are any.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        held: Option<u64>,
        fleet: Option<&OwnershipSnapshot>,
    ) -> Option<Reason> {
        let complete = fleet.is_none_or(|fleet| self.is_complete(now, fleet));
        let age = now.duration_since(self.began);
        let full = age >= YOUNG && self.memory.zip(held).is_some_and(|(most, held)| held > most);
        // Of several that are old the eldest goes first; the next one when that is back.
        let old =
            self.lifetime.is_some_and(|lifetime| age >= lifetime) && fleet.is_none_or(|fleet| fleet.eldest);
        match (complete, full, old) {
            (true, true, _) => Some(Reason::Memory),
            (true, false, true) => Some(Reason::Lifetime),
            _ => None,
        }
    }

    /// Whether all members are there, none is on its way, and all shards have an owner.
    fn is_complete(&mut self, now: Instant, fleet: &OwnershipSnapshot) -> bool {
        let lacks = |whole: &Whole| fleet.members < whole.members || fleet.unowned > whole.unowned;
        if !lacks(&self.whole) || now.duration_since(self.whole.at) >= BACK {
            self.whole = Whole { members: fleet.members, unowned: fleet.unowned, at: now };
        }
        fleet.member.is_some() && fleet.leaving == 0 && !lacks(&self.whole)
    }
}

/// Bytes that this process holds in memory; `None` = the system does not say.
pub(crate) fn held() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use keyweir_contract::ByteSize;
    use keyweir_core::MemberId;

    use super::*;

    fn process(lifetime: Option<u64>, mebibytes: Option<u64>) -> ProcessConfig {
        ProcessConfig {
            max_lifetime: lifetime.map(Duration::from_secs),
            max_memory: mebibytes.map(ByteSize::mebibytes),
            ..ProcessConfig::default()
        }
    }

    fn fleet(members: usize, eldest: bool) -> OwnershipSnapshot {
        OwnershipSnapshot { member: Some(MemberId::new("a", 1)), members, eldest, ..Default::default() }
    }

    /// U144.
    #[test]
    fn a_worker_ends_at_its_age_give_or_take_a_tenth() {
        let now = Instant::now();
        let ends = |seed: u64, age: u64| {
            let mut retirement = Retirement::new(&process(Some(1000), None), seed, now);
            retirement.due(now + Duration::from_secs(age), None, None) == Some(Reason::Lifetime)
        };
        assert!(!ends(0, 899) && ends(0, 900), "the shortest");
        assert!(!ends(9_999, 1099) && ends(9_999, 1100), "the longest");
        assert!((0..100).all(|seed| !ends(seed * 7919, 899) && ends(seed * 7919, 1100)));
        let mut stays = Retirement::new(&process(None, None), 0, now);
        assert_eq!(stays.due(now + Duration::from_secs(1 << 30), Some(1 << 40), None), None);
    }

    /// U144.
    #[test]
    fn never_all_of_them_at_once() {
        let now = Instant::now();
        let old = now + Duration::from_secs(2000);
        let mut retirement = Retirement::new(&process(Some(1000), None), 0, now);
        let mut due = |fleet: OwnershipSnapshot, at| retirement.due(at, None, Some(&fleet)).is_some();
        assert!(!due(fleet(3, false), old), "an elder one goes first");
        assert!(!due(OwnershipSnapshot { leaving: 1, ..fleet(3, true) }, old), "one is on its way");
        assert!(!due(OwnershipSnapshot { unowned: 2, ..fleet(3, true) }, old), "shards are on their way");
        assert!(!due(OwnershipSnapshot { member: None, ..fleet(3, true) }, old), "it is no member itself");
        assert!(!due(fleet(2, true), old), "one is not back");
        assert!(!due(fleet(2, true), old + BACK / 2));
        assert!(due(fleet(2, true), old + BACK), "that one was not to come back");
        assert!(due(fleet(3, true), old + BACK));
    }

    /// U144, with static placement: an ordinal that is away leaves shards without an owner.
    #[test]
    fn shards_that_nobody_comes_back_for_are_not_waited_for_and_the_next_ones_are() {
        let now = Instant::now();
        let mut retirement = Retirement::new(&process(Some(1), None), 0, now);
        let mut due = |unowned, after| {
            let fleet = OwnershipSnapshot { unowned, ..fleet(1, true) };
            retirement.due(now + after, None, Some(&fleet)).is_some()
        };
        let second = Duration::from_secs(1);
        assert!(due(0, second));
        assert!(!due(2, second * 2), "somebody is away");
        assert!(due(2, second + BACK), "he is not to come back");
        assert!(!due(5, second * 2 + BACK), "another one is away");
        assert!(due(2, second * 3 + BACK), "that one is back");
        assert!(due(0, second * 4 + BACK), "so is the first one");
        assert!(!due(2, second * 5 + BACK), "and is waited for anew");
    }

    /// U143.
    #[test]
    fn a_worker_above_its_own_limit_of_memory_ends() {
        let now = Instant::now();
        let mut retirement = Retirement::new(&process(None, Some(100)), 0, now);
        let mut due = |age, held: Option<u64>| retirement.due(now + age, held.map(|held| held << 20), None);
        assert_eq!(due(YOUNG / 2, Some(500)), None, "it has only just begun");
        assert_eq!(due(YOUNG, Some(100)), None);
        assert_eq!(due(YOUNG, None), None, "what is not known is no reason");
        assert_eq!(due(YOUNG, Some(101)), Some(Reason::Memory));
        assert!(held().is_some_and(|held| held > 1 << 20), "Linux says it");
    }
}

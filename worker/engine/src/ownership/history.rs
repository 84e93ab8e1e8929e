//! History: whether the store forgets what is past, or only grows until it is full. Pure. Up: [ownership](super).
//!
//! ```text
//!   a revision that was the present one once ──▶ is it kept? ── yes: the history is at least so old and so long
//!                                                            └─ no:  somebody compacts; begin again at the present
//! ```
//! One member of an object asks, the eldest, and seldom. What it knows is a lower bound: it has seen no more than it
//! was there for.

use std::time::Duration;

use tokio::time::Instant;

use crate::ports::StoreError;

/// How often it is asked.
pub(super) const LOOK: Duration = Duration::from_secs(300);

/// What nobody means to keep: an etcd that compacts every hour what is older than one keeps two.
const TOO_OLD: Duration = Duration::from_secs(3 * 3600);

/// Below that even the largest values leave room in a small quota, and a store that is told to keep so many keeps them.
const TOO_MANY: u64 = 100_000;

/// How far back the history goes, at least.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// How old it is.
    pub age: Duration,
    /// How many revisions it holds.
    pub revisions: u64,
}

impl History {
    /// Whether it looks as if nobody compacts it.
    #[must_use]
    pub fn only_grows(&self) -> bool {
        self.age >= TOO_OLD && self.revisions >= TOO_MANY
    }
}

impl std::fmt::Display for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (hours, minutes) = (self.age.as_secs() / 3600, self.age.as_secs() / 60 % 60);
        write!(
            f,
            "etcd has kept its history for {hours}h{minutes}m, {} revisions: when its quota is used up it refuses writes; \
             run it with --auto-compaction-mode=periodic --auto-compaction-retention=5m",
            self.revisions
        )
    }
}

/// What one member knows of it.
#[derive(Debug)]
pub(super) struct Memory {
    /// A revision, and when it was the present one.
    since: Option<(u64, Instant)>,
}

impl Memory {
    /// Begins at a revision that is the present one now.
    pub(super) fn begin(revision: u64, now: Instant) -> Self {
        Self { since: Some((revision, now)) }
    }

    /// Which revision to ask for; 0 = the present one.
    pub(super) fn ask(&self) -> u64 {
        self.since.map_or(0, |(revision, _)| revision)
    }

    /// Takes the answer to a question that was asked at that time; `None` = it says nothing yet.
    pub(super) fn heard(&mut self, answer: Result<u64, StoreError>, asked: Instant) -> Option<History> {
        match answer {
            Ok(present) => {
                let (revision, at) = *self.since.get_or_insert((present, asked));
                let age = asked.saturating_duration_since(at);
                Some(History { age, revisions: present.saturating_sub(revision) })
            }
            Err(StoreError::Compacted { .. }) => {
                self.since = None;
                Some(History::default())
            }
            // What was known is no worse for it.
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted() -> Result<u64, StoreError> {
        Err(StoreError::Compacted { from: 0 })
    }

    #[test]
    fn a_history_counts_from_what_was_seen_and_begins_anew_when_it_is_compacted() {
        let start = Instant::now();
        let at = |hours: u64| start + Duration::from_secs(hours * 3600);
        let mut memory = Memory::begin(1_000, start);
        let heard = memory.heard(Ok(51_000), at(2)).expect("an answer");
        assert_eq!(heard, History { age: Duration::from_secs(7200), revisions: 50_000 });
        assert_eq!(memory.ask(), 1_000);
        assert_eq!(memory.heard(compacted(), at(3)), Some(History::default()));
        assert_eq!((memory.ask(), memory.heard(Ok(90_000), at(4))), (0, Some(History::default())));
        let away = StoreError::Unreachable { act: "look back", source: "away".into() };
        assert_eq!((memory.ask(), memory.heard(Err(away), at(5))), (90_000, None));
        let heard = memory.heard(Ok(91_000), at(5)).expect("an answer");
        assert_eq!(heard, History { age: Duration::from_secs(3600), revisions: 1_000 });
    }

    #[test]
    fn only_what_is_both_old_and_long_is_told() {
        let of = |hours: u64, revisions| History { age: Duration::from_secs(hours * 3600), revisions };
        assert!(of(3, 100_000).only_grows());
        assert!(!of(2, 10_000_000).only_grows(), "an hour is kept, and compacted every hour");
        assert!(!of(1_000, 99_999).only_grows(), "a store that nobody writes to keeps what it has");
    }
}

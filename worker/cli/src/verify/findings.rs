//! What the oracle found, in words and as JSON.

use std::fmt;

use serde::Serialize;

/// Examples of each kind of violation that are kept.
const EXAMPLES: usize = 20;

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Kind {
    /// Never done.
    Lost,
    /// Out of its key's order.
    Order,
    /// Two records of a key at once.
    DoubleHandling,
    /// Two owners of a shard at once.
    DoubleOwnership,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost records",
            Self::Order => "order violations",
            Self::DoubleHandling => "double handling",
            Self::DoubleOwnership => "double ownership",
        })
    }
}

/// How often a promise was broken, with examples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Broken {
    pub(crate) count: u64,
    pub(crate) examples: Vec<String>,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Findings {
    pub(crate) records: u64,
    pub(crate) done: u64,
    pub(super) keys: u64,
    /// Attempts that were begun.
    pub(crate) attempts: u64,
    /// Records that were begun again after they were done.
    pub(crate) duplicates: u64,
    /// Records that were dead-lettered, parked or skipped.
    pub(crate) set_aside: u64,
    /// Records that waited and were gone from the log before they could be handled: retention or compaction took them.
    pub(crate) gone: u64,
    /// Records that the last owner had read and not finished when the log ends: the next run handles them.
    pub(crate) unfinished: u64,
    /// Records that a member which had lost its shard could not recall, and cancelled when it found out.
    pub(super) late: u64,
    /// Tenures of shards.
    pub(crate) fences: u64,
    /// Lines that were cut off by a kill.
    pub(crate) torn: u64,
    pub(super) lost: Broken,
    pub(super) order: Broken,
    pub(super) double_handling: Broken,
    pub(super) double_ownership: Broken,
}

impl Findings {
    /// Whether every promise was kept.
    pub(crate) fn is_clean(&self) -> bool {
        self.kinds().iter().all(|(_, broken)| broken.count == 0)
    }

    /// Whether the logs say nothing at all: no shard ever had an owner.
    pub(super) fn is_empty(&self) -> bool {
        self.fences == 0
    }

    /// How many keys there were.
    pub(crate) fn keys(&self) -> u64 {
        self.keys
    }

    /// Whether order and ownership were kept, whatever is unfinished.
    pub(crate) fn order_is_kept(&self) -> bool {
        self.kinds().iter().all(|(kind, broken)| *kind == Kind::Lost || broken.count == 0)
    }

    pub(crate) fn as_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    pub(super) fn broken(&mut self, kind: Kind, example: impl FnOnce() -> String) {
        let broken = match kind {
            Kind::Lost => &mut self.lost,
            Kind::Order => &mut self.order,
            Kind::DoubleHandling => &mut self.double_handling,
            Kind::DoubleOwnership => &mut self.double_ownership,
        };
        broken.count += 1;
        if broken.examples.len() < EXAMPLES {
            broken.examples.push(example());
        }
    }

    fn kinds(&self) -> [(Kind, &Broken); 4] {
        [
            (Kind::Lost, &self.lost),
            (Kind::Order, &self.order),
            (Kind::DoubleHandling, &self.double_handling),
            (Kind::DoubleOwnership, &self.double_ownership),
        ]
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, count: u64| writeln!(f, "{name:<18}{count}");
        row("records", self.records)?;
        row("done", self.done)?;
        row("keys", self.keys)?;
        row("attempts", self.attempts)?;
        row("duplicates", self.duplicates)?;
        row("set aside", self.set_aside)?;
        row("gone", self.gone)?;
        row("unfinished", self.unfinished)?;
        row("cancelled late", self.late)?;
        row("tenures", self.fences)?;
        row("torn lines", self.torn)?;
        for (kind, broken) in self.kinds() {
            writeln!(f, "{:<18}{}", kind.to_string(), broken.count)?;
            for example in &broken.examples {
                writeln!(f, "  {example}")?;
            }
        }
        let verdict = match (self.is_clean(), self.is_empty()) {
            (true, true) => "nothing was recorded: there is nothing to judge",
            (true, false) => "every promise was kept",
            (false, _) => "promises were BROKEN",
        };
        f.write_str(verdict)
    }
}

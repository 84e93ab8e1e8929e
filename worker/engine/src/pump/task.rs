//! What a lane holds: a record and where it stands on its way.

use keyweir_core::{Attempt, Seq, Spilled};

use super::reading::Unfit;
use crate::record::Record;

/// A record in a lane.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) record: Record,
    pub(super) ticket: Ticket,
    /// Attempts that have failed.
    pub(super) failed: u32,
    /// It was in a batch that failed as a whole: it runs alone.
    pub(super) alone: bool,
    /// Why no handler sees it, where that is so.
    pub(super) unfit: Option<Box<Unfit>>,
}

/// What a record's completion means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticket {
    /// It is complete in its shard's ledger.
    Charged(Seq),
    /// It was parked and has been released: its parked copy goes.
    Replayed,
}

impl Task {
    /// Whether it has all its road before it.
    pub(super) fn is_untried(&self) -> bool {
        self.failed == 0 && self.unfit.is_none() && self.ticket != Ticket::Replayed
    }

    /// The attempt that would be made now.
    #[inline]
    pub(super) fn attempt(&self) -> Attempt {
        Attempt(self.failed + 1)
    }

    /// Where it can be read again; what is no longer in its shard's order can't.
    pub(super) fn place(&self) -> Option<Spilled> {
        match self.ticket {
            Ticket::Charged(seq) => {
                Some(Spilled { shard: self.record.shard, offset: self.record.offset, seq })
            }
            Ticket::Replayed => None,
        }
    }
}

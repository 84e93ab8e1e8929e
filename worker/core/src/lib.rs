//! The pure heart of a worker: what must hold, whatever the broker, the store or the handler do.
//!
//! No async, no I/O, no clock: time and seeds are arguments. A caller feeds it what happened and asks it what follows.
//!
//! # What holds, always
//!
//! - **No record is passed.** The frontier of a shard stands at or below its lowest unfinished record and never goes
//!   back. Frontier, completed set and outstanding records divide what was read: each record is in exactly one.
//! - **A checkpoint repeats no completed record.** Who goes on from one is given exactly those records that were not
//!   complete when it was written. One that is damaged, foreign or too new is refused, whatever its bytes.
//! - **A key has at most one record outstanding**, here or elsewhere, and its records run in their order; a hot key
//!   delays nobody but itself: of its last records only the places are kept where memory is short, and order holds.
//! - **What is held is what was taken and is not complete.** Intake stops at the limit, goes on a quarter below it, and
//!   never stops while nothing is held. A shard that stands still does not keep the others from going on.
//! - **Waits never shrink up to their cap**, whatever the attempt, and the last attempt is the last.
//! - **Nothing panics and nothing grows without a bound**: memory is for what is outstanding, not for what has passed.
//!
//! `tests/laws` states these as properties. Plain cases stand beside the code.
//!
//! # The map
//!
//! | room | what it decides |
//! |---|---|
//! | [`ids`] | what a record, a shard, a member and a tenure are called |
//! | [`ledger`] | which records of a shard are complete, and below which offset all are |
//! | [`ages`] | about when the records of a shard were written |
//! | [`ranges`] | what is complete above a frontier, as ranges of offsets |
//! | [`checkpoint`] | what survives a crash or a move, and which bytes are refused |
//! | [`budget`] | how much is held at once, and what of it each shard can count on |
//! | [`lanes`] | which record may run: one outstanding a key, fair among keys |
//! | [`rate`] | how soon the next record may start |
//! | [`retry`] | what follows a failed attempt, and after how long |
//! | [`lease`] | how sure a member may be of its lease, by its own clock |
//! | [`placement`] | which member should own which shard: of those that live, or by ordinal |
//! | [`slots`] | which member executes the records of a key, where keys are routed |

pub mod ages;
pub mod budget;
pub mod checkpoint;
pub mod ids;
pub mod lanes;
pub mod lease;
pub mod ledger;
pub mod placement;
pub mod ranges;
pub mod rate;
pub mod retry;
pub mod slots;

pub use ages::Ages;
pub use budget::{Budget, BudgetLimits, Held, Intake};
pub use checkpoint::{Checkpoint, DecodeError, FailedRecord};
pub use ids::{
    Attempt, Fence, MemberId, Offset, Ordinal, ParseIdError, Seq, ShardId, ShardIndex, UnixMillis,
};
pub use lanes::{LaneId, LaneKey, Lanes, Route, Spilled, Tail};
pub use lease::{LeaseClock, Standing};
pub use ledger::{Charge, Completion, Ledger};
pub use ranges::{OffsetRange, RangeSet};
pub use rate::{Permit, Rate};
pub use retry::{Backoff, Next};
pub use slots::{Slot, SlotMap};

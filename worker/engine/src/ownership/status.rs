//! What ownership says of itself: for readiness, metrics, status and tests. Up: [ownership](super).

use std::time::Duration;

use keyweir_core::{MemberId, Standing};
use tokio::time::Instant;

use super::history::History;
use crate::pump::Durations;

/// What ownership says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnershipSnapshot {
    /// The present incarnation; `None` = not joined.
    pub member: Option<MemberId>,
    /// How sure it is of its lease; `None` = it has none.
    pub standing: Option<Standing>,
    /// The TTL that the store granted.
    pub ttl: Duration,
    /// When the last renewal of the lease was asked for that was granted; `None` = there is no lease.
    pub renewed: Option<Instant>,
    /// Live members in the view.
    pub members: usize,
    /// Of those: others that are on their way out.
    pub leaving: usize,
    /// Whether no other live member has joined earlier; with static placement, whether none has owned its shards for longer.
    pub eldest: bool,
    /// Shards in the list.
    pub shards: usize,
    /// Shards that nobody owns.
    pub unowned: usize,
    /// Shards that are handled here.
    pub owned: usize,
    /// Shards that are on their way here or away.
    pub moving: usize,
    /// Shards of which records still execute here though another member owns them.
    pub departing: usize,
    /// Keys under the prefix that are not ours.
    pub foreign: usize,
    /// How far back the store's history goes; `None` = another member asks, or nobody knows yet.
    pub history: Option<History>,
    /// Why it is not content.
    pub hindrance: Option<Hindrance>,
    /// What has happened since the start.
    pub counters: OwnershipCounters,
    /// How long it took from winning a shard until it was handled here.
    pub opening_time: Durations,
}

/// Why ownership is not content, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    /// What it is about: `source`, `coordination` or `checkpoints`.
    pub about: &'static str,
    /// The stable word for conditions, metrics and logs.
    pub reason: &'static str,
    /// The whole chain of causes.
    pub text: String,
}

/// What has happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnershipCounters {
    /// Incarnations that joined.
    pub joins: u64,
    /// Leases that were lost.
    pub lost_leases: u64,
    /// Times at which dispatch was stopped because the lease was in doubt.
    pub freezes: u64,
    /// Listings of the whole object.
    pub listings: u64,
    /// Shards claimed.
    pub claims: u64,
    /// Claims that came too late.
    pub lost_claims: u64,
    /// Shards given up in order.
    pub releases: u64,
    /// Records handed over while they executed.
    pub handed_over: u64,
    /// Records taken over while they executed elsewhere.
    pub taken_over: u64,
}

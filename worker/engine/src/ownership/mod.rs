//! Ownership: which shards this process owns, found out with the other members over a [`LeaseStore`].
//!
//! ```text
//!                 ┌──────── listing, changes ────────┐
//!   LeaseStore ───┤                                  ▼
//!        ▲        └─ renewals ─▶ lease clock     View ──▶ placement ──▶ Plan ──▶ jobs ──▶ LeaseStore
//!        │                          │          (state, not edges)                 │
//!        └── keeper ◀── pulse ◀─────┴── freeze, thaw, abandon ──▶ Pumps ◀── own, release
//! ```
//!
//! * A member joins under a lease, lists the object once and watches it from there ([`session`]).
//! * What to do follows from the view alone ([`plan`]); whatever is in doubt is looked at again, never assumed.
//! * Members that order records differently never share them: where the earlier owner did, the next one begins when
//!   nothing executes there any more.
//! * A shard is owned by who created its owner key: the revision of that creation is the fence.
//! * A planned move: the target accepts; the owner stops, writes its last checkpoint, names what still executes
//!   ([`executing`]) and deletes its owner key in one transaction; the target claims.
//! * With static placement ([`ordinals`]) members don't watch each other: who owns what follows from ordinal, number of
//!   ordinals and shard list, and nobody takes over what another one has left. Fences and moves are the same.
//! * A lease in doubt stops dispatch, a lease about to end cancels what executes; then the member joins anew.
//!
//! What it may not do: spawn, know a vendor, or handle a record.

mod checkpoints;
mod executing;
mod history;
mod jobs;
mod join;
mod ordinals;
mod plan;
mod pumps;
mod roll;
mod session;
mod status;
pub mod values;
mod view;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use keyweir_contract::keys::{Key, ObjectPrefix};
use keyweir_core::{MemberId, Ordinal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use checkpoints::{LARGEST_CHECKPOINT, LeaseCheckpoints};
pub use history::History;
pub use pumps::Pumps;
pub use roll::{Neighbours, Roll};
pub use status::{Hindrance, OwnershipCounters, OwnershipSnapshot};
pub use view::{Seen, View};

use crate::error_chain;
use crate::ports::{LeaseId, LeaseStore, Pulse, StartAt};
use crate::pump::{Allowance, Departed, Ports};
use join::Joined;
use session::{End, Session};
use values::WireValue;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long at most until an ordinal is asked for again that somebody has: he may be dead, and his lease about to end.
const ORDINAL_WAIT: Duration = Duration::from_millis(500);

/// What a member is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the object's keys lie.
    pub prefix: ObjectPrefix,
    /// The object's uid, which tells two objects of one name apart; empty where there is no cluster.
    pub object_uid: String,
    /// The uid of the pod, or of the data directory: what all incarnations of this worker have in common.
    pub member_uid: String,
    /// By which rule it finds its shards.
    pub placing: Placing,
    /// No earlier incarnation of this worker can be alive (same container, or the lock of the data directory): their
    /// leases are revoked at once instead of waited for.
    pub sole_incarnation: bool,
    /// Where the wire between members reaches this one.
    pub address: Option<String>,
    /// Address and port at which it says what it does; `None` = nowhere.
    pub page: Option<String>,
    /// How records come to it from other owners; `None` = not at all.
    pub wire: Option<WireValue>,
    /// The share of the work beside the others'.
    pub capacity: u32,
    /// Where this member runs.
    pub zone: Option<String>,
    /// How long a silent member counts as alive.
    pub ttl: Duration,
    /// The version of this program.
    pub program: String,
    /// Where an object starts that has no checkpoint.
    pub start: StartAt,
    /// How often new shards are looked for.
    pub discovery: Duration,
    /// How long executing records may finish when the member leaves; read when it does.
    pub drain: watch::Receiver<Duration>,
    /// What is the same for members that put records into the same order; empty = it is not said.
    pub order: Arc<str>,
    /// The streams that the manifest names. One that no live member's manifest names leaves the shard list.
    pub streams: Vec<String>,
}

/// By which rule a member finds its shards.
#[derive(Debug, Clone)]
pub enum Placing {
    /// With all members that live.
    Dynamic,
    /// By its ordinal.
    Static {
        /// Its own: no other live member may have it.
        ordinal: Ordinal,
        /// How many ordinals share the shards.
        replicas: watch::Receiver<u32>,
    },
}

impl Settings {
    /// The incarnation that joins under a lease.
    fn member(&self, lease: LeaseId) -> MemberId {
        let incarnation = format_args!("{:x}", lease.0);
        match self.placing {
            Placing::Dynamic => MemberId::new(&self.member_uid, incarnation),
            Placing::Static { ordinal, .. } => ordinal.member(incarnation),
        }
    }

    /// Where that incarnation stands.
    fn member_key(&self, me: &MemberId) -> String {
        self.prefix.key(&match self.placing {
            Placing::Dynamic => Key::Member(me.to_string()),
            Placing::Static { ordinal, .. } => Key::Ordinal(ordinal.0),
        })
    }
}

/// One process's part in the ownership of an object's shards.
pub struct Owners {
    /// What it is told.
    pub settings: Settings,
    /// Where members meet.
    pub store: Arc<dyn LeaseStore>,
    /// The object's cold ports; its checkpoint store is [`LeaseCheckpoints`] over the same store and prefix.
    pub ports: Ports,
    /// Who does the work.
    pub pumps: Arc<dyn Pumps>,
    /// Whether source and handler work.
    pub healthy: watch::Receiver<bool>,
    /// Records that ended here after their shard was given up.
    pub departed: mpsc::Receiver<Departed>,
    /// Those who send records to other members, and execute theirs.
    pub neighbours: Neighbours,
    /// Tells the pumps until when they may dispatch.
    pub limit: watch::Sender<Option<Allowance>>,
    /// What it says of itself.
    pub status: watch::Sender<Arc<OwnershipSnapshot>>,
    /// Cancelled = hand everything over and end.
    pub leave: CancellationToken,
}

impl Owners {
    /// Takes part until it is told to leave, or until the pumps have ended. It outlives every loss of the store.
    pub async fn run(mut self) {
        let mut report = OwnershipSnapshot::default();
        let mut previous: Option<LeaseId> = None;
        let mut wait = FIRST_WAIT;
        loop {
            let pulse = Pulse::new();
            let leave = self.leave.clone();
            let joining = async {
                // Pumps that stand still own nothing.
                self.pumps.beats().next().await?;
                Some(join::join(self.store.as_ref(), &self.settings, &self.healthy, previous, &pulse).await)
            };
            let joined = tokio::select! {
                biased;
                // Leaving first: nothing is owned that would have to be handed over.
                () = leave.cancelled() => return,
                joined = joining => joined,
            };
            let Some(joined) = joined else {
                return;
            };
            match joined {
                Ok(joined) => {
                    wait = FIRST_WAIT;
                    report.counters.joins += 1;
                    previous = Some(joined.grant.lease);
                    match self.take_part(joined, pulse, &mut report).await {
                        End::Left | End::PumpsEnded => return,
                        End::Lost => {
                            report.counters.lost_leases += 1;
                            let (counters, opening_time) = (report.counters, report.opening_time);
                            report = OwnershipSnapshot { counters, opening_time, ..Default::default() };
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(reason = error.reason(), error = error_chain(&error), "not a member yet");
                    let (about, reason) = ("coordination", error.reason());
                    report.hindrance = Some(Hindrance { about, reason, text: error_chain(&error) });
                    self.status.send_replace(Arc::new(report.clone()));
                    let longest = if error.ends_by_itself() { ORDINAL_WAIT } else { LONGEST_WAIT };
                    tokio::select! {
                        biased;
                        () = leave.cancelled() => return,
                        () = tokio::time::sleep(wait.min(longest)) => wait = (wait * 2).min(LONGEST_WAIT),
                    }
                }
            }
        }
    }

    /// One incarnation, from its membership to its end.
    async fn take_part(&mut self, joined: Joined, pulse: Pulse, report: &mut OwnershipSnapshot) -> End {
        let lease = joined.grant.lease;
        tracing::info!(member = %joined.me, ttl = ?joined.grant.ttl, "joined");
        let end = Session::new(self, joined, pulse, report).run().await;
        match end {
            End::Left => tracing::info!("left"),
            End::Lost => tracing::warn!("the lease is lost: everything is given up, and joined anew"),
            End::PumpsEnded => tracing::warn!("the pumps have ended: leaving"),
        }
        // What still executes goes on elsewhere once the lease is gone: it must have ended here by then. With pumps that
        // have ended nothing is left to abandon.
        let _ = self.pumps.abandon().await;
        // What executes here for others has ended before they can see that this member is gone.
        self.neighbours.part().await;
        if end != End::Lost
            && let Err(error) = self.store.revoke(lease).await
        {
            tracing::warn!(error = error_chain(&error), "the lease is not revoked: it ends by itself");
        }
        end
    }
}

//! What a session does after each turn: watch over the lease, carry out the plan, tell what has ended. Up: the
//! [session](super).

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use keyweir_contract::keys::Key;
use keyweir_core::{ShardId, Standing};
use tokio::time::Instant;

use super::{End, Session};
use crate::opening::reset_among;
use crate::ownership::history;
use crate::ownership::jobs::{Giving, Job};
use crate::ownership::ordinals::Ordinals;
use crate::ownership::plan::{Accepting, Handing, Local, Situation};
use crate::ownership::values::write;
use crate::ports::Transaction;
use crate::pump::{Allowance, ReleaseMode, Released};

/// How long the view may take to show an accept.
const ACCEPT_SHOWS_WITHIN: Duration = Duration::from_secs(1);

impl Session<'_> {
    /// Does what is due.
    pub(super) async fn act(&mut self, now: Instant) -> Option<End> {
        if let Some(end) = self.watch_over_the_lease(now).await {
            return Some(end);
        }
        let view = &self.view;
        self.accepting.retain(|shard, accepting| {
            now < accepting.until && view.has_accepted(&self.desk.me, shard) != accepting.wanted
        });
        if self.discover_at.is_some_and(|at| at <= now) {
            self.discover();
        }
        if self.resets_at.is_some_and(|at| at <= now) {
            self.look_for_resets();
        }
        if self.look_back_at.is_some_and(|at| at <= now) {
            self.look_back(now);
        }
        self.forget_told(now);
        if self.value_due && !self.value_under_way {
            self.write_member();
        }
        let local = &self.local;
        let told = self.departing.take_due(now, |shard| is_releasing(local, shard));
        if !told.is_empty() {
            self.start(self.desk.clone().tell(told));
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            self.carry_out_the_plan(now);
        }
        self.has_left(now).then_some(End::Left)
    }

    /// A lease in doubt stops dispatch; one that is about to end ends the session.
    async fn watch_over_the_lease(&mut self, now: Instant) -> Option<End> {
        let clock = self.renewals.clock();
        self.limit.send_if_modified(|limit| {
            let allowance = Some(Allowance::of(&clock));
            std::mem::replace(limit, allowance) != allowance
        });
        let standing = clock.standing(now.into_std());
        let before = std::mem::replace(&mut self.standing, standing);
        let told = match (before, standing) {
            (_, Standing::Failing | Standing::Lost) => return Some(End::Lost),
            (Standing::Held, Standing::Doubtful) => {
                tracing::warn!("no renewal is acknowledged: nothing new is started");
                self.report.counters.freezes += 1;
                self.pumps.freeze().await
            }
            (Standing::Doubtful, Standing::Held) => {
                tracing::info!("the lease is renewed again");
                self.pumps.thaw().await
            }
            _ => Ok(()),
        };
        told.is_err().then_some(End::PumpsEnded)
    }

    fn discover(&mut self) {
        self.discover_at = None;
        let source = self.desk.ports.source.clone();
        self.start(async move { Job::Discovered(source.shards().await) });
    }

    /// Somebody's reset of the group's offset is honoured while the shard is owned, too.
    fn look_for_resets(&mut self) {
        self.resets_at = None;
        let owned = self.local.iter().filter(|(_, local)| matches!(local, Local::Owned(_)));
        let owned: Vec<ShardId> = owned.map(|(shard, _)| shard.clone()).collect();
        let source = self.desk.ports.source.clone();
        self.start(async move { Job::Resets(reset_among(source.as_ref(), owned).await) });
    }

    /// One member asks for all, and the others begin to ask when it is gone.
    fn look_back(&mut self, now: Instant) {
        let asks = self.ordinals.as_ref().map_or(self.report.eldest, Ordinals::is_first);
        if !asks {
            self.report.history = None;
            self.look_back_at = Some(now + history::LOOK);
            return;
        }
        self.look_back_at = None;
        let (store, since) = (self.desk.store.clone(), self.memory.ask());
        let key = self.desk.prefix.key(&Key::Object);
        self.start(async move {
            let asked = Instant::now();
            Job::LookedBack { asked, answer: store.keeps(&key, since).await }
        });
    }

    /// Shards that were reset are given up, to be opened where the reset says.
    pub(super) fn reset(&mut self, shards: Vec<ShardId>) {
        let mut given = Vec::new();
        for shard in shards {
            if let Some(Local::Owned(fence)) = self.local.get(&shard) {
                tracing::info!(%shard, "the group offset was reset: opening the shard anew");
                given.push((shard, *fence, Handing::ToNobody));
            }
        }
        self.give_up(given);
    }

    fn forget_told(&mut self, now: Instant) {
        let owned = self.local.iter().filter(|(_, local)| matches!(local, Local::Owned(_)));
        let due = self.told.take_due(&self.view, owned.map(|(shard, _)| shard), now);
        if !due.is_empty() {
            self.start(self.desk.clone().forget_told(due));
        }
    }

    fn write_member(&mut self) {
        self.value_due = false;
        self.value_under_way = true;
        let key = self.settings.member_key(&self.desk.me);
        let put = Transaction::new().put(key, write(&self.value), self.desk.lease);
        let store = self.desk.store.clone();
        self.start(async move { Job::Wrote(store.commit(put).await) });
    }

    fn carry_out_the_plan(&mut self, now: Instant) {
        if let Some(ordinals) = &mut self.ordinals {
            ordinals.place(self.view.list());
        }
        let situation = Situation {
            view: &self.view,
            me: &self.desk.me,
            local: &self.local,
            opened: &self.opened,
            accepting: &self.accepting,
            leaving: self.leaving,
        };
        let plan = match &self.ordinals {
            None => situation.plan(&mut self.unclaimed, now),
            Some(ordinals) => situation.plan_by_ordinal(ordinals, *self.healthy.borrow()),
        };
        (self.report.unowned, self.report.shards) = (plan.unowned, plan.shards);
        if let Some(at) = plan.wake {
            self.look_by(at);
        }
        if !plan.accept.is_empty() || !plan.withdraw.is_empty() {
            self.note_accepts(&plan.accept, true, now);
            self.note_accepts(&plan.withdraw, false, now);
            self.start(self.desk.clone().accept(plan.accept, plan.withdraw));
        }
        // One claim at a time: what becomes free meanwhile shares the next one.
        if !self.claim_under_way && !plan.claim.is_empty() {
            self.claim_under_way = true;
            for shard in &plan.claim {
                self.local.insert(shard.clone(), Local::Claiming);
            }
            self.start(self.desk.clone().claim(plan.claim));
        }
        if !plan.adopt.is_empty() {
            for (shard, created) in &plan.adopt {
                tracing::info!(%shard, created, "an owner key of ours whose claim was not answered: taking it up");
                self.local.insert(shard.clone(), Local::Claiming);
            }
            self.start(self.desk.clone().adopt(plan.adopt));
        }
        self.give_up(plan.release);
    }

    fn note_accepts(&mut self, shards: &[ShardId], wanted: bool, now: Instant) {
        let until = now + ACCEPT_SHOWS_WITHIN;
        self.accepting.extend(shards.iter().map(|shard| (shard.clone(), Accepting { wanted, until })));
    }

    /// Asks the pumps for these shards, then writes their release. Those that wait for what executes go alone.
    fn give_up(&mut self, shards: Vec<(ShardId, keyweir_core::Fence, Handing)>) {
        let mut together = Vec::new();
        for (shard, fence, handing) in shards {
            if self.departing.is_writing(&shard) {
                // Two writes of one key could change places: first the one that is under way.
                self.look_soon();
                continue;
            }
            let known = self.local.insert(shard.clone(), Local::Releasing(fence));
            self.elsewhere.forget(&shard);
            self.waiting.remove(&shard);
            let mode = match handing {
                Handing::Over => ReleaseMode::HandOver,
                Handing::ToNobody => ReleaseMode::Drain,
            };
            let left = self.departing.left_of(&shard);
            let pumps = (!matches!(known, Some(Local::Opening(_)))).then(|| self.pumps.clone());
            let ask = async move {
                let released = match pumps {
                    Some(pumps) => pumps.release(shard.clone(), mode).await.ok()?,
                    // The pumps never had it.
                    None => Released { checkpoint: None, executing: Vec::new() },
                };
                Some(Giving { shard, fence, released, save: handing == Handing::Over, left })
            };
            match handing {
                Handing::Over => together.push(ask),
                Handing::ToNobody => {
                    let desk = self.desk.clone();
                    self.start(async move { desk.release(ask.await.into_iter().collect()).await });
                }
            }
        }
        if !together.is_empty() {
            let desk = self.desk.clone();
            self.start(async move {
                let giving = join_all(together).await;
                desk.release(giving.into_iter().flatten().collect()).await
            });
        }
    }

    fn has_left(&self, now: Instant) -> bool {
        let Some(leave_by) = self.leave_by else {
            return false;
        };
        let handed_over = self.local.values().all(|local| !local.is_held()) && self.departing.is_quiet();
        let empty = handed_over && !self.neighbours.is_hosting();
        if !empty && leave_by <= now {
            tracing::warn!("the drain time is over: what is left goes with the lease");
        }
        empty || leave_by <= now
    }
}

/// Whether a shard is just being given up.
pub(super) fn is_releasing(local: &HashMap<ShardId, Local>, shard: &ShardId) -> bool {
    matches!(local.get(shard), Some(Local::Releasing(_)))
}

//! The plan: what one member should do next, from its view and its own state. Pure. Up: [ownership](super).
//!
//! ```text
//!  the view says            and I am the target              and I am not
//!  nobody owns it           claim                            wait; after 500 ms for each rank before mine: claim
//!  another owns it          accept                           withdraw my accept
//!  I own it                 nothing (adopt it, if its claim  release it once the target has accepted
//!                           was answered by silence)
//! ```
//! Under one fence a shard is opened once. An owner key of ours under which the pumps have had the shard before is
//! given up and claimed anew: what was handled since its last checkpoint is handled again under a newer fence, as
//! after a crash, and never behind the back of those who saw the old one.

mod by_ordinal;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use keyweir_core::placement::{Placeable, Rules, rank};
use keyweir_core::{Fence, MemberId, ShardId};
use tokio::time::Instant;

use super::view::View;

/// How long each member in rank has to claim a shard that nobody owns.
const CLAIM_WITHIN: Duration = Duration::from_millis(500);

/// What this member is doing with a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Local {
    /// Its owner key is being created.
    Claiming,
    /// Its owner key is ours; where it starts is being found out.
    Opening(Fence),
    /// The pump has it.
    Owned(Fence),
    /// It is being given up.
    Releasing(Fence),
    /// It was given up: wait until the view no longer shows that tenure.
    GivenUp(Fence),
    /// Somebody else created its owner key at that revision: wait until the view is there.
    LostTo(u64),
}

impl Local {
    /// Whether the shard is ours, or about to be.
    pub(super) fn is_held(self) -> bool {
        matches!(self, Self::Claiming | Self::Opening(_) | Self::Owned(_) | Self::Releasing(_))
    }

    /// Whether the view has nothing more to say about it.
    pub(super) fn is_settled(self, shard: &ShardId, view: &View) -> bool {
        match self {
            Self::GivenUp(fence) => view.owner(shard).is_none_or(|owner| owner.created != fence.revision),
            Self::LostTo(revision) => view.revision() >= revision,
            Self::Claiming | Self::Opening(_) | Self::Owned(_) | Self::Releasing(_) => false,
        }
    }

    /// Whether the view says that its owner key is gone, though we did not delete it.
    pub(super) fn is_gone(self, shard: &ShardId, view: &View) -> bool {
        match self {
            Self::Opening(fence) | Self::Owned(fence) => {
                view.revision() >= fence.revision
                    && view.owner(shard).is_none_or(|owner| owner.created != fence.revision)
            }
            Self::Claiming | Self::Releasing(_) | Self::GivenUp(_) | Self::LostTo(_) => false,
        }
    }
}

/// How far this member is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    /// From then on shards are given up even if nobody has accepted them.
    pub(super) impatient_at: Instant,
}

/// An accept that is on its way to the store and back into the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepting {
    /// Whether it is written or withdrawn.
    pub(super) wanted: bool,
    /// When to stop waiting for the view to show it.
    pub(super) until: Instant,
}

/// To whom a shard is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handing {
    /// Others go on with it at once; what executes here goes on here.
    Over,
    /// There is nobody: what executes ends first.
    ToNobody,
}

/// What to do next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) accept: Vec<ShardId>,
    pub(super) withdraw: Vec<ShardId>,
    pub(super) claim: Vec<ShardId>,
    /// Owner keys of ours that we know nothing of, with the revision of their creation.
    pub(super) adopt: Vec<(ShardId, u64)>,
    pub(super) release: Vec<(ShardId, Fence, Handing)>,
    /// Shards that nobody owns.
    pub(super) unowned: usize,
    /// Shards that there are.
    pub(super) shards: usize,
    /// When to look again, even if nothing changes.
    pub(super) wake: Option<Instant>,
}

/// Since when shards have no owner, as this member sees it. Kept from one plan to the next.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    since: HashMap<ShardId, Instant>,
}

/// What a plan is made from, besides the time.
pub(super) struct Situation<'a> {
    pub(super) view: &'a View,
    pub(super) me: &'a MemberId,
    pub(super) local: &'a HashMap<ShardId, Local>,
    /// The newest fence under which the pumps have had each shard.
    pub(super) opened: &'a HashMap<ShardId, Fence>,
    /// Accepts that are being written or withdrawn.
    pub(super) accepting: &'a HashMap<ShardId, Accepting>,
    pub(super) leaving: Option<Leaving>,
}

impl Situation<'_> {
    /// What this member should do next.
    pub(super) fn plan(&self, unclaimed: &mut Unclaimed, now: Instant) -> Plan {
        let mut plan = Plan::default();
        if !self.view.members().contains_key(self.me) {
            // Not a member yet, as the others see it.
            return plan;
        }
        let candidates = self.view.candidates();
        let shards = self.view.placeables();
        let targets = Rules::agreed(&candidates).place(&candidates, &shards);
        let mut wanted = HashSet::new();
        let mut free = HashSet::new();
        for (shard, target) in shards.iter().zip(&targets) {
            let mine = target.as_ref() == Some(self.me);
            match &shard.owner {
                None => {
                    let place = || {
                        let ranked = rank(&candidates, &shard.id);
                        let others = ranked.iter().filter(|member| Some(*member) != target.as_ref());
                        others.into_iter().position(|member| member == self.me)
                    };
                    let since = *unclaimed.since.entry(shard.id.clone()).or_insert(now);
                    free.insert(shard.id.clone());
                    self.plan_free(&mut plan, &shard.id, mine, since, now, place);
                }
                Some(owner) if owner == self.me => {
                    self.plan_mine(&mut plan, &shard.id, |plan| {
                        self.handing(plan, &shard.id, target.as_ref(), now)
                    });
                }
                Some(_) if mine => {
                    wanted.insert(shard.id.clone());
                    self.plan_accept(&mut plan, &shard.id);
                }
                Some(_) => {}
            }
        }
        self.plan_unlisted(&mut plan, &shards);
        (plan.unowned, plan.shards) = (free.len(), shards.len());
        unclaimed.since.retain(|shard, _| free.contains(shard));
        self.plan_withdrawals(&mut plan, |shard| wanted.contains(shard) || free.contains(shard));
        plan
    }

    /// Another one owns it, and it should be ours.
    fn plan_accept(&self, plan: &mut Plan, shard: &ShardId) {
        let accepted = self.view.has_accepted(self.me, shard) || self.accepting.contains_key(shard);
        if !accepted && !self.local.contains_key(shard) {
            plan.accept.push(shard.clone());
        }
    }

    /// What was accepted and should not be ours any more.
    fn plan_withdrawals(&self, plan: &mut Plan, is_wanted: impl Fn(&ShardId) -> bool) {
        let stale = |shard: &&ShardId| !is_wanted(shard) && !self.accepting.contains_key(*shard);
        plan.withdraw = self.view.accepts_of(self.me).filter(stale).cloned().collect();
    }

    /// What has left the list is given up: nobody is to go on with it.
    fn plan_unlisted(&self, plan: &mut Plan, listed: &[Placeable]) {
        if self.view.list().is_none() {
            return;
        }
        for (shard, local) in self.local {
            if let Local::Owned(fence) | Local::Opening(fence) = local
                && listed.binary_search_by(|known| known.id.cmp(shard)).is_err()
            {
                plan.release.push((shard.clone(), *fence, Handing::ToNobody));
            }
        }
    }

    /// Nobody owns it, and it should be ours.
    fn plan_claim(&self, plan: &mut Plan, shard: &ShardId) {
        if !self.local.contains_key(shard) {
            plan.claim.push(shard.clone());
        }
    }

    /// Nobody owns it.
    fn plan_free(
        &self,
        plan: &mut Plan,
        shard: &ShardId,
        mine: bool,
        since: Instant,
        now: Instant,
        place: impl Fn() -> Option<usize>,
    ) {
        if self.local.contains_key(shard) {
            return;
        }
        if mine {
            self.plan_claim(plan, shard);
            return;
        }
        // Looking at every rank costs a sort: not before the first turn can have come.
        if now < since + CLAIM_WITHIN {
            wake(plan, since + CLAIM_WITHIN);
            return;
        }
        let Some(place) = place() else {
            return;
        };
        let turn = since + CLAIM_WITHIN * u32::try_from(place + 1).unwrap_or(u32::MAX);
        if now >= turn {
            plan.claim.push(shard.clone());
        } else {
            wake(plan, turn);
        }
    }

    /// To whom a shard of this member should go now; `None` = it stays.
    fn handing(
        &self,
        plan: &mut Plan,
        shard: &ShardId,
        target: Option<&MemberId>,
        now: Instant,
    ) -> Option<Handing> {
        match target {
            Some(target) if target == self.me => None,
            Some(target) if self.view.has_accepted(target, shard) => Some(Handing::Over),
            Some(_) => self.leaving.and_then(|leaving| {
                if now >= leaving.impatient_at {
                    return Some(Handing::Over);
                }
                wake(plan, leaving.impatient_at);
                None
            }),
            None => self.leaving.map(|_| Handing::ToNobody),
        }
    }

    /// The view says that this member owns it.
    fn plan_mine(
        &self,
        plan: &mut Plan,
        shard: &ShardId,
        handing: impl FnOnce(&mut Plan) -> Option<Handing>,
    ) {
        match self.local.get(shard) {
            None => {
                let Some(created) = self.view.owner(shard).map(|seen| seen.created) else {
                    return;
                };
                match self.opened.get(shard).filter(|fence| fence.revision == created) {
                    Some(fence) => plan.release.push((shard.clone(), *fence, Handing::ToNobody)),
                    None => plan.adopt.push((shard.clone(), created)),
                }
            }
            Some(Local::Owned(fence) | Local::Opening(fence)) => {
                if let Some(handing) = handing(plan) {
                    plan.release.push((shard.clone(), *fence, handing));
                }
            }
            Some(Local::Claiming | Local::Releasing(_) | Local::GivenUp(_) | Local::LostTo(_)) => {}
        }
    }
}

fn wake(plan: &mut Plan, at: Instant) {
    plan.wake = Some(plan.wake.map_or(at, |wake| wake.min(at)));
}

#[cfg(test)]
mod tests {
    use keyweir_contract::keys::ObjectPrefix;

    use super::*;
    use crate::ownership::values::{FORM, MemberValue, OwnerValue, ShardListValue, write};
    use crate::ports::{Entry, Listing};

    fn entry(key: &str, value: bytes::Bytes, revision: u64) -> Entry {
        let key = format!("/kw/shop/orders/live/{key}");
        Entry { key, value, create_revision: revision, mod_revision: revision, lease: None }
    }

    /// One member, which owns one shard since revision 3.
    fn view(me: &MemberId) -> View {
        let member = MemberValue {
            form: FORM,
            address: None,
            capacity: 1,
            zone: None,
            healthy: true,
            leaving: false,
            rules: Rules::NEWEST,
            program: "0.1.0".into(),
            since: 0,
            streams: None,
            wire: None,
            worker: None,
            page: None,
        };
        let owner = OwnerValue { form: FORM, member: me.clone(), since: 0 };
        let list = ShardListValue::grown(&ShardListValue::default(), &[ShardId::new("orders", 0)]);
        let entries = vec![
            entry(&format!("members/{me}"), write(&member), 1),
            entry("shards", write(&list.expect("it has grown")), 2),
            entry("owners/orders/0", write(&owner), 3),
        ];
        let mut view = View::new(ObjectPrefix::new("kw", "shop", "orders"));
        view.replace(&Listing { revision: 3, entries });
        view
    }

    fn plan_of(opened: &HashMap<ShardId, Fence>) -> Plan {
        let me = MemberId::new("pod-1", 1);
        let view = view(&me);
        let (local, accepting) = (HashMap::new(), HashMap::new());
        let situation =
            Situation { view: &view, me: &me, local: &local, opened, accepting: &accepting, leaving: None };
        situation.plan(&mut Unclaimed::default(), Instant::now())
    }

    #[test]
    fn an_owner_key_that_we_know_nothing_of_is_adopted_once() {
        let shard = ShardId::new("orders", 0);
        let unknown = plan_of(&HashMap::new());
        assert_eq!((unknown.adopt, unknown.release), (vec![(shard.clone(), 3)], vec![]));
        let older = plan_of(&HashMap::from([(shard.clone(), Fence::new(1, 2))]));
        assert_eq!((older.adopt, older.release), (vec![(shard.clone(), 3)], vec![]));
        let fence = Fence::new(1, 3);
        let known = plan_of(&HashMap::from([(shard.clone(), fence)]));
        assert_eq!((known.adopt, known.release), (vec![], vec![(shard, fence, Handing::ToNobody)]));
    }
}

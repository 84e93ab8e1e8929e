//! The plan where placement is static. Part of the [plan](super).
//!
//! ```text
//!  the view says            and it belongs to my ordinal     and to another one
//!  nobody owns it           claim                            nothing: it waits for its ordinal
//!  another owns it          accept, while I am well          withdraw my accept
//!  I own it                 nothing                          release it once that ordinal has accepted
//! ```
//! Who leaves hands over at once, whoever comes next: mostly its own next incarnation.

use std::collections::HashSet;

use keyweir_core::placement::Placeable;

use super::{Handing, Plan, Situation};
use crate::ownership::ordinals::Ordinals;

impl Situation<'_> {
    /// What this member should do next. Accepts are for members that are well: whoever owns a shard now serves it better
    /// than one that can't.
    pub(in crate::ownership) fn plan_by_ordinal(&self, ordinals: &Ordinals, well: bool) -> Plan {
        let mut plan = Plan::default();
        let shards = self.view.placeables();
        let stays = self.leaving.is_none();
        let mut wanted = HashSet::new();
        for shard in &shards {
            let mine = stays && ordinals.target(&shard.id) == Some(ordinals.me());
            match &shard.owner {
                None => {
                    plan.unowned += 1;
                    if mine {
                        wanted.insert(&shard.id);
                        self.plan_claim(&mut plan, &shard.id);
                    }
                }
                Some(owner) if owner == self.me => {
                    self.plan_mine(&mut plan, &shard.id, |_| self.handing_by_ordinal(shard, ordinals));
                }
                // An earlier incarnation of this worker has nobody to hand over to: its lease ends.
                Some(owner) if mine && well && !ordinals.me().is_of(owner) => {
                    wanted.insert(&shard.id);
                    self.plan_accept(&mut plan, &shard.id);
                }
                Some(_) => {}
            }
        }
        self.plan_unlisted(&mut plan, &shards);
        plan.shards = shards.len();
        self.plan_withdrawals(&mut plan, |shard| wanted.contains(shard));
        plan
    }

    fn handing_by_ordinal(&self, shard: &Placeable, ordinals: &Ordinals) -> Option<Handing> {
        let target = ordinals.target(&shard.id).filter(|target| *target != ordinals.me());
        let accepted = target.is_some_and(|target| shard.accepted.iter().any(|member| target.is_of(member)));
        (accepted || self.leaving.is_some()).then_some(Handing::Over)
    }
}

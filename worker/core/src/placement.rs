//! Placement: which member should own which shard, as a pure function of one view.
//!
//! ```text
//!   members ──weights──▶ quotas ──▶ owners keep what fits ──▶ accepts ──▶ the rest, by zone and rendezvous
//!   shards, owners ──────────────────────▲
//! ```
//! Every member computes it from the same view and finds the same answer, whatever the order of its lists: no
//! leader is needed. One round reaches a fixed point: placing what was just placed moves nothing. Who acts on it,
//! and when a shard may really change hands, is for others to decide. Up: the [crate map](crate).

mod ordinals;
mod quota;

use std::collections::HashMap;
use std::sync::Arc;

use keyweir_contract::hash::fnv1a;

use crate::ids::{MemberId, ShardId};
pub use ordinals::by_ordinal;
use quota::Quotas;

/// A member as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which member.
    pub id: MemberId,
    /// Its share of the work beside the others' capacities; 0 counts as 1.
    pub capacity: u32,
    /// Where it runs, if that is known.
    pub zone: Option<Arc<str>>,
    /// It is on its way out: it keeps nothing and gets nothing.
    pub leaving: bool,
    /// Its source and handler work. Else it gets nothing, unless nobody's do.
    pub healthy: bool,
    /// The newest rules it knows.
    pub rules: u32,
}

/// A shard as placement sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeable {
    /// Which shard.
    pub id: ShardId,
    /// Where its data lies, if that is known: members of the same zone are preferred.
    pub zone: Option<Arc<str>>,
    /// Who owns it now.
    pub owner: Option<MemberId>,
    /// Who said to be ready to take it.
    pub accepted: Vec<MemberId>,
}

/// A version of the rules. All members of an object must apply the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rules {
    /// Sticky, bounded by the quota, ties by rendezvous hash.
    V1,
}

impl Rules {
    /// The newest rules that this program knows, as members tell each other.
    pub const NEWEST: u32 = 1;

    /// The newest rules that all of these members know. Members newer than this program count as its own age:
    /// they know the older rules too.
    #[must_use]
    pub fn agreed(members: &[Candidate]) -> Self {
        match members.iter().map(|member| member.rules).min() {
            // One version so far: there is nothing older to fall back to.
            None | Some(_) => Self::V1,
        }
    }

    /// Who should own each of `shards`, in their order; `None` = nobody may (all are leaving, or there is none).
    ///
    /// No member gets more than its share by capacity, rounded up. An owner keeps its shards up to its quota;
    /// only the surplus, what leavers hold and what nobody owns is given away, so that no other placement within
    /// the quotas moves less.
    #[must_use]
    pub fn place(self, members: &[Candidate], shards: &[Placeable]) -> Vec<Option<MemberId>> {
        let Self::V1 = self;
        let members = eligible(members);
        if members.is_empty() {
            return vec![None; shards.len()];
        }
        Round::new(&members, shards).finish(&members)
    }
}

/// The members that may own this shard, best first: who is asked when the first in rank does not come.
#[must_use]
pub fn rank(members: &[Candidate], shard: &ShardId) -> Vec<MemberId> {
    let hash = hash_shard(shard);
    let mut members = eligible(members);
    members.sort_by(|one, other| {
        let (one_score, other_score) =
            (score(hash_member(&one.id), hash), score(hash_member(&other.id), hash));
        other_score.cmp(&one_score).then_with(|| one.id.cmp(&other.id))
    });
    members.into_iter().map(|member| member.id.clone()).collect()
}

/// The members that may own shards, in the one order that does not depend on the view's.
pub(crate) fn eligible(members: &[Candidate]) -> Vec<&Candidate> {
    let mut staying: Vec<_> = members.iter().filter(|member| !member.leaving).collect();
    if staying.iter().any(|member| member.healthy) {
        staying.retain(|member| member.healthy);
    }
    staying.sort_by(|one, other| one.id.cmp(&other.id));
    staying.dedup_by(|one, other| one.id == other.id);
    staying
}

/// One placement being made.
struct Round<'a> {
    shards: &'a [Placeable],
    /// Indexes of shards in the one order that does not depend on the view's.
    order: Vec<usize>,
    hashes: Vec<u64>,
    member_hashes: Vec<u64>,
    places: HashMap<&'a MemberId, usize>,
    room: Vec<usize>,
    /// Shard index to member index.
    target: Vec<Option<usize>>,
}

impl<'a> Round<'a> {
    fn new(members: &[&'a Candidate], shards: &'a [Placeable]) -> Self {
        let mut order: Vec<usize> = (0..shards.len()).collect();
        order.sort_by(|one, other| shards[*one].id.cmp(&shards[*other].id));
        Self {
            shards,
            order,
            hashes: shards.iter().map(|shard| hash_shard(&shard.id)).collect(),
            member_hashes: members.iter().map(|member| hash_member(&member.id)).collect(),
            places: members.iter().enumerate().map(|(place, member)| (&member.id, place)).collect(),
            room: Vec::new(),
            target: vec![None; shards.len()],
        }
    }

    fn finish(mut self, members: &[&Candidate]) -> Vec<Option<MemberId>> {
        let owned = self.owned(members.len());
        let salt = self.order.first().map_or(0, |first| self.hashes[*first]);
        let ties: Vec<u64> = self.member_hashes.iter().map(|member| score(*member, salt)).collect();
        let counts: Vec<usize> = owned.iter().map(Vec::len).collect();
        let capacities: Vec<u32> = members.iter().map(|member| member.capacity.max(1)).collect();
        self.room = Quotas::new(&capacities, self.shards.len()).give(&counts, &ties);
        self.keep(owned);
        self.honour_accepts();
        self.give_away(members);
        self.target.iter().map(|target| target.map(|place| members[place].id.clone())).collect()
    }

    /// The shards of each eligible member.
    fn owned(&self, members: usize) -> Vec<Vec<usize>> {
        let mut owned = vec![Vec::new(); members];
        for &shard in &self.order {
            if let Some(&place) = self.shards[shard].owner.as_ref().and_then(|owner| self.places.get(owner)) {
                owned[place].push(shard);
            }
        }
        owned
    }

    /// Owners keep what fits, those first that the hash would give them.
    fn keep(&mut self, owned: Vec<Vec<usize>>) {
        for (place, mut shards) in owned.into_iter().enumerate() {
            let member = self.member_hashes[place];
            // The sort is stable: equal scores stay in the order of the shards' names.
            shards.sort_by_key(|shard| std::cmp::Reverse(score(member, self.hashes[*shard])));
            shards.truncate(self.room[place]);
            self.room[place] -= shards.len();
            for shard in shards {
                self.target[shard] = Some(place);
            }
        }
    }

    /// A shard on its way stays on its way, where there is room.
    fn honour_accepts(&mut self) {
        for position in 0..self.order.len() {
            let shard = self.order[position];
            if self.target[shard].is_some() {
                continue;
            }
            let ready =
                self.shards[shard].accepted.iter().filter_map(|member| self.places.get(member).copied());
            let ready: Vec<usize> = ready.collect();
            self.settle(shard, ready.into_iter());
        }
    }

    /// What is left goes to members with room: those in the shard's zone before others.
    fn give_away(&mut self, members: &[&Candidate]) {
        for position in 0..self.order.len() {
            let shard = self.order[position];
            if self.target[shard].is_some() {
                continue;
            }
            if let Some(zone) = &self.shards[shard].zone {
                let near =
                    members.iter().enumerate().filter(|(_, member)| member.zone.as_ref() == Some(zone));
                let near: Vec<usize> = near.map(|(place, _)| place).collect();
                self.settle(shard, near.into_iter());
            }
            if self.target[shard].is_none() {
                self.settle(shard, 0..members.len());
            }
        }
    }

    /// Gives a shard to the best of these members that has room.
    fn settle(&mut self, shard: usize, among: impl Iterator<Item = usize>) {
        let hash = self.hashes[shard];
        let free = among.filter(|place| self.room[*place] > 0);
        let best =
            free.max_by_key(|place| (score(self.member_hashes[*place], hash), std::cmp::Reverse(*place)));
        if let Some(place) = best {
            self.room[place] -= 1;
            self.target[shard] = Some(place);
        }
    }
}

/// How much a shard leans to a member: the same number in every program, for ever.
pub(crate) fn score(member: u64, shard: u64) -> u64 {
    mix(member ^ mix(shard))
}

/// By the uid: a worker that restarts leans to the shards it had.
pub(crate) fn hash_member(member: &MemberId) -> u64 {
    hash_bytes(member.uid().bytes())
}

fn hash_shard(shard: &ShardId) -> u64 {
    hash_bytes(shard.stream.bytes().chain(shard.index.to_le_bytes()))
}

/// FNV-1a, then mixed: its low bits alone are not even enough.
fn hash_bytes(bytes: impl Iterator<Item = u8>) -> u64 {
    mix(fnv1a(bytes))
}

/// The finalizer of splitmix64: every input bit reaches every output bit.
pub(crate) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

//! Slots: which member executes the records of a key, where keys are routed.
//!
//! ```text
//!   key ──hash──▶ one of 4096 slots ──rendezvous, by capacity──▶ member
//! ```
//! A slot belongs to nobody for longer than a record takes: nothing has to be remembered or handed over, so the map is
//! a function of the members alone. Its price is that shares are even only on the average; what it buys is the least
//! movement there is: a member that comes takes its share, one that goes gives its own, nothing else moves. Who may
//! execute at all follows the rules of [`placement`](crate::placement). Up: the [crate map](crate).

use keyweir_contract::hash::fnv1a;

use crate::ids::MemberId;
use crate::placement::{Candidate, eligible, hash_member, mix, score};

/// How many slots there are: fixed, so that every member of every version finds the same one.
pub const SLOTS: usize = 4096;

/// Capacities above this count as this: a slot costs one hash for each unit.
const MOST_CAPACITY: u32 = 64;

/// One hash range of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a key by its hash, see [`key_hash`].
    #[inline]
    #[must_use]
    pub fn of(key_hash: u64) -> Self {
        Self((mix(key_hash) % SLOTS as u64) as u16)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS as u16).map(Self)
    }
}

/// The hash of a key: the same in every version. Event logs name keys by it too.
#[inline]
#[must_use]
pub fn key_hash(key: &[u8]) -> u64 {
    fnv1a(key.iter().copied())
}

/// Who executes what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotMap {
    members: Vec<MemberId>,
    /// Slot to member; empty = there is nobody.
    places: Vec<u16>,
}

impl SlotMap {
    /// The map of these members, whatever their order.
    #[must_use]
    pub fn place(members: &[Candidate]) -> Self {
        let mut members = eligible(members);
        members.truncate(usize::from(u16::MAX));
        let hashes: Vec<(u64, u64)> = members
            .iter()
            .map(|member| (hash_member(&member.id), u64::from(member.capacity.clamp(1, MOST_CAPACITY))))
            .collect();
        let places = match hashes.len() {
            0 => Vec::new(),
            _ => Slot::all().map(|slot| best(slot, &hashes)).collect(),
        };
        Self { members: members.into_iter().map(|member| member.id.clone()).collect(), places }
    }

    /// Who executes the records of a slot; `None` = there is nobody.
    #[inline]
    #[must_use]
    pub fn member(&self, slot: Slot) -> Option<&MemberId> {
        self.members.get(usize::from(*self.places.get(usize::from(slot.0))?))
    }

    /// All who execute anything.
    #[must_use]
    pub fn members(&self) -> &[MemberId] {
        &self.members
    }
}

/// The member with the highest score; each unit of capacity is one more chance.
fn best(slot: Slot, members: &[(u64, u64)]) -> u16 {
    let chance = |turn: u64| mix((u64::from(slot.0) << 32) | turn);
    let highest = |(hash, capacity): &(u64, u64)| (0..*capacity).map(|turn| score(*hash, chance(turn))).max();
    let scores = members.iter().map(highest).enumerate();
    // The first of equals: the members' order is the same everywhere.
    let best = scores.max_by_key(|(place, score)| (*score, std::cmp::Reverse(*place)));
    best.map_or(0, |(place, _)| place as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members of two versions must agree: these never change.
    #[test]
    fn keys_have_their_slots_for_ever() {
        let slots: Vec<u16> =
            ["", "a", "customer-1", "customer-2"].map(|key| Slot::of(key_hash(key.as_bytes())).0).into();
        assert_eq!(slots, [2203, 248, 1179, 1286]);
    }
}

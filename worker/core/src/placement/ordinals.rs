//! Static placement: which ordinal a shard belongs to, from the shard list and the number of ordinals alone. Part of
//! [placement](super).
//!
//! It is what [`Rules::V1`] would say had the ordinals come one after another, each after the shards had settled: so the
//! shares are even, and one ordinal more or fewer moves one share, whoever is there and whatever happened before.

use std::collections::HashMap;

use super::{Candidate, Placeable, Rules};
use crate::ids::{MemberId, Ordinal, ShardId};

/// Which ordinal each of `shards` belongs to, in their order; `None` = there are no ordinals.
#[must_use]
pub fn by_ordinal(shards: &[ShardId], replicas: u32) -> Vec<Option<Ordinal>> {
    // Those beyond one shard each get nothing and move nothing.
    let most = u32::try_from(shards.len()).unwrap_or(u32::MAX);
    let ordinals: Vec<Ordinal> = (0..replicas.min(most)).map(Ordinal).collect();
    let candidates: Vec<Candidate> = ordinals.iter().map(|ordinal| candidate(*ordinal)).collect();
    let free = |id: &ShardId| Placeable { id: id.clone(), zone: None, owner: None, accepted: Vec::new() };
    let mut placed: Vec<Placeable> = shards.iter().map(free).collect();
    for present in 1..=candidates.len() {
        let targets = Rules::V1.place(&candidates[..present], &placed);
        placed.iter_mut().zip(targets).for_each(|(shard, target)| shard.owner = target);
    }
    let names: HashMap<&MemberId, Ordinal> =
        candidates.iter().map(|candidate| &candidate.id).zip(ordinals).collect();
    placed.iter().map(|shard| names.get(shard.owner.as_ref()?).copied()).collect()
}

/// All ordinals are alike: which of them live, and on which machines, changes nothing.
fn candidate(ordinal: Ordinal) -> Candidate {
    Candidate {
        id: ordinal.member(0),
        capacity: 1,
        zone: None,
        leaving: false,
        healthy: true,
        rules: Rules::NEWEST,
    }
}

//! Quotas: how many shards each member gets, by capacity, adding up to all of them. Part of [placement](super).

use std::cmp::Reverse;

/// Each member's whole share, and what is left of it.
pub(super) struct Quotas {
    floors: Vec<usize>,
    /// What the share has above its floor, in units of the summed capacity.
    fractions: Vec<u64>,
    /// Shards beyond the floors.
    spare: usize,
}

impl Quotas {
    /// Shares of `shards` by capacity; no capacity is 0 and there is at least one.
    pub(super) fn new(capacities: &[u32], shards: usize) -> Self {
        let total: u64 = capacities.iter().map(|capacity| u64::from(*capacity)).sum();
        let shares = capacities.iter().map(|capacity| shards as u64 * u64::from(*capacity));
        let (floors, fractions): (Vec<usize>, Vec<u64>) =
            shares.map(|share| ((share / total) as usize, share % total)).unzip();
        let spare = shards - floors.iter().sum::<usize>();
        Self { floors, fractions, spare }
    }

    /// The quotas: each floor, and one more for as many as there are spare shards.
    ///
    /// Who owns more than its floor comes first, so that it keeps one more. Right after a placement exactly the
    /// receivers of a spare shard own more than their floors: placing again changes nothing.
    pub(super) fn give(self, owned: &[usize], ties: &[u64]) -> Vec<usize> {
        let Self { mut floors, fractions, spare } = self;
        // A whole share is never exceeded. There are more fractions than spare shards, as each is below one.
        let mut takers: Vec<usize> = (0..floors.len()).filter(|member| fractions[*member] > 0).collect();
        takers.sort_by_key(|member| {
            let owns_more = owned[*member] > floors[*member];
            (Reverse(owns_more), Reverse(fractions[*member]), Reverse(ties[*member]), *member)
        });
        for member in takers.into_iter().take(spare) {
            floors[member] += 1;
        }
        floors
    }
}

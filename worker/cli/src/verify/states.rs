//! A byte for each offset of a shard. Offsets may lie close together (Kafka's) or far apart (etcd's): blocks are made
//! where there is something.

use std::collections::BTreeMap;

/// Offsets of a block.
const BLOCK: i64 = 64;

/// A byte for each offset; 0 where nothing was said.
#[derive(Default)]
pub(super) struct States(BTreeMap<i64, [u8; BLOCK as usize]>);

impl States {
    pub(super) fn of(&mut self, offset: i64) -> &mut u8 {
        let block = self.0.entry(offset.div_euclid(BLOCK)).or_insert([0; BLOCK as usize]);
        &mut block[offset.rem_euclid(BLOCK) as usize]
    }

    pub(super) fn get(&self, offset: i64) -> u8 {
        let block = self.0.get(&offset.div_euclid(BLOCK));
        block.map_or(0, |block| block[offset.rem_euclid(BLOCK) as usize])
    }

    /// All that lie in a block, ascending, with their offsets.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, u8)> + '_ {
        let of = |(block, states): (&i64, &[u8; BLOCK as usize])| {
            let first = block * BLOCK;
            (first..).zip(*states)
        };
        self.0.iter().flat_map(of)
    }

    pub(super) fn each_mut(&mut self, change: impl FnMut(&mut u8)) {
        self.0.values_mut().flatten().for_each(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_far_apart_cost_little_and_come_back_in_order() {
        let mut states = States::default();
        for offset in [i64::MAX / 2, 3, 64, 63, 1 << 40] {
            *states.of(offset) = 1;
        }
        let found: Vec<_> = states.iter().filter(|(_, state)| *state > 0).map(|(offset, _)| offset).collect();
        assert_eq!(found, [3, 63, 64, 1 << 40, i64::MAX / 2]);
        assert_eq!((states.get(64), states.get(65), states.get(1 << 41)), (1, 0, 0));
        assert_eq!(states.0.len(), 4);
    }
}

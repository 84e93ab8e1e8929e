//! Chance that is the same in each run.

use bytes::Bytes;

/// Numbers without rhyme, the same for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % limit
    }

    /// Some bytes, perhaps none, perhaps null.
    pub(crate) fn bytes(&mut self, limit: u64) -> Option<Bytes> {
        let length = self.below(limit);
        (self.below(8) > 0).then(|| (0..length).map(|_| self.below(256) as u8).collect())
    }
}

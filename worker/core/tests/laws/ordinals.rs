//! Laws of static placement: even shares, one share moved by one ordinal, the same answer everywhere and for ever.

use std::collections::BTreeMap;

use keyweir_core::placement::by_ordinal;
use keyweir_core::{MemberId, Ordinal, ShardId};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::laws;

/// A list of several streams.
fn lists() -> impl Strategy<Value = Vec<ShardId>> {
    vec(0_u32..40, 0..4).prop_map(|streams| {
        let shards = |(name, count): (usize, u32)| {
            (0..count).map(move |index| ShardId::new(format!("stream-{name}").as_str(), index))
        };
        streams.into_iter().enumerate().flat_map(shards).collect()
    })
}

fn shards(count: u32) -> Vec<ShardId> {
    (0..count).map(|index| ShardId::new("orders", index)).collect()
}

proptest! {
    #![proptest_config(laws(256))]

    #[test]
    fn every_shard_has_an_ordinal_and_the_shares_are_even(shards in lists(), replicas in 1_u32..30) {
        let ordinals = by_ordinal(&shards, replicas);
        let mut shares: BTreeMap<Ordinal, usize> = (0..replicas).map(|number| (Ordinal(number), 0)).collect();
        for ordinal in ordinals {
            let ordinal = ordinal.ok_or_else(|| TestCaseError::fail("a shard without an ordinal"))?;
            prop_assert!(ordinal < Ordinal(replicas));
            *shares.entry(ordinal).or_default() += 1;
        }
        let (low, high) = (shards.len() / replicas as usize, shards.len().div_ceil(replicas as usize));
        prop_assert!(shares.values().all(|share| (low..=high).contains(share)), "{shares:?}");
    }

    #[test]
    fn one_ordinal_more_or_fewer_moves_one_share_and_only_its_own(shards in lists(), replicas in 1_u32..30) {
        let (fewer, more) = (by_ordinal(&shards, replicas), by_ordinal(&shards, replicas + 1));
        let moved: Vec<_> = fewer.iter().zip(&more).filter(|(fewer, more)| fewer != more).collect();
        prop_assert!(moved.iter().all(|(_, more)| **more == Some(Ordinal(replicas))));
        prop_assert!(moved.len() <= shards.len().div_ceil(replicas as usize + 1));
    }

    #[test]
    fn the_order_of_the_list_changes_nothing(mut shards in lists(), replicas in 0_u32..30, turn in any::<prop::sample::Index>()) {
        let placed = |shards: &[ShardId]| -> BTreeMap<ShardId, Option<Ordinal>> {
            shards.iter().cloned().zip(by_ordinal(shards, replicas)).collect()
        };
        let before = placed(&shards);
        let at = turn.index(shards.len().max(1)).min(shards.len());
        shards.rotate_left(at);
        prop_assert_eq!(placed(&shards), before);
    }
}

#[test]
fn without_ordinals_nobody_has_anything() {
    assert_eq!(by_ordinal(&shards(3), 0), [None; 3]);
    assert_eq!(by_ordinal(&[], 3), []);
}

/// Workers of different builds must agree: a StatefulSet is replaced one by one.
#[test]
fn the_answer_never_changes_between_releases() {
    let numbers: Vec<u32> =
        by_ordinal(&shards(8), 3).into_iter().flatten().map(|ordinal| ordinal.0).collect();
    assert_eq!(numbers, GOLDEN);
}

const GOLDEN: [u32; 8] = [0, 0, 2, 0, 1, 2, 1, 1];

#[test]
fn a_member_knows_its_ordinal_whatever_its_incarnation() {
    let member = Ordinal(2).member("7f");
    assert_eq!(member, MemberId::new("ordinal-2", "7f"));
    assert!(Ordinal(2).is_of(&member) && !Ordinal(12).is_of(&member));
    assert!(!Ordinal(2).is_of(&MemberId::new("ordinal-02", 1)));
}

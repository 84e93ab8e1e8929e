//! Laws of placement: balance, least movement, a fixed point after one round, the same answer everywhere.

use std::collections::BTreeMap;

use keyweir_core::placement::{Candidate, Placeable, Rules, rank};
use keyweir_core::{MemberId, ShardId};
use proptest::collection::vec;
use proptest::prelude::*;

fn member(number: usize) -> Candidate {
    Candidate {
        id: MemberId::new(&format!("pod-{number}"), 1),
        capacity: 1,
        zone: None,
        leaving: false,
        healthy: true,
        rules: Rules::NEWEST,
    }
}

fn members(count: usize) -> Vec<Candidate> {
    (0..count).map(member).collect()
}

fn shards(count: usize) -> Vec<Placeable> {
    let shard = |index| Placeable {
        id: ShardId::new("orders", index as u32),
        zone: None,
        owner: None,
        accepted: Vec::new(),
    };
    (0..count).map(shard).collect()
}

fn place(members: &[Candidate], shards: &[Placeable]) -> Vec<Option<MemberId>> {
    Rules::agreed(members).place(members, shards)
}

fn own(shards: &[Placeable], owners: &[Option<MemberId>]) -> Vec<Placeable> {
    let shards = shards.iter().cloned().zip(owners);
    shards.map(|(shard, owner)| Placeable { owner: owner.clone(), accepted: Vec::new(), ..shard }).collect()
}

fn settled(members: &[Candidate], count: usize) -> Vec<Placeable> {
    let free = shards(count);
    own(&free, &place(members, &free))
}

fn counts(owners: &[Option<MemberId>]) -> BTreeMap<MemberId, usize> {
    let mut counts = BTreeMap::new();
    for owner in owners.iter().flatten() {
        *counts.entry(owner.clone()).or_default() += 1;
    }
    counts
}

fn moved(shards: &[Placeable], owners: &[Option<MemberId>]) -> usize {
    shards.iter().zip(owners).filter(|(shard, owner)| shard.owner != **owner).count()
}

/// Owner, accepts and zone, members by number.
type DrawnShard<'a> = (Option<usize>, Vec<usize>, Option<&'a str>);

/// Any view: members of any kind, shards owned by present members, by strangers or by nobody.
fn any_view() -> impl Strategy<Value = (Vec<Candidate>, Vec<Placeable>)> {
    let zone = || prop::option::of(prop::sample::select(vec!["a", "b", "c"]));
    let candidate = (1_u32..5, zone(), prop::bool::weighted(0.2), prop::bool::weighted(0.8));
    (vec(candidate, 1..12), vec((prop::option::of(0_usize..14), vec(0_usize..14, 0..3), zone()), 0..60))
        .prop_map(|(candidates, placeables)| {
            let named =
                |(number, (capacity, zone, leaving, healthy)): (usize, (u32, Option<&str>, bool, bool))| {
                    Candidate { capacity, zone: zone.map(Into::into), leaving, healthy, ..member(number) }
                };
            let members = candidates.into_iter().enumerate().map(named).collect();
            let shard = |(index, (owner, accepted, zone)): (usize, DrawnShard<'_>)| Placeable {
                id: ShardId::new("orders", index as u32),
                zone: zone.map(Into::into),
                owner: owner.map(|number| member(number).id),
                accepted: accepted.into_iter().map(|number| member(number).id).collect(),
            };
            (members, placeables.into_iter().enumerate().map(shard).collect())
        })
}

/// Those who may own, by the words of the law rather than of the code.
fn may_own(members: &[Candidate]) -> Vec<&Candidate> {
    let staying: Vec<_> = members.iter().filter(|member| !member.leaving).collect();
    let well: Vec<_> = staying.iter().copied().filter(|member| member.healthy).collect();
    if well.is_empty() { staying } else { well }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_shard_has_a_place_and_no_member_has_more_than_its_share((members, shards) in any_view()) {
        let owners = place(&members, &shards);
        let able = may_own(&members);
        if able.is_empty() {
            prop_assert!(owners.iter().all(Option::is_none));
            return Ok(());
        }
        prop_assert!(owners.iter().all(Option::is_some));
        let total: usize = able.iter().map(|member| member.capacity as usize).sum();
        let counts = counts(&owners);
        for member in &able {
            let (share, has) = (shards.len() * member.capacity as usize, counts.get(&member.id).copied());
            let has = has.unwrap_or_default();
            prop_assert!(has >= share / total && has <= share.div_ceil(total), "{} has {has}", member.id);
        }
        prop_assert!(counts.keys().all(|id| able.iter().any(|member| member.id == *id)));
    }

    #[test]
    fn one_round_reaches_a_fixed_point((members, shards) in any_view()) {
        let owners = place(&members, &shards);
        prop_assert_eq!(place(&members, &own(&shards, &owners)), owners);
    }

    #[test]
    fn a_placement_that_is_half_carried_out_still_leads_to_the_same_end(
        (members, shards) in any_view(), done in vec(any::<bool>(), 60), gone in vec(any::<bool>(), 60),
    ) {
        let owners = place(&members, &shards);
        // Of the shards that move, some are with their new owner, some were released to it and some wait.
        let half: Vec<Placeable> = shards.iter().zip(&owners).enumerate().map(|(at, (shard, target))| {
            let accepted = target.iter().cloned().collect();
            let owner = match (shard.owner == *target || done[at], gone[at]) {
                (true, _) => target.clone(),
                (false, true) => None,
                (false, false) => shard.owner.clone(),
            };
            Placeable { owner, accepted, ..shard.clone() }
        }).collect();
        let again = place(&members, &half);
        let wanders = owners.iter().zip(&again).zip(&half)
            .filter(|((before, after), shard)| before != after && shard.owner == **before)
            .count();
        prop_assert_eq!(wanders, 0, "a shard that had arrived was sent on");
    }

    #[test]
    fn the_order_of_the_view_changes_nothing((mut members, mut shards) in any_view(), turn in any::<prop::sample::Index>()) {
        let before: BTreeMap<_, _> =
            shards.iter().map(|shard| shard.id.clone()).zip(place(&members, &shards)).collect();
        members.reverse();
        let at = turn.index(shards.len().max(1)).min(shards.len());
        shards.rotate_left(at);
        let after: BTreeMap<_, _> =
            shards.iter().map(|shard| shard.id.clone()).zip(place(&members, &shards)).collect();
        prop_assert_eq!(before, after);
    }

    #[test]
    fn only_the_surplus_moves((members, shards) in any_view()) {
        let owners = place(&members, &shards);
        let quotas = counts(&owners);
        let held = counts(&shards.iter().map(|shard| shard.owner.clone()).collect::<Vec<_>>());
        // No placement with these quotas can keep more shards where they are.
        let stay: usize =
            quotas.iter().map(|(id, quota)| (*quota).min(held.get(id).copied().unwrap_or_default())).sum();
        let expected = if owners.iter().all(Option::is_none) { 0 } else { stay };
        prop_assert_eq!(shards.len() - moved(&shards, &owners), expected.max(kept_by_nobody(&shards, &owners)));
    }

    #[test]
    fn adding_one_member_moves_one_share_and_only_to_it(n in 1_usize..40, count in 0_usize..400) {
        let before = settled(&members(n), count);
        let after = place(&members(n + 1), &before);
        prop_assert!(moved(&before, &after) <= count.div_ceil(n + 1));
        let newcomer = member(n).id;
        for (shard, owner) in before.iter().zip(&after) {
            prop_assert!(shard.owner == *owner || owner.as_ref() == Some(&newcomer));
        }
    }

    #[test]
    fn a_member_that_goes_moves_only_its_own_shards(n in 2_usize..40, count in 0_usize..400, gone in any::<prop::sample::Index>()) {
        let before = settled(&members(n), count);
        let mut rest = members(n);
        let gone = rest.remove(gone.index(n)).id;
        let after = place(&rest, &before);
        for (shard, owner) in before.iter().zip(&after) {
            prop_assert!(shard.owner == *owner || shard.owner.as_ref() == Some(&gone));
        }
    }

    #[test]
    fn a_leaver_and_its_successor_swap_without_touching_the_others(n in 1_usize..20, count in 0_usize..200) {
        let before = settled(&members(n), count);
        let mut view = members(n + 1);
        view[0].leaving = true;
        let after = place(&view, &before);
        let leaver = view[0].id.clone();
        for (shard, owner) in before.iter().zip(&after) {
            prop_assert!(shard.owner == *owner || shard.owner.as_ref() == Some(&leaver));
        }
    }
}

/// Shards that nobody owns and nobody may own stay where they are too.
fn kept_by_nobody(shards: &[Placeable], owners: &[Option<MemberId>]) -> usize {
    shards.iter().zip(owners).filter(|(shard, owner)| shard.owner.is_none() && owner.is_none()).count()
}

#[test]
fn an_unhealthy_member_has_no_weight_unless_all_are_unhealthy() {
    let mut view = members(3);
    view[1].healthy = false;
    let owners = place(&view, &shards(9));
    assert!(!counts(&owners).contains_key(&view[1].id));
    for member in &mut view {
        member.healthy = false;
    }
    assert_eq!(counts(&place(&view, &shards(9))).len(), 3);
}

#[test]
fn a_shard_prefers_a_member_of_its_zone_that_has_room() {
    let mut view = members(4);
    for (number, member) in view.iter_mut().enumerate() {
        member.zone = Some(if number < 2 { "a" } else { "b" }.into());
    }
    let mut free = shards(8);
    for (number, shard) in free.iter_mut().enumerate() {
        shard.zone = Some(if number % 2 == 0 { "a" } else { "b" }.into());
    }
    for (shard, owner) in free.iter().zip(place(&view, &free)) {
        let owner = view.iter().find(|member| Some(&member.id) == owner.as_ref()).unwrap();
        assert_eq!(owner.zone, shard.zone);
    }
}

#[test]
fn an_accept_decides_between_members_with_room() {
    let view = members(8);
    let mut free = shards(8);
    let plain = place(&view, &free);
    let other = view.iter().find(|member| Some(&member.id) != plain[0].as_ref()).unwrap();
    free[0].accepted = vec![other.id.clone()];
    assert_eq!(place(&view, &free)[0].as_ref(), Some(&other.id));
}

#[test]
fn the_answer_never_changes_between_releases() {
    // Members of different builds must agree: these are the answers of the first rules, for ever.
    let owners = place(&members(3), &shards(7));
    let uids: Vec<_> = owners.iter().flatten().map(MemberId::uid).collect();
    assert_eq!(uids, GOLDEN);
    let first: Vec<_> = rank(&members(3), &ShardId::new("orders", 0));
    assert_eq!(first.iter().map(MemberId::uid).collect::<Vec<_>>(), GOLDEN_RANK);
}

const GOLDEN: [&str; 7] = ["pod-0", "pod-1", "pod-2", "pod-0", "pod-0", "pod-1", "pod-2"];
const GOLDEN_RANK: [&str; 3] = ["pod-0", "pod-2", "pod-1"];

#[test]
fn a_restarted_worker_leans_to_the_shards_it_had() {
    let before = place(&members(5), &shards(40));
    let mut view = members(5);
    view[2].id = MemberId::new("pod-2", 2);
    let after = place(&view, &shards(40));
    let uids = |owners: &[Option<MemberId>]| -> Vec<String> {
        owners.iter().flatten().map(|owner| owner.uid().to_owned()).collect()
    };
    assert_eq!(uids(&before), uids(&after));
}

//! Laws of slots: even shares, the least movement, the same answer everywhere.

use std::collections::BTreeMap;

use keyweir_core::MemberId;
use keyweir_core::placement::{Candidate, Rules};
use keyweir_core::slots::{SLOTS, Slot, SlotMap, key_hash};
use proptest::collection::vec;
use proptest::prelude::*;

fn member(number: usize, capacity: u32) -> Candidate {
    Candidate {
        id: MemberId::new(&format!("pod-{number}"), 1),
        capacity,
        zone: None,
        leaving: false,
        healthy: true,
        rules: Rules::NEWEST,
    }
}

fn shares(map: &SlotMap) -> BTreeMap<MemberId, usize> {
    let mut shares = BTreeMap::new();
    for slot in Slot::all() {
        *shares.entry(map.member(slot).unwrap().clone()).or_default() += 1;
    }
    shares
}

/// Even within four standard deviations of a fair coin, and a tenth more.
fn fair(capacity: u32, total: u32) -> std::ops::RangeInclusive<usize> {
    let part = f64::from(capacity) / f64::from(total);
    let (mean, spread) = (SLOTS as f64 * part, 4.4 * (SLOTS as f64 * part * (1.0 - part)).sqrt());
    (mean - spread).max(0.0) as usize..=(mean + spread).ceil() as usize
}

proptest! {
    #![proptest_config(super::laws(64))]

    #[test]
    fn shares_follow_the_capacities(capacities in vec(1_u32..9, 1..24)) {
        let members: Vec<_> = capacities.iter().enumerate().map(|(number, of)| member(number, *of)).collect();
        let shares = shares(&SlotMap::place(&members));
        let total = capacities.iter().sum();
        for member in &members {
            let share = shares.get(&member.id).copied().unwrap_or_default();
            prop_assert!(fair(member.capacity, total).contains(&share), "{share} of {}/{total}", member.capacity);
        }
    }

    #[test]
    fn who_comes_or_goes_moves_only_its_own(capacities in vec(1_u32..9, 2..24), which in any::<prop::sample::Index>()) {
        let all: Vec<_> = capacities.iter().enumerate().map(|(number, of)| member(number, *of)).collect();
        let mut rest = all.clone();
        let one = rest.remove(which.index(all.len())).id;
        let (with, without) = (SlotMap::place(&all), SlotMap::place(&rest));
        for slot in Slot::all() {
            prop_assert!(with.member(slot) == Some(&one) || with.member(slot) == without.member(slot));
            prop_assert!(without.member(slot) != Some(&one));
        }
    }

    #[test]
    fn everybody_finds_the_same(capacities in vec(1_u32..9, 1..12), turn in 0_usize..12, leaving in any::<u16>()) {
        let named = |(number, of): (usize, &u32)| Candidate { leaving: leaving >> number & 1 == 1, ..member(number, *of) };
        let members: Vec<_> = capacities.iter().enumerate().map(named).collect();
        let mut turned = members.clone();
        turned.rotate_left(turn % members.len());
        let map = SlotMap::place(&members);
        prop_assert_eq!(&map, &SlotMap::place(&turned));
        prop_assert_eq!(map.members().is_empty(), map.member(Slot::of(0)).is_none());
        prop_assert!(map.members().iter().all(|id| members.iter().any(|one| one.id == *id && !one.leaving)));
    }
}

#[test]
fn nobody_executes_where_nobody_is_and_the_sick_only_among_themselves() {
    assert_eq!(SlotMap::place(&[]).member(Slot::of(7)), None);
    let sick = Candidate { healthy: false, ..member(0, 1) };
    assert_eq!(shares(&SlotMap::place(&[sick.clone(), member(1, 1)])).len(), 1);
    assert_eq!(shares(&SlotMap::place(&[sick])).len(), 1);
}

#[test]
fn keys_use_all_slots() {
    let mut used = vec![0_u32; SLOTS];
    let slots: Vec<Slot> = Slot::all().collect();
    for number in 0..SLOTS * 16 {
        let slot = Slot::of(key_hash(format!("customer-{number}").as_bytes()));
        used[slots.iter().position(|known| *known == slot).unwrap()] += 1;
    }
    assert!(used.iter().all(|count| (1..=48).contains(count)), "{:?}", used.iter().max());
}

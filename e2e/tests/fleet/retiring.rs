//! Workers that end by themselves, because they are old or hold too much memory: one after another, and whoever stays has
//! their work meanwhile.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use keyweir_e2e::fleet::{Fleet, FleetOptions};
use keyweir_e2e::wait;
use serde_json::{Value, json};

use super::ordinals::{made, pod};
use super::{A_WHILE, KEYS, RATE, SOON, fleet, judge};

/// A lifetime that is over before they have all begun: nothing but their own rule keeps them apart.
fn short_lived(fixed: &mut Value) {
    fixed["process"]["maxLifetime"] = json!("2s");
}

fn long_lived(fixed: &mut Value) {
    fixed["process"]["maxLifetime"] = Value::Null;
}

/// Waits until each of these workers has ended by itself. While one is away all others go on, and the next one goes only when
/// `again` has brought it back.
fn replaced_one_after_another(
    fleet: &mut Fleet,
    workers: &[usize],
    mut again: impl FnMut(&mut Fleet, usize) -> usize,
) {
    let mut old: BTreeSet<usize> = workers.iter().copied().collect();
    let mut back = None;
    while !old.is_empty() {
        let (gone, status) = fleet.ended(SOON).unwrap();
        assert!(status.success(), "worker {gone} has drained: {status}");
        assert!(old.remove(&gone), "worker {gone} is a young one");
        assert_eq!(back.and_then(|back: usize| fleet.worker(back).missing()), None, "the one before is back");
        let until = Instant::now() + A_WHILE;
        while Instant::now() < until {
            for other in fleet.running() {
                assert_eq!(fleet.worker(other).missing(), None, "worker {other}, while {gone} is away");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        back = Some(again(fleet, gone));
    }
    fleet.settle().unwrap();
}

/// U143, U144. The one that holds too much is the eldest, and no older than it may be: those that are old wait for it.
#[test]
fn workers_that_are_old_or_hold_too_much_end_one_after_another_and_repeat_nothing() {
    // Who loses its lease on a busy machine comes back as the youngest.
    let mut fleet = fleet(&FleetOptions { member_ttl: "10s", ..FleetOptions::default() });
    let fat = fleet.start_with(|config| config["fixed"]["process"]["maxMemory"] = json!("1Mi")).unwrap();
    fleet.settle().unwrap();
    fleet.change_fixed(short_lived);
    let old: Vec<usize> = (0..3).map(|_| fleet.start().unwrap()).collect();
    fleet.change_fixed(long_lived);
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    replaced_one_after_another(&mut fleet, &[&[fat], &old[..]].concat(), |fleet, _| fleet.start().unwrap());
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

/// U144, with static placement, where no worker watches the others: who is missing is seen by the shards that it has left.
/// The first one stays until it is replaced, and has owned its shards for the longest: those that are old wait for it.
#[test]
fn ordinals_that_are_old_end_one_after_another_and_repeat_nothing() {
    let mut fleet = made(4);
    let first = fleet.start_ordinal(0, &pod(0)).unwrap();
    wait::until("shards of the first one", SOON, || !fleet.worker(first).shards().is_empty()).unwrap();
    fleet.change_fixed(short_lived);
    let old: Vec<usize> =
        (1..4).map(|ordinal| fleet.start_ordinal(ordinal, &pod(ordinal)).unwrap()).collect();
    fleet.change_fixed(long_lived);
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    fleet.leave(first).unwrap();
    fleet.start_ordinal(0, &pod(0)).unwrap();
    replaced_one_after_another(&mut fleet, &old, |fleet, gone| {
        let place = old.iter().position(|worker| *worker == gone).unwrap();
        let ordinal = u32::try_from(place + 1).unwrap();
        fleet.start_ordinal(ordinal, &pod(ordinal)).unwrap()
    });
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

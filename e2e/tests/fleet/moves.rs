//! Planned changes: nothing is lost, nothing is handled twice, nothing is out of order.

use keyweir_e2e::fleet::Fleet;

use super::{judge, under_load, wait_a_while};

/// U26, U32, U49, U63.
#[test]
fn workers_that_join_and_leave_under_load_repeat_nothing() {
    let (mut fleet, load) = under_load(1);
    wait_a_while();
    for _ in 0..2 {
        fleet.start().unwrap();
    }
    fleet.settle().unwrap();
    wait_a_while();
    for number in fleet.running().take(2).collect::<Vec<_>>() {
        fleet.leave(number).unwrap();
    }
    fleet.settle().unwrap();
    wait_a_while();
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

/// U33.
#[test]
fn a_rolling_replacement_of_all_workers_repeats_nothing_and_orphans_nothing() {
    let (mut fleet, load) = under_load(3);
    for number in fleet.running().collect::<Vec<_>>() {
        fleet.start().unwrap();
        fleet.settle().unwrap();
        fleet.leave(number).unwrap();
    }
    fleet.settle().unwrap();
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

/// U28, for shards without state: who leaves is given nothing, not even by somebody else who leaves.
#[test]
fn two_that_leave_together_hand_over_to_those_who_stay() {
    let (mut fleet, load) = under_load(4);
    wait_a_while();
    let leavers: Vec<usize> = fleet.running().take(2).collect();
    let tenures = |fleet: &Fleet| -> Vec<usize> {
        let logs = leavers.iter().map(|number| std::fs::read_to_string(fleet.event_log(*number)).unwrap());
        logs.map(|log| log.matches(r#""step":"owned""#).count()).collect()
    };
    let before = tenures(&fleet);
    fleet.leave_together(&leavers).unwrap();
    fleet.settle().unwrap();
    assert_eq!(tenures(&fleet), before, "no leaver has received a shard");
    wait_a_while();
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

//! Settings that change while many workers run.

use std::time::{Duration, Instant};

use keyweir_e2e::fleet::Fleet;
use serde_json::json;

use super::{judge, under_load, wait_a_while};

/// The most records that were seen in flight on one worker within a while.
fn most_in_flight(fleet: &Fleet) -> f64 {
    let (mut most, until) = (0.0_f64, Instant::now() + Duration::from_secs(1));
    while Instant::now() < until {
        let seen =
            fleet.running().filter_map(|number| fleet.worker(number).metric("keyweir_records_in_flight"));
        most = seen.fold(most, f64::max);
        std::thread::sleep(Duration::from_millis(5));
    }
    most
}

/// What each worker owns.
fn owned(fleet: &Fleet) -> Vec<Vec<String>> {
    fleet.running().map(|number| fleet.worker(number).shards()).collect()
}

/// U42, for many workers: concurrency and limits change on all of them, and no shard changes hands.
#[test]
fn what_changes_at_run_time_changes_on_all_workers_and_moves_nothing() {
    let (mut fleet, load) = under_load(3);
    wait_a_while();
    let before = owned(&fleet);
    for (concurrency, records, keys) in [(1, 50, 10), (200, 100_000, 10_000), (16, 1000, 100)] {
        fleet
            .change_live(|live| {
                live["execution"]["concurrency"] = json!({"fixed": concurrency});
                live["execution"]["limits"]["records"] = records.into();
                live["execution"]["limits"]["keys"] = keys.into();
            })
            .unwrap();
        wait_a_while();
        let most = most_in_flight(&fleet);
        assert!(most <= f64::from(concurrency), "{most} in flight, and {concurrency} may be");
    }
    assert_eq!(owned(&fleet), before, "no shard changed hands");
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

/// U148: a bad change would else take all workers down before a roll-out has replaced the first one.
#[test]
fn a_change_that_needs_new_workers_leaves_those_alone_that_run_but_for_what_is_live() {
    let (mut fleet, load) = under_load(3);
    wait_a_while();
    let before = owned(&fleet);
    fleet
        .change(|config| {
            config["fixed"]["source"]["kafka"]["endpoint"]["bootstrapServers"] = json!(["127.0.0.1:1"]);
            config["live"]["execution"]["concurrency"] = json!({"fixed": 1});
        })
        .unwrap();
    wait_a_while();
    let most = most_in_flight(&fleet);
    assert!(most <= 1.0, "{most} in flight, and 1 may be");
    assert_eq!(owned(&fleet), before, "no worker began anew");
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

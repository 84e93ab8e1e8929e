//! What is not planned: nothing is lost and order is kept; what is handled again was unfinished or not yet durable.

use std::time::Duration;

use keyweir_core::Fence;
use keyweir_e2e::broker::{Broker, BrokerOptions};
use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::{Fleet, FleetOptions, Link, Space};
use keyweir_e2e::parts;
use serde_json::{Value, json};

use super::{KEYS, RATE, judge, under_load, wait_a_while};

/// Longer than the TTL: others own the shards by then.
const BEYOND_THE_TTL: Duration = Duration::from_secs(6);

/// U29, U45, U60.
#[test]
fn a_killed_workers_shards_go_on_elsewhere_and_nothing_is_lost() {
    let (mut fleet, load) = under_load(3);
    wait_a_while();
    for _ in 0..2 {
        let victim = fleet.running().next().unwrap();
        fleet.kill9(victim).unwrap();
        fleet.settle().unwrap();
        fleet.start().unwrap();
        fleet.settle().unwrap();
    }
    judge(fleet, load).must_be_clean();
}

/// U35: what was in flight when it froze is not counted under a fence that is no longer its own.
#[test]
fn a_worker_that_was_frozen_beyond_its_ttl_does_nothing_under_its_old_fence() {
    let (mut fleet, load) = under_load(3);
    wait_a_while();
    let frozen = fleet.running().next().unwrap();
    let others: Vec<usize> = fleet.running().skip(1).collect();
    for _ in 0..2 {
        fleet.freeze(frozen).unwrap();
        std::thread::sleep(BEYOND_THE_TTL);
        fleet.settle_among(&others).unwrap();
        fleet.thaw(frozen).unwrap();
        // It comes back by itself and gets its share.
        fleet.settle().unwrap();
        wait_a_while();
    }
    judge(fleet, load).must_be_clean();
}

/// U35: a network that lets nothing through to etcd.
#[test]
fn a_worker_that_is_cut_off_from_etcd_stops_itself_and_comes_back() {
    let etcd = parts::etcd().unwrap();
    let link = Link::to(etcd.trim_start_matches("http://")).unwrap();
    let (mut fleet, load) = under_load(2);
    let near = format!("http://{}", link.address());
    let lonely = fleet
        .start_with(|config| {
            let endpoints = config.pointer_mut("/fixed/coordination/etcd/endpoint/endpoints");
            *endpoints.unwrap() = json!([near]);
        })
        .unwrap();
    fleet.settle().unwrap();
    wait_a_while();
    link.cut();
    std::thread::sleep(BEYOND_THE_TTL);
    let others: Vec<usize> = fleet.running().filter(|number| *number != lonely).collect();
    fleet.settle_among(&others).unwrap();
    assert_eq!(fleet.worker(lonely).shards(), Vec::<String>::new());
    link.mend();
    fleet.settle().unwrap();
    judge(fleet, load).must_be_clean();
}

/// U35: the same, by a network namespace whose cable to etcd is pulled; Kafka it still reaches.
#[test]
fn a_worker_whose_cable_to_etcd_is_pulled_stops_itself_and_comes_back() {
    let space = match Space::make() {
        Ok(space) => space,
        Err(error) => {
            eprintln!("NOT TRIED: no network namespace can be made here: {error}");
            return;
        }
    };
    let broker = Broker::start_with(BrokerOptions::on(&space.kafka_host())).unwrap();
    let etcd = Etcd::start_on(&space.etcd_host(), &[]).unwrap();
    let mut fleet = Fleet::make(broker.kafka(), &etcd.endpoint(), &FleetOptions::default()).unwrap();
    let others = [fleet.start().unwrap(), fleet.start().unwrap()];
    let lonely = fleet.start_inside(&space).unwrap();
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    for _ in 0..2 {
        wait_a_while();
        space.cut().unwrap();
        std::thread::sleep(BEYOND_THE_TTL);
        fleet.settle_among(&others).unwrap();
        assert_eq!(fleet.worker(lonely).shards(), Vec::<String>::new());
        space.mend().unwrap();
        fleet.settle().unwrap();
    }
    judge(fleet, load).must_be_clean();
}

/// Section 3.6: an outage that is short enough cancels nothing; whatever it does, nothing is lost.
#[test]
fn etcd_restarts_and_compactions_lose_nothing_and_keep_order() {
    let mut etcd = Etcd::start().unwrap();
    let options = FleetOptions { member_ttl: "5s", ..FleetOptions::default() };
    let mut fleet = Fleet::make(parts::kafka().unwrap(), &etcd.endpoint(), &options).unwrap();
    for _ in 0..3 {
        fleet.start().unwrap();
    }
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    for _ in 0..3 {
        wait_a_while();
        etcd.restart().unwrap();
        etcd.compact().unwrap();
        fleet.start().unwrap();
        let oldest = fleet.running().next().unwrap();
        fleet.leave(oldest).unwrap();
        fleet.settle().unwrap();
    }
    judge(fleet, load).must_be_clean();
}

/// What README says of a backup, with etcd's own tools: what was done since it was saved comes again, under fences that
/// nobody has had before.
#[test]
fn a_backup_of_etcd_is_restored_as_readme_says() {
    let mut etcd = Etcd::start_newer().unwrap();
    let mut fleet = Fleet::make(parts::kafka().unwrap(), &etcd.endpoint(), &FleetOptions::default()).unwrap();
    for _ in 0..2 {
        fleet.start().unwrap();
    }
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    wait_a_while();
    let backup = fleet.path().join("backup.db");
    etcd.back_up(&backup).unwrap();
    // Work and moves that the backup knows nothing of.
    fleet.start().unwrap();
    fleet.settle().unwrap();
    wait_a_while();
    let before: Vec<usize> = fleet.running().collect();
    fleet.leave_together(&before).unwrap();
    let highest = before.iter().flat_map(|number| fences(&fleet, *number)).max().unwrap();
    etcd.down().unwrap();
    etcd.restore(&backup).unwrap();
    etcd.up().unwrap();
    let after = [fleet.start().unwrap(), fleet.start().unwrap()];
    fleet.settle().unwrap();
    wait_a_while();
    let lowest = after.iter().flat_map(|number| fences(&fleet, *number)).min().unwrap();
    assert!(lowest > highest, "{lowest:?} comes after {highest:?}");
    let found = judge(fleet, load);
    found.must_be_clean();
    assert!(found.count("duplicates") > 0, "what was done since the backup comes again: {found}");
}

/// The fences under which a worker has owned shards.
fn fences(fleet: &Fleet, number: usize) -> Vec<Fence> {
    let log = std::fs::read_to_string(fleet.event_log(number)).unwrap();
    let steps = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let owned = steps.filter(|step| step["step"] == "owned");
    owned.map(|step| serde_json::from_value(step["fence"].clone()).unwrap()).collect()
}

/// What README says of an etcd whose data is lost: workers join anew, a shard without a checkpoint goes on at the group's
/// offset; records that were complete beyond it come again.
#[test]
fn an_etcd_that_has_lost_all_its_data_costs_replays_and_no_record() {
    let mut etcd = Etcd::start().unwrap();
    let options = FleetOptions::default();
    let mut fleet = Fleet::make(parts::kafka().unwrap(), &etcd.endpoint(), &options).unwrap();
    for _ in 0..2 {
        fleet.start().unwrap();
    }
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    wait_a_while();
    etcd.kill9().unwrap();
    std::fs::remove_dir_all(etcd.data_dir()).unwrap();
    std::thread::sleep(BEYOND_THE_TTL);
    etcd.up().unwrap();
    fleet.settle().unwrap();
    wait_a_while();
    let found = judge(fleet, load);
    let broken =
        |promise: &str| found.promises().iter().find(|broken| broken.promise == promise).map(|it| it.count);
    assert_eq!((broken("lost"), broken("doubleHandling")), (Some(0), Some(0)), "{found}");
}

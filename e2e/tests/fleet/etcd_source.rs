//! Changes below a path of etcd, shared by several workers: each is handled, in order, whoever dies, leaves or joins.

use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::{Fleet, FleetOptions};

use super::{KEYS, SOON, wait_a_while};

/// Changes a second: each is a transaction of its own, through etcd's own gateway.
const RATE: u32 = 150;

/// U01, U04, U29, U60, for the etcd source: joins, a kill -9, a leave, a restart of etcd and a compaction.
#[test]
fn changes_of_etcd_are_shared_by_workers_and_nothing_is_lost_whoever_dies() {
    let mut etcd = Etcd::start().unwrap();
    let options = FleetOptions { member_ttl: "5s", ..FleetOptions::default() };
    let mut fleet = Fleet::make_on_etcd(&etcd.endpoint(), &options).unwrap();
    fleet.start().unwrap();
    fleet.settle().unwrap();
    let changes = fleet.writes(RATE, KEYS).unwrap();
    wait_a_while();
    for _ in 0..2 {
        fleet.start().unwrap();
    }
    fleet.settle().unwrap();
    wait_a_while();
    let victim = fleet.running().next().unwrap();
    fleet.kill9(victim).unwrap();
    fleet.settle().unwrap();
    etcd.restart().unwrap();
    wait_a_while();
    etcd.compact().unwrap();
    let leaver = fleet.running().next().unwrap();
    fleet.start().unwrap();
    fleet.settle().unwrap();
    fleet.leave(leaver).unwrap();
    fleet.settle().unwrap();
    wait_a_while();
    let sent = changes.finish();
    fleet.handled(&sent, SOON).unwrap();
    for number in fleet.running().collect::<Vec<_>>() {
        fleet.leave(number).unwrap();
    }
    let findings = fleet.verify(&sent).unwrap();
    println!("{} changes, {findings}", sent.len());
    findings.must_be_clean();
}

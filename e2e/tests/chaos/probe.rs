//! The probe: what each change costs. 1,000 records a second over 8 partitions, a handler of 10 ms, three workers; one
//! table of end-to-end latencies (from sending to the end of the handler) and of the longest stall of a key.

use std::time::Duration;

use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::{CostTable, Fleet, FleetOptions, Trial};
use keyweir_e2e::parts;

use super::{alone, is_long};

const RATE: u32 = 1000;
const KEYS: u32 = 800;

#[test]
fn planned_changes_repeat_nothing_and_every_change_has_its_price() {
    let _alone = alone();
    let (ttl, rounds) = if is_long() { ("5s", 3) } else { ("2s", 1) };
    let mut etcd = Etcd::start().unwrap();
    let options = FleetOptions { member_ttl: ttl, ..FleetOptions::default() };
    let fleet = Fleet::make(parts::kafka().unwrap(), &etcd.endpoint(), &options).unwrap();
    let ttl = Duration::from_secs(ttl.trim_end_matches('s').parse().unwrap());
    let mut trial = Trial::of(fleet);
    for _ in 0..3 {
        trial.crew.start().unwrap();
    }
    trial.crew.settle().unwrap();
    let load = trial.crew.load(RATE, KEYS).unwrap();
    // The first second warms everything up.
    std::thread::sleep(Duration::from_secs(1));
    trial.steady().unwrap();
    for _ in 0..rounds {
        trial.planned().unwrap();
    }
    if is_long() {
        for _ in 0..rounds {
            let restart = |_: &mut Fleet| {
                etcd.restart().unwrap();
                std::thread::sleep(Duration::from_secs(2));
                Ok(())
            };
            trial.change("etcd restart", restart).unwrap();
            trial.unplanned(ttl + Duration::from_secs(1)).unwrap();
        }
    }
    let sent = load.finish().unwrap();
    trial.crew.drained(Duration::from_secs(120)).unwrap();
    println!("{}", CostTable(&trial.costs(&trial.timeline().unwrap(), &sent)));
    let findings = trial.crew.verify(&sent).unwrap();
    println!("{} sent, {findings}", sent.len());
    findings.must_be_clean();
    if !is_long() {
        assert_eq!(findings.count("duplicates"), 0, "{findings}");
    }
}

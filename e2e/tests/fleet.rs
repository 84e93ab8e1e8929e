//! Several real workers of one object on a real Kafka and a real etcd: what users were promised when the number of
//! workers changes, when they die, freeze or are cut off. `keyweir verify` judges all event logs together.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what did not hold")]

#[path = "fleet/clocks.rs"]
mod clocks;
#[path = "fleet/etcd_source.rs"]
mod etcd_source;
#[path = "fleet/faults.rs"]
mod faults;
#[path = "fleet/killer.rs"]
mod killer;
#[path = "fleet/kills.rs"]
mod kills;
#[path = "fleet/live.rs"]
mod live;
#[path = "fleet/meter.rs"]
mod meter;
#[path = "fleet/moves.rs"]
mod moves;
#[path = "fleet/ordinals.rs"]
mod ordinals;
#[path = "fleet/purge.rs"]
mod purge;
#[path = "fleet/retiring.rs"]
mod retiring;
#[path = "fleet/roster.rs"]
mod roster;
#[path = "fleet/routing.rs"]
mod routing;
#[path = "fleet/troubles.rs"]
mod troubles;

use std::time::Duration;

use keyweir_e2e::fleet::{Findings, Fleet, FleetOptions, Load};
use keyweir_e2e::parts;

/// Records a second: enough that every moment of a change meets some, little enough for two busy cores.
const RATE: u32 = 400;
/// Each has a record in flight a few times a second.
const KEYS: u32 = 80;
/// What a change may meet before the next one.
const A_WHILE: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(120);

/// A fleet on the shared parts.
fn fleet(options: &FleetOptions) -> Fleet {
    Fleet::make(parts::kafka().unwrap(), &parts::etcd().unwrap(), options).unwrap()
}

/// A fleet of that many workers, and its load.
fn under_load(workers: usize) -> (Fleet, Load) {
    let mut fleet = fleet(&FleetOptions::default());
    for _ in 0..workers {
        fleet.start().unwrap();
    }
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    (fleet, load)
}

fn wait_a_while() {
    std::thread::sleep(A_WHILE);
}

/// Ends load and fleet in order and gives what the oracle says of it all.
fn judge(mut fleet: Fleet, load: Load) -> Findings {
    let sent = load.finish().unwrap();
    fleet.drained(SOON).unwrap();
    for number in fleet.running().collect::<Vec<_>>() {
        fleet.leave(number).unwrap();
    }
    let findings = fleet.verify(&sent).unwrap();
    println!("{} sent, {findings}", sent.len());
    assert!(findings.count("records") >= sent.len() as u64, "{findings}");
    findings
}

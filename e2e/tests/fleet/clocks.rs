//! Time: wrong clocks move nothing, and a lease lasts as long as its holder works.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::{Fleet, FleetOptions, unix_millis};
use serde_json::{Value, json};

use super::{KEYS, SOON, fleet};

/// Beyond a few TTLs of the default fleet.
const SEVERAL_TTLS: Duration = Duration::from_secs(8);

/// Debian's library that shifts the clock of one process.
fn shifting_library() -> String {
    let places = std::fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let library =
        places.map(|place| place.join("faketime/libfaketime.so.1")).find(|path| Path::is_file(path));
    library.expect("apt-get install libfaketime, or e2e/setup/install.sh test").display().to_string()
}

/// By how many minutes a worker's clock was wrong when it owned its first shard.
fn minutes_wrong(fleet: &Fleet, number: usize) -> i64 {
    let log = std::fs::read_to_string(fleet.event_log(number)).unwrap();
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let (told, now) = (first["wallMs"].as_i64().unwrap(), unix_millis().cast_signed());
    (told - now) / 60_000
}

fn owned(fleet: &Fleet) -> BTreeMap<usize, Vec<String>> {
    fleet.running().map(|number| (number, fleet.worker(number).shards())).collect()
}

/// U22. The event logs carry the wrong times too: who owns what and what was handled twice tell the tale here.
#[test]
fn clocks_that_are_five_minutes_wrong_move_nothing() {
    let library = shifting_library();
    let etcd = Etcd::start().unwrap();
    let mut fleet = Fleet::make_on_etcd(&etcd.endpoint(), &FleetOptions::default()).unwrap();
    for shift in ["+5m", "-5m", "+0"] {
        let clock = [("LD_PRELOAD", library.as_str()), ("FAKETIME", shift), ("DONT_FAKE_MONOTONIC", "1")];
        fleet.start_in(&clock).unwrap();
    }
    fleet.settle().unwrap();
    let changes = fleet.writes(100, KEYS).unwrap();
    for (number, minutes) in [(0, 5), (1, -5), (2, 0)] {
        assert!(
            (minutes_wrong(&fleet, number) - minutes).abs() <= 1,
            "the clock of worker {number} is shifted"
        );
    }
    let before = owned(&fleet);
    std::thread::sleep(SEVERAL_TTLS);
    assert_eq!(owned(&fleet), before, "no shard was taken from its owner");
    fleet.kill9(0).unwrap();
    fleet.settle().unwrap();
    let sent = changes.finish();
    fleet.handled(&sent, SOON).unwrap();
    for number in fleet.running().collect::<Vec<_>>() {
        fleet.leave(number).unwrap();
    }
    let logs = fleet.verify(&sent).unwrap();
    assert_eq!(logs.count("unfinished"), 0, "{logs}");
}

/// U24: a lease that is fresh is renewed while its first records take longer than it lasts.
#[test]
fn a_first_batch_that_outlasts_its_lease_is_handled_once_and_moves_nothing() {
    let slow = json!({"builtin": {"type": "Delay", "delay": "7s"}});
    let mut fleet = fleet(&FleetOptions { handler: slow, ..FleetOptions::default() });
    for _ in 0..2 {
        fleet.start().unwrap();
    }
    fleet.settle().unwrap();
    let before = owned(&fleet);
    let load = fleet.load(200, KEYS).unwrap();
    while load.acknowledged() < KEYS as usize / 2 {
        std::thread::yield_now();
    }
    let sent = load.finish().unwrap();
    fleet.drained(SOON).unwrap();
    assert_eq!(owned(&fleet), before, "no shard was taken from its owner");
    for number in fleet.running().collect::<Vec<_>>() {
        fleet.leave(number).unwrap();
    }
    let findings = fleet.verify(&sent).unwrap();
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
    assert_eq!(findings.count("attempts"), sent.len() as u64, "{findings}");
}

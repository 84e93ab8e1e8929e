//! Bad cases of the etcd where workers meet: each is named, harms nobody else, and is over when its cause is.

use std::time::Duration;

use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::{Fleet, FleetOptions, Link};
use keyweir_e2e::kafka::Record;
use keyweir_e2e::{parts, wait};
use serde_json::{Value, json};

use super::{KEYS, RATE, SOON, judge, wait_a_while};

/// The first bytes of every checkpoint.
const CHECKPOINT: [u8; 3] = [0x93, 0x07, 0x29];

fn on(endpoint: &str, options: &FleetOptions) -> Fleet {
    Fleet::make(parts::kafka().unwrap(), endpoint, options).unwrap()
}

/// Waits until a worker says that word of what it lacks.
fn until_said(fleet: &Fleet, number: usize, word: &str) -> String {
    let mut said = String::new();
    wait::until(word, SOON, || {
        said = fleet.worker(number).missing().unwrap_or_default();
        said.contains(word)
    })
    .unwrap_or_else(|late| unreachable!("{late}; it says {said:?}\n{}", fleet.worker(number).log_tail(20)));
    said
}

fn endpoint(config: &mut Value) -> &mut Value {
    config.pointer_mut("/fixed/coordination/etcd/endpoint").unwrap()
}

#[test]
fn workers_wait_for_an_etcd_that_is_not_there_and_say_so() {
    let mut etcd = Etcd::start().unwrap();
    let mut fleet = on(&etcd.endpoint(), &FleetOptions::default());
    etcd.down().unwrap();
    let first = fleet.start().unwrap();
    until_said(&fleet, first, "Unreachable");
    etcd.up().unwrap();
    fleet.start().unwrap();
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    judge(fleet, load).must_be_clean();
}

#[test]
fn wrong_credentials_are_told_and_taken_up_once_they_are_right() {
    let etcd = Etcd::start().unwrap();
    let mut fleet = on(&etcd.endpoint(), &FleetOptions::default());
    etcd.require_users("fleet", "/keyweir/").unwrap();
    let password = fleet.path().join("password");
    std::fs::write(&password, "wrong").unwrap();
    let file = password.clone();
    let worker = fleet.start_with(move |config| {
        endpoint(config)["login"] = json!({"username": "fleet", "passwordFile": file.display().to_string()});
    });
    let worker = worker.unwrap();
    until_said(&fleet, worker, "AuthenticationFailed");
    std::fs::write(&password, "fleet-secret").unwrap();
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    judge(fleet, load).must_be_clean();
}

/// Each answer takes a good part of a second: nothing that is owned moves, and planned changes still repeat nothing.
#[test]
fn an_etcd_that_answers_slowly_moves_nothing_and_repeats_nothing() {
    let etcd = Etcd::start().unwrap();
    let link = Link::to(etcd.endpoint().trim_start_matches("http://")).unwrap();
    let options = FleetOptions { member_ttl: "5s", ..FleetOptions::default() };
    let mut fleet = on(&format!("http://{}", link.address()), &options);
    fleet.start().unwrap();
    fleet.start().unwrap();
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    let owned =
        |fleet: &Fleet| -> Vec<_> { fleet.running().map(|number| fleet.worker(number).shards()).collect() };
    let before = owned(&fleet);
    link.slow(Duration::from_millis(200));
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(owned(&fleet), before, "no shard was taken from its owner");
    let third = fleet.start().unwrap();
    fleet.settle().unwrap();
    wait_a_while();
    fleet.leave(third).unwrap();
    fleet.settle().unwrap();
    link.slow(Duration::ZERO);
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

/// Two clusters on one etcd, with an object of the same namespace, name and prefix each.
#[test]
fn an_object_of_the_same_name_from_another_cluster_is_refused() {
    let etcd = Etcd::start().unwrap();
    let mut fleet = on(&etcd.endpoint(), &FleetOptions::default());
    let of = |uid: &'static str| move |config: &mut Value| config["object"]["uid"] = uid.into();
    let ours = fleet.start_with(of("uid-1")).unwrap();
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    let stranger = fleet.start_with(of("uid-2")).unwrap();
    let said = until_said(&fleet, stranger, "PrefixTaken");
    assert!(said.contains("uid-1"), "{said}");
    assert_eq!(fleet.worker(stranger).shards(), Vec::<String>::new());
    fleet.settle_among(&[ours]).unwrap();
    fleet.leave(stranger).unwrap();
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

#[test]
fn foreign_values_under_the_prefix_are_named_and_harm_nobody() {
    let etcd = Etcd::start().unwrap();
    let mut fleet = on(&etcd.endpoint(), &FleetOptions::default());
    let own = format!("/keyweir/fleets/fleets/{}/live", fleet.topic());
    etcd.put(&format!("{own}/object"), "rubbish").unwrap();
    let first = fleet.start().unwrap();
    let said = until_said(&fleet, first, "ForeignValue");
    assert!(said.contains(&format!("{own}/object")), "{said}");
    etcd.delete(&format!("{own}/object")).unwrap();
    for key in ["surprise", "members/nobody", "owners/x"] {
        etcd.put(&format!("{own}/{key}"), "rubbish").unwrap();
    }
    fleet.start().unwrap();
    fleet.settle().unwrap();
    let log = fleet.worker(first).log_tail(100);
    assert!(
        log.contains("a foreign value stands under the object's prefix") && log.contains("surprise"),
        "{log}"
    );
    let load = fleet.load(RATE, KEYS).unwrap();
    judge(fleet, load).must_be_clean();
}

/// Written by a program that is more than one version ahead: only a person can know what it says.
#[test]
fn a_checkpoint_of_a_newer_format_keeps_its_shard_and_no_other() {
    let etcd = Etcd::start().unwrap();
    let options = FleetOptions { partitions: 2, ..FleetOptions::default() };
    let mut fleet = on(&etcd.endpoint(), &options);
    let topic = fleet.topic().to_owned();
    let newer = format!("/keyweir/fleets/fleets/{topic}/checkpoints/{topic}/0");
    etcd.put(&newer, [&CHECKPOINT[..], &[200]].concat()).unwrap();
    let records: Vec<Record> = (0..50).map(|n| Record::new(&format!("key-{n}"), "x")).collect();
    parts::kafka().unwrap().produce(&topic, &records).unwrap();
    let worker = fleet.start().unwrap();
    let said = until_said(&fleet, worker, "CheckpointUnreadable");
    assert!(said.contains("format 200") && said.contains("remove it to start again"), "{said}");
    wait::until("the other shard at work", SOON, || fleet.worker(worker).shards() == [format!("{topic}/1")])
        .unwrap();
    etcd.delete(&newer).unwrap();
    fleet.drained(SOON).unwrap();
    fleet.leave(worker).unwrap();
    fleet.verify(&[]).unwrap().must_be_clean();
}

/// A fixed identity is for one: the second worker of an ordinal says so and takes over when the first one has left.
#[test]
fn a_worker_whose_ordinal_is_taken_says_so_and_waits() {
    let options =
        FleetOptions { placement: "Static", spec: json!({"replicas": 1}), ..FleetOptions::default() };
    let mut fleet = on(&parts::etcd().unwrap(), &options);
    let first = fleet.start_ordinal(0, "pod-a").unwrap();
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    let second = fleet.start_ordinal(0, "pod-b").unwrap();
    let said = until_said(&fleet, second, "OrdinalTaken");
    assert!(said.contains("give each worker an ordinal of its own"), "{said}");
    wait_a_while();
    fleet.settle_among(&[first]).unwrap();
    assert_eq!(fleet.worker(second).shards(), Vec::<String>::new());
    fleet.leave(first).unwrap();
    fleet.settle().unwrap();
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

/// With its election time-out of 5 s this etcd grants no lease below 8 s: what was granted counts, on both sides.
#[test]
fn a_lease_that_is_longer_than_was_asked_for_is_told_and_counts() {
    let etcd = Etcd::start_with(&["--election-timeout=5000", "--heartbeat-interval=500"]).unwrap();
    let mut fleet = on(&etcd.endpoint(), &FleetOptions::default());
    let first = fleet.start().unwrap();
    fleet.start().unwrap();
    fleet.settle().unwrap();
    let log = fleet.worker(first).log_tail(100);
    assert!(log.contains("the store grants no shorter lease") && log.contains(r#""granted":"8s""#), "{log}");
    let load = fleet.load(RATE, KEYS).unwrap();
    wait_a_while();
    // Longer than was asked for and shorter than was granted: it goes on under the same fences.
    let owned = fleet.worker(first).shards();
    fleet.freeze(first).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    fleet.thaw(first).unwrap();
    wait_a_while();
    assert_eq!(fleet.worker(first).shards(), owned, "nobody took anything");
    fleet.kill9(first).unwrap();
    fleet.settle().unwrap();
    judge(fleet, load).must_be_clean();
}

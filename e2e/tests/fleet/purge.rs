//! `keyweir-worker purge`: nothing is left of a deleted object, and nothing of another one goes.

use keyweir_e2e::fleet::{Fleet, FleetOptions};
use keyweir_e2e::kafka::Record;
use keyweir_e2e::{etcd::Etcd, parts};
use serde_json::json;

use super::SOON;

#[test]
fn a_purge_waits_for_the_members_to_go_and_leaves_nothing_of_this_object_only() {
    let (kafka, etcd) = (parts::kafka().unwrap(), Etcd::start().unwrap());
    let options = FleetOptions {
        partitions: 2,
        handler: json!({"builtin": {"type": "Fail"}}),
        spec: json!({"retry": {"maxAttempts": 1}, "onExhausted": {"action": "Park"}}),
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::make(kafka.clone(), &etcd.endpoint(), &options).unwrap();
    let records: Vec<Record> = (0..10).map(|n| Record::new(&format!("key-{n}"), "x")).collect();
    kafka.produce(fleet.topic(), &records).unwrap();
    let own = |config: &mut serde_json::Value| config["object"]["uid"] = "uid-1".into();
    let worker = fleet.start_with(own).unwrap();
    fleet.drained(SOON).unwrap();
    assert!(fleet.purge("uid-1").is_err(), "a member lives");
    fleet.leave(worker).unwrap();
    let (parked, group) = (format!("{}.parked", fleet.topic()), fleet.topic().to_owned());
    assert!(!kafka.read_all(&parked, SOON).unwrap().is_empty());

    fleet.purge("uid-2").unwrap();
    assert!(etcd.count("/keyweir/fleets/").unwrap() > 0, "another object of that name owns them");
    fleet.purge("uid-1").unwrap();
    assert_eq!(etcd.count("/keyweir/fleets/").unwrap(), 0);
    let committed = kafka.committed(&group, fleet.topic()).unwrap();
    assert!(committed.iter().all(|committed| committed.offset.is_none()), "{committed:?}");
    assert!(kafka.ends(&parked).is_err());
    fleet.purge("uid-1").unwrap();
}

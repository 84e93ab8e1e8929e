//! `keyweir members` and `keyweir shards`: what a person sees of a fleet.

use serde_json::Value;

use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::{Fleet, FleetOptions};
use keyweir_e2e::parts;

use super::{judge, under_load, wait_a_while};

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// U64: who is there, who owns what, and how far it is complete.
#[test]
fn members_and_shards_say_who_owns_what_and_how_far_it_is() {
    let (fleet, load) = under_load(2);
    wait_a_while();
    let members = rows(&fleet.ask(&["members", "--json"]).unwrap());
    assert_eq!(members.len(), 2, "{members:?}");
    assert!(members.iter().all(|member| member["shards"] == 4 && member["healthy"] == true), "{members:?}");
    let shards = rows(&fleet.ask(&["shards", "--json"]).unwrap());
    assert_eq!(shards.len(), 8, "{shards:?}");
    for shard in &shards {
        assert!(members.iter().any(|member| member["member"] == shard["owner"]), "{shard}");
        assert!(shard["since"].as_i64() > Some(0) && shard["lag"].is_u64(), "{shard}");
        assert!(shard["inFlight"].is_u64(), "its owner was asked: {shard}");
        assert!(shard["frontier"].as_i64() > Some(0), "checkpoints are written while it runs: {shard}");
    }
    // Who has no manifest names etcd and the object.
    let object = format!("fleets/{}", fleet.topic());
    let etcd = parts::etcd().unwrap();
    let named =
        ["shards", "--json", "--endpoints", &etcd, "--object", &object, "--prefix", "/keyweir/fleets"];
    let by_name = rows(&fleet.ask_of(&named).unwrap());
    let owners = |rows: &[Value]| rows.iter().map(|row| row["owner"].clone()).collect::<Vec<_>>();
    assert_eq!(owners(&by_name), owners(&shards));
    let table = fleet.ask(&["shards"]).unwrap();
    assert!(table.lines().next().unwrap_or_default().starts_with(" SHARD"), "{table}");
    judge(fleet, load).must_be_clean();
}

/// Section 3.8: idle shards write nothing, however many there are; renewals of leases are no writes.
#[test]
fn an_idle_fleet_writes_nothing_to_etcd() {
    let etcd = Etcd::start().unwrap();
    let options = FleetOptions { partitions: 100, ..FleetOptions::default() };
    let mut fleet = Fleet::make(parts::kafka().unwrap(), &etcd.endpoint(), &options).unwrap();
    let before = etcd.revision().unwrap();
    for _ in 0..3 {
        fleet.start().unwrap();
    }
    fleet.settle().unwrap();
    // What was told of the moves is forgotten, and the last checkpoint is written.
    std::thread::sleep(std::time::Duration::from_secs(12));
    let settled = etcd.revision().unwrap();
    std::thread::sleep(std::time::Duration::from_secs(10));
    println!("{} writes until 100 shards were settled on 3 members", settled - before);
    assert_eq!(etcd.revision().unwrap(), settled);
    assert!(settled - before < 600, "{} writes for 100 shards", settled - before);
}

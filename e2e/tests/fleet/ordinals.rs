//! Static placement with real workers: a restart under a fixed identity moves nothing, a changed number moves one share
//! in order.

use std::collections::BTreeMap;

use keyweir_e2e::fleet::{Fleet, FleetOptions, Load};
use serde_json::{Value, json};

use super::{KEYS, RATE, fleet, judge, wait_a_while};

/// Workers of the first ordinals under load, by ordinal.
fn by_ordinal(replicas: u32) -> (Fleet, Vec<usize>, Load) {
    let mut fleet = made(replicas);
    let workers = (0..replicas).map(|ordinal| fleet.start_ordinal(ordinal, &pod(ordinal)).unwrap()).collect();
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    (fleet, workers, load)
}

/// A fleet for so many ordinals, without workers yet.
pub(crate) fn made(replicas: u32) -> Fleet {
    let options = FleetOptions {
        placement: "Static",
        member_ttl: "5s",
        spec: json!({"replicas": replicas}),
        ..FleetOptions::default()
    };
    fleet(&options)
}

pub(crate) fn pod(ordinal: u32) -> String {
    format!("pod-of-{ordinal}")
}

fn owned(fleet: &Fleet) -> BTreeMap<usize, Vec<String>> {
    fleet.running().map(|number| (number, fleet.worker(number).shards())).collect()
}

/// How often each of these workers has become the owner of a shard.
fn tenures(fleet: &Fleet, workers: &[usize]) -> Vec<usize> {
    let logs = workers.iter().map(|number| std::fs::read_to_string(fleet.event_log(*number)).unwrap());
    logs.map(|log| log.matches(r#""step":"owned""#).count()).collect()
}

/// U23, U36: the last one is replaced as a StatefulSet would, the first one is killed and its container restarted.
#[test]
fn an_ordinal_that_restarts_gets_its_shards_back_and_no_other_moves() {
    let (mut fleet, workers, load) = by_ordinal(3);
    wait_a_while();
    let (before, had) = (tenures(&fleet, &workers), owned(&fleet));
    fleet.leave(workers[2]).unwrap();
    wait_a_while();
    assert_eq!(tenures(&fleet, &workers), before, "nobody takes what waits");
    let third = fleet.start_ordinal(2, "another-pod").unwrap();
    fleet.settle().unwrap();
    fleet.kill9(workers[0]).unwrap();
    let first = fleet.start_ordinal(0, &pod(0)).unwrap();
    fleet.settle().unwrap();
    let has = owned(&fleet);
    assert_eq!((&has[&first], &has[&third]), (&had[&workers[0]], &had[&workers[2]]));
    assert_eq!(tenures(&fleet, &workers), before, "nothing of the other one has moved");
    let members = fleet.ask(&["members", "--json"]).unwrap();
    let names: Vec<Value> = members.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_named = |row: &Value| row["member"].as_str().is_some_and(|name| name.starts_with("ordinal-"));
    assert!(names.len() == 3 && names.iter().all(is_named), "{members}");
    judge(fleet, load).must_be_clean();
}

/// U36: one more, one fewer, and one fewer that goes before the others have heard of it.
#[test]
fn ordinals_that_are_added_and_taken_away_under_load_repeat_nothing() {
    let (mut fleet, workers, load) = by_ordinal(2);
    for heard in [true, false] {
        wait_a_while();
        fleet.scale(3).unwrap();
        wait_a_while();
        assert_eq!(owned(&fleet).values().map(Vec::len).sum::<usize>(), 8, "who is not there gets nothing");
        let third = fleet.start_ordinal(2, &format!("pod-{heard}")).unwrap();
        fleet.settle().unwrap();
        wait_a_while();
        fleet.scale(2).unwrap();
        if heard {
            fleet.settle_among(&workers).unwrap();
        }
        fleet.leave(third).unwrap();
        fleet.settle().unwrap();
    }
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

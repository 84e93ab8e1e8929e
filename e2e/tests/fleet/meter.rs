//! `keyweir-worker meter`: how far an object is behind, with and without workers.

use std::time::Duration;

use keyweir_e2e::broker::Broker;
use keyweir_e2e::fleet::{Fleet, FleetOptions, Meter};
use keyweir_e2e::kafka::{Record, unique};
use keyweir_e2e::{parts, wait};
use serde_json::{Value, json};

use super::SOON;

/// Waits until the meter says that of the one object.
fn until(meter: &Meter, what: &str, done: impl Fn(&Value) -> bool) {
    wait::until(what, SOON, || {
        std::thread::sleep(Duration::from_millis(100));
        done(&meter.readings()["objects"][0])
    })
    .unwrap_or_else(|late| unreachable!("{late}: {}\n{}", meter.readings(), meter.log_tail(20)));
}

/// U141, U142: before the first worker the lag counts from the start; afterwards from the group's offset; a record that
/// comes is told at once to whoever waits; a broker that is silent leaves the lag unknown.
#[test]
fn a_meter_knows_how_far_an_object_without_workers_is_behind_and_never_takes_silence_for_zero() {
    let mut broker = Broker::start().unwrap();
    let options = FleetOptions { partitions: 4, ..FleetOptions::default() };
    let mut fleet = Fleet::make(broker.kafka(), &parts::etcd().unwrap(), &options).unwrap();
    let records: Vec<Record> = (0..50).map(|n| Record::new(&format!("key-{n}"), "x")).collect();
    broker.kafka().produce(fleet.topic(), &records).unwrap();
    let meter = fleet.meter().unwrap();
    let never_begun = json!({"records": 50, "shards": 4, "started": false});
    until(&meter, "a lag from the start", |object| object["backlog"] == never_begun);

    let worker = fleet.start().unwrap();
    fleet.settle().unwrap();
    fleet.drained(SOON).unwrap();
    fleet.leave(worker).unwrap();
    let caught_up = json!({"records": 0, "shards": 4, "started": true});
    until(&meter, "no lag", |object| object["backlog"] == caught_up);

    let version = &meter.readings()["version"];
    let told = std::thread::scope(|scope| {
        let asked = scope.spawn(|| meter.get(&format!("/v1/readings?after={version}&wait=30")).unwrap().1);
        broker.kafka().produce(fleet.topic(), &records[..1]).unwrap();
        asked.join().unwrap()
    });
    assert_eq!(told["objects"][0]["backlog"]["records"], 1, "{told}");
    let lag = format!("/v1/lag/fleets/{}", fleet.topic());
    assert_eq!(meter.get(&lag), Some((200, json!({"lag": 1}))));
    assert_eq!(meter.get("/v1/lag/fleets/other").unwrap().0, 404);

    broker.kill9().unwrap();
    until(&meter, "no answer of the broker", |object| object["trouble"]["reason"] == "Timeout");
    let (status, said) = meter.get(&lag).unwrap();
    assert_eq!((status, &said["lag"]), (503, &Value::Null), "{said}");
    broker.up().unwrap();
    until(&meter, "an answer of the broker", |object| object["backlog"]["records"] == 1);
}

/// U73: what is missing is made, with no more copies than there are brokers; what differs is left as it is and told with
/// both numbers, and the object works all the same; settings that the broker refuses are told, too.
#[test]
fn a_meter_makes_the_topics_that_are_missing_and_tells_both_numbers_of_one_that_differs() {
    let (kafka, etcd) = (parts::kafka().unwrap(), parts::etcd().unwrap());
    let (letters, audit) = (unique("letters"), kafka.unique_topic("audit", 3).unwrap());
    let made = json!({
        "partitions": 2, "replicationFactor": 3, "minInsyncReplicas": 2, "config": {"retention.ms": "86400000"},
    });
    let spec = json!({
        "onExhausted": {"deadLetter": {"topic": letters, "provision": made}},
        "outputs": [{"name": "audit", "kafka": {"topic": audit, "provision": {"partitions": 8}}}],
    });
    let mut fleet =
        Fleet::make(kafka.clone(), &etcd, &FleetOptions { spec, ..FleetOptions::default() }).unwrap();
    let meter = fleet.meter().unwrap();
    until(&meter, "both topics", |object| object["provisioned"]["reason"] == "Mismatch");
    let text = meter.readings()["objects"][0]["provisioned"]["text"].to_string();
    assert!(text.contains("3 partitions, 8 are wanted") && !text.contains(&letters), "{text}");
    assert_eq!((kafka.ends(&letters).unwrap().len(), kafka.ends(&audit).unwrap().len()), (2, 3));
    let setting = |name: &str| kafka.topic_setting(&letters, name).unwrap();
    assert_eq!(setting("min.insync.replicas").as_deref(), Some("1"), "limited by the one broker");
    assert_eq!(setting("retention.ms").as_deref(), Some("86400000"));

    let worker = fleet.start().unwrap();
    fleet.settle().unwrap();
    fleet.leave(worker).unwrap();
}

#[test]
fn a_meter_tells_settings_that_the_broker_refuses_and_that_copies_were_limited() {
    let (kafka, etcd) = (parts::kafka().unwrap(), parts::etcd().unwrap());
    for (provision, reason, said) in [
        (
            json!({"partitions": 1, "config": {"retention.ms": "soon"}}),
            "SettingsRefused",
            "change them in provision",
        ),
        (json!({"partitions": 1, "replicationFactor": 3}), "AsWanted", "1 of 3 copies"),
    ] {
        let spec =
            json!({"onExhausted": {"deadLetter": {"topic": unique("letters"), "provision": provision}}});
        let options = FleetOptions { spec, ..FleetOptions::default() };
        let fleet = Fleet::make(kafka.clone(), &etcd, &options).unwrap();
        let meter = fleet.meter().unwrap();
        until(&meter, reason, |object| {
            object["provisioned"]["reason"] == reason
                && object["provisioned"]["text"].as_str().is_some_and(|text| text.contains(said))
                && object["backlog"]["records"] == 0
        });
    }
}

//! A record that kills its worker: found after three crashes, one record at a time from then on, and down its road.

use std::time::Duration;

use keyweir_e2e::fleet::{Fleet, FleetOptions};
use keyweir_e2e::kafka::Record;
use keyweir_e2e::{parts, wait};
use serde_json::json;

use super::SOON;

/// It kills the worker that started it when it reads a certain value.
const KILLER: &str = r#"
import json, os, signal, sys
for line in sys.stdin:
    record = json.loads(line)
    if record["value"] == "killer":
        os.kill(os.getppid(), signal.SIGKILL)
    print(json.dumps({"id": record["id"], "action": "done"}), flush=True)
"#;

/// Section 4, Retries.
#[test]
fn a_record_that_kills_its_workers_ends_in_the_dead_letters_and_all_others_are_done() {
    let kafka = parts::kafka().unwrap();
    let letters = kafka.unique_topic("letters", 1).unwrap();
    let options = FleetOptions {
        partitions: 1,
        handler: json!({"exec": {"command": ["python3", "-c", KILLER]}}),
        spec: json!({
            "retry": {"maxAttempts": 2},
            "onExhausted": {"action": "DeadLetter", "deadLetter": {"topic": letters}},
        }),
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::make(kafka.clone(), &parts::etcd().unwrap(), &options).unwrap();
    let mut records: Vec<Record> = (0..50).map(|n| Record::new(&format!("key-{n}"), "fine")).collect();
    records[20].value = Some(b"killer".to_vec());
    kafka.produce(fleet.topic(), &records).unwrap();
    let mut crashes = 0;
    let mut number = fleet.start().unwrap();
    wait::until("a dead letter, and all others done", SOON, || {
        if !fleet.is_alive(number) {
            crashes += 1;
            number = fleet.start().unwrap();
        }
        fleet.drained(Duration::ZERO).is_ok()
    })
    .unwrap();
    // Three with the frontier where it is, one for each of its attempts; more if the frontier moved between the first.
    println!("{crashes} crashes");
    assert!(crashes >= 3 + 2, "{crashes}");
    let dead = kafka.read_all(&letters, SOON).unwrap();
    assert_eq!(dead.iter().map(Record::text).collect::<Vec<_>>(), ["killer"]);
    fleet.leave(number).unwrap();
    fleet.verify(&[]).unwrap().must_be_clean();
}

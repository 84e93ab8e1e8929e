//! Keys that are not the records' own: chosen by the manifest, equal in several partitions.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::effects::Effect;
use crate::support::scene::{From, Scene};

const PARTITIONS: u64 = 4;

#[test]
fn keys_from_a_header_collide_over_partitions_and_wait_for_each_other() {
    collide(&From::Embedded, "key: {from: Header, header: customer}");
    collide(&From::kafka(PARTITIONS as i32), "key: {from: Header, header: customer}");
}

#[test]
fn keys_from_the_value_collide_over_partitions_and_wait_for_each_other() {
    collide(&From::Embedded, "decode: {format: JSON}\nkey: {from: JSONPointer, jsonPointer: /customer}");
    collide(
        &From::kafka(PARTITIONS as i32),
        "decode: {format: JSON}\nkey: {from: JSONPointer, jsonPointer: /customer}",
    );
}

/// U41. All records have the same key of their own, or each another one: it means nothing here.
fn collide(from: &From, key: &str) {
    let scene = Scene::set();
    // One record a process: whoever waits keeps no other waiting.
    let manifest = scene.manifest("chosen", from, &scene.effects.handler_of(8, 1), key);
    let mut running = scene.run(&manifest, from, &[]);
    scene.send(from, &[order("anna", 0, "same", Some(&scene))]);
    running.see("the held one", |_| (begun(&scene, "anna") == 1).then_some(()));

    // The same customer in other partitions waits for it; others of its own key, or of its partition, do not.
    let annas = (0..PARTITIONS).map(|i| order("anna", i, &format!("own{i}"), None));
    let others = (0..PARTITIONS).map(|i| order(&format!("bert{i}"), i, "same", None));
    scene.send(from, &annas.chain(others).collect::<Vec<_>>());
    running.reach("chosen", "completed", PARTITIONS);
    assert_eq!(begun(&scene, "anna"), 1, "one record of a key at a time, whatever partition it comes from");

    scene.touch("gate");
    let many = (0..1_000).map(|i| order(&format!("c{}", i % 7), i % PARTITIONS, &format!("own{i}"), None));
    scene.send(from, &many.collect::<Vec<_>>());
    running.reach("chosen", "completed", 1_001 + 2 * PARTITIONS);
    assert_eq!(running.stop().0, Some(0));
    assert_eq!(scene.verify()["duplicates"], 0);
    one_at_a_time_in_order(&scene.effects.seen());
}

/// A record of a customer in a partition, with a key of its own; it waits for the gate where one is given.
fn order(customer: &str, partition: u64, own: &str, gate: Option<&Scene>) -> Value {
    let mut value = json!({"customer": customer});
    if let Some(scene) = gate {
        value["wait"] = json!(scene.path("gate"));
    }
    json!({"key": own, "value": value, "partition": partition, "headers": {"customer": customer}})
}

fn customer(seen: &Effect) -> &str {
    seen.line["headers"]["customer"].as_str().unwrap_or_default()
}

fn begun(scene: &Scene, name: &str) -> usize {
    scene.effects.seen().iter().filter(|seen| seen.step == "begin" && customer(seen) == name).count()
}

/// No customer has two records at once, and those of a partition come in its order.
fn one_at_a_time_in_order(seen: &[Effect]) {
    let (mut open, mut last, mut most) = (HashMap::new(), HashMap::new(), 0);
    for effect in seen {
        let (customer, id) = (customer(effect), effect.id.as_str());
        if effect.step == "end" {
            assert_eq!(open.remove(customer), Some(id));
            continue;
        }
        let other = open.insert(customer, id);
        assert_eq!(other, None, "{id} of {customer} began while that one was executing");
        most = most.max(open.len());
        let (partition, offset) = id.rsplit_once('/').unwrap();
        let offset: i64 = offset.parse().unwrap();
        let before = last.insert((customer, partition), offset);
        assert!(before.is_none_or(|before| before < offset), "{id} of {customer} came after {before:?}");
    }
    assert!(most > 1, "keys run side by side: {most}");
}

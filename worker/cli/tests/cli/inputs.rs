//! Strange records and strange answers: null, no text, huge, a flood of keys, garbage.

use std::fmt::Write as _;

use keyweir_e2e::usage::Usage;
use serde_json::{Value, json};

use crate::support::running::Running;
use crate::support::scene::{From, Scene};
use crate::support::stored;

#[test]
fn null_keys_null_values_and_keys_that_are_no_text_arrive_as_they_are() {
    for from in [From::Embedded, From::kafka(3)] {
        let scene = Scene::set();
        let manifest = scene.manifest("strange", &from, &scene.effects.handler(), "");
        let sent = [
            json!({"value": {"number": 1}}),
            json!({"key": "a"}),
            json!({"key": "", "value": "empty key"}),
            json!({"keyBase64": "/wD+", "value": "no text"}),
            json!({"keyBase64": "/wD+", "valueBase64": "/w=="}),
            json!({}),
            json!({"key": "a", "value": ""}),
        ];
        scene.send(&from, &sent);
        scene.run_to_end(&manifest, &from, &["--until-idle", "1s"]).must(0);
        scene.verify();
        let begun: Vec<Value> = scene
            .effects
            .seen()
            .into_iter()
            .filter(|seen| seen.step == "begin")
            .map(|seen| seen.line)
            .collect();
        assert_eq!(begun.len(), sent.len());
        let count = |field: &str, is: Value| begun.iter().filter(|line| line[field] == is).count();
        assert_eq!((count("key", json!("a")), count("key", json!(""))), (2, 1));
        assert_eq!(count("keyBase64", json!("/wD+")), 2);
        assert_eq!(
            begun.iter().filter(|line| line["key"].is_null() && line["keyBase64"].is_null()).count(),
            2
        );
    }
}

#[test]
fn a_record_without_the_key_that_was_asked_for_is_refused_and_null_is_none_on_purpose() {
    let scene = Scene::set();
    let lines = [
        r#"{"value": {"customer": "anna"}}"#,
        r#"{"value": {"customer": null}}"#,
        r#"{"value": {"custmer": "b"}}"#,
    ];
    scene.write("orders.jsonl", &format!("{}\n{}\n", lines[0], lines[1]));
    scene.write("typo.jsonl", &format!("{}\n{}\n", lines[0], lines[2]));
    let send =
        |file: &str, from: &str| scene.keyweir(&["send", "orders", "--file", file, "--key-from", from]);
    send("orders.jsonl", "customer").must(0);
    for (file, from, wanted) in
        [("typo.jsonl", "customer", "/customer"), ("orders.jsonl", "header:kind", "header:kind")]
    {
        let refused = send(file, from);
        refused.must(1);
        let line = if from == "customer" { "line 2" } else { "line 1" };
        for part in [
            line,
            file,
            &format!("there is nothing at {wanted}"),
            "give those that should have no key a null",
        ] {
            assert!(refused.err.contains(part), "{part} is not in: {}", refused.err);
        }
    }
    let keys = stored::records(&scene.path(".keyweir"), "orders").into_iter().map(|record| record.key);
    let mut keys: Vec<_> = keys.collect();
    keys.sort();
    assert_eq!(keys, [None, Some(b"anna".to_vec())], "of what was refused nothing is written");
}

#[test]
fn a_record_of_fifty_megabytes_is_handled() {
    let size = 50_000_000;
    for from in [From::Embedded, From::kafka(1)] {
        let scene = Scene::set();
        if let Some(broker) = from.broker() {
            broker.delete_topic(from.topic()).expect("it goes");
            let made = || broker.create_topic(from.topic(), 1, &[("max.message.bytes", "70000000")]).is_ok();
            keyweir_e2e::wait::until("the topic", crate::support::running::PATIENCE, made)
                .expect("it is made");
        }
        let manifest = scene.manifest("large", &from, &scene.effects.handler_of(1, 1), "");
        scene.write(
            "large.jsonl",
            &format!(
                "{}\n{}\n",
                json!({"key": "a", "value": "x".repeat(size)}),
                json!({"key": "a", "value": {}})
            ),
        );
        scene.send_file(&from, "large.jsonl", &["--property", "message.max.bytes=70000000"]);
        scene.run_to_end(&manifest, &from, &["--until-idle", "1s"]).must(0);
        scene.verify();
        let sizes: Vec<_> = scene
            .effects
            .seen()
            .iter()
            .filter(|seen| seen.step == "end")
            .map(|seen| seen.line["size"].as_u64())
            .collect();
        assert_eq!(sizes, [Some(size as u64), Some(2)]);
    }
}

/// U42: `KEYWEIR_KEYS` asks for more. The bound is several times what it takes; what it takes is printed.
#[test]
fn a_million_distinct_keys_are_handled_in_bounded_memory() {
    const BOUND: u64 = 256 << 20;
    let keys = crate::support::random::number("KEYWEIR_KEYS", 1_000_000);
    let scene = Scene::set();
    let mut lines = String::new();
    for i in 0..keys {
        writeln!(lines, "{{\"key\":\"key-{i}\",\"value\":\"v\"}}").unwrap();
    }
    scene.write("flood.jsonl", &lines);
    for (from, name) in [(From::Embedded, "embedded"), (From::kafka(8), "kafka")] {
        let manifest = scene.manifest(name, &from, "builtin: {type: Drop}", "");
        scene.send_file(&from, "flood.jsonl", &[]);
        // Without an event log: it would be larger than all that it tells of.
        let mut running = Running::start(scene.bare_command(&manifest, &from), &scene.path("run.log"));
        running.reach(name, "completed", keys);
        let peak = Usage::of_process(running.process()).expect("it runs").peak_memory;
        assert_eq!(running.stop().0, Some(0));
        let durable = stored::checkpoints(&scene.data(), name, from.topic(), 8);
        assert_eq!(durable.values().map(|known| known.frontier.0).sum::<i64>(), keys as i64, "{name}");
        println!("{keys} keys, {name}: {} MB at the most", peak >> 20);
        assert!(peak < BOUND, "{name}: {} MB", peak >> 20);
    }
}

#[test]
fn answers_that_are_none_cost_their_record_its_attempts_and_no_other_anything() {
    let scene = Scene::set();
    let from = From::Embedded;
    // A time that no record needs on a busy machine: only the silent one is cut off.
    let more = "retry: {maxAttempts: 1}\nonExhausted: {action: Park}\nhandlerOptions: {timeout: 20s}";
    let manifest = scene.manifest("garbled", &from, &scene.effects.handler_of(3, 1), more);
    let mut sent: Vec<_> = (0..200).map(|i| json!({"key": format!("k{}", i % 20), "value": {}})).collect();
    for (place, act) in ["garbage", "endless", "another", "crash", "silence"].into_iter().enumerate() {
        sent.insert(place * 40, json!({"key": act, "value": {"act": act}}));
    }
    scene.send(&from, &sent);
    let ended = scene.run_to_end(&manifest, &from, &["--until-idle", "1s"]);
    ended.must(3);
    let object = ended.summary()["objects"][0].clone();
    assert_eq!((object["records"].as_u64(), object["parked"].as_u64()), (Some(205), Some(5)), "{object}");
    let found = scene.verify();
    assert_eq!((found["done"].as_u64(), found["setAside"].as_u64()), (Some(200), Some(5)), "{found}");
}

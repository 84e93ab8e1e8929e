//! The end of the road: dead letters with their origin, loops, records that can't be read or that nobody takes, Stop.

use keyweir_e2e::kafka::Record;
use serde_json::json;

use crate::support::scene::{From, Scene, manifest, numbered};

#[test]
fn a_record_that_fails_each_attempt_becomes_a_dead_letter_with_its_origin_embedded() {
    dead_letters(&From::Embedded);
}

#[test]
fn a_record_that_fails_each_attempt_becomes_a_dead_letter_with_its_origin_kafka() {
    dead_letters(&From::kafka(1));
}

fn dead_letters(from: &From) {
    let scene = Scene::set();
    let dead = format!("{}.dlq", from.topic());
    make(from, &dead);
    let more = format!(
        "onExhausted: {{deadLetter: {{topic: {dead}}}}}\nretry: {{maxAttempts: 3, initialDelay: 10ms}}"
    );
    let manifest = scene.manifest("dying", from, &scene.effects.handler(), &more);
    let value = json!({"act": "retry", "reason": "the bank is closed"});
    let sent = [
        json!({"key": "a", "value": {"number": 1}}),
        json!({"key": "a", "value": value, "headers": {"kind": "Order"}, "timestamp": 1_700_000_000_000_i64}),
        json!({"key": "a", "value": {"number": 3}}),
    ];
    scene.send(from, &sent);
    let ended = scene.run_to_end(&manifest, from, &["--until-idle", "1s"]);
    ended.must(3);
    let object = ended.summary()["objects"][0].clone();
    assert_eq!((object["deadLettered"].as_u64(), object["retries"].as_u64()), (Some(1), Some(2)));
    scene.verify();
    let steps: Vec<_> = scene
        .effects
        .seen()
        .iter()
        .filter(|seen| seen.step == "begin")
        .map(|seen| seen.line["attempt"].as_i64().unwrap())
        .collect();
    assert_eq!(steps, [1, 1, 2, 3, 1], "its key waited for it, and went on after it");

    let letters = scene.read(from, &dead);
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.key.as_deref(), letter.text()), (Some(&b"a"[..]), value.to_string()));
    let origin = origin_of(&scene, from);
    for (name, is) in [
        ("kind", "Order"),
        ("keyweir-origin-topic", from.topic()),
        ("keyweir-origin-partition", &origin.0),
        ("keyweir-origin-offset", &origin.1),
        ("keyweir-origin-timestamp", "1700000000000"),
        ("keyweir-attempts", "3"),
        ("keyweir-text", "the bank is closed"),
        ("keyweir-dead-letters", "1"),
    ] {
        assert_eq!(letter.header_text(name).as_deref(), Some(is), "{name} in {letter:?}");
    }
    assert!(letter.header_text("keyweir-reason").is_some());
}

/// Partition and offset of the record that was sent second.
fn origin_of(scene: &Scene, from: &From) -> (String, String) {
    let sent = std::fs::read_to_string(scene.path("sent.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(sent.lines().nth(1).unwrap()).unwrap();
    assert_eq!(line["topic"], from.topic());
    (line["partition"].to_string(), line["offset"].to_string())
}

#[test]
fn dead_letters_that_go_in_circles_are_parked() {
    let scene = Scene::set();
    let refuse = "builtin: {type: Fail, fail: {reason: Broken}}";
    let end =
        |topic: &str| format!("onExhausted: {{deadLetter: {{topic: {topic}}}}}\nretry: {{maxAttempts: 1}}");
    let there = scene.manifest("there", &From::Embedded, refuse, &end("orders.dlq"));
    let back = manifest("back", &From::Embedded, refuse, &end("orders"));
    let back = scene.write("back.yaml", &back.replace("topics: [orders]", "topics: [orders.dlq]"));
    scene.send(&From::Embedded, &[json!({"key": "a", "value": "around"})]);
    let back = back.display().to_string();
    let mut running = scene.run(&there, &From::Embedded, &["-f", &back]);
    running.see("the loop's end", |running| {
        let both = |field| Some(running.count("there", field)? + running.count("back", field)?);
        // As often as the loop guard allows.
        (both("parked")? == 1 && both("deadLettered")? == 8).then_some(())
    });
    assert_eq!(running.stop().0, Some(0));
}

#[test]
fn records_that_cannot_be_decoded_harm_no_other_and_follow_their_road() {
    for from in [From::Embedded, From::kafka(2)] {
        let scene = Scene::set();
        let dead = format!("{}.unread", from.topic());
        make(&from, &dead);
        let more = format!("decode: {{format: JSON}}\nonUndecodable: {{deadLetter: {{topic: {dead}}}}}");
        let manifest = scene.manifest("reading", &from, &scene.effects.handler(), &more);
        let sent: Vec<_> = (0..100)
            .map(|i| {
                let value = if i % 10 == 5 { json!("{no json") } else { json!({"number": i}) };
                json!({"key": format!("k{}", i % 7), "value": value})
            })
            .collect();
        scene.send(&from, &sent);
        let mut running = scene.run(&manifest, &from, &[]);
        running.reach("reading", "completed", 100);
        assert_eq!(scene.effects.ended().len(), 90, "all good ones are handled");
        let (_, metrics) = running.get("/metrics");
        for counter in ["records_undecodable", "records_dead_lettered"] {
            let line = format!("keyweir_{counter}_total{{object=\"default/reading\"}} 10");
            assert!(metrics.contains(&line), "{line} is not in {metrics}");
        }
        // The same process all the time: a poison record restarts nobody.
        assert_eq!(running.stop().0, Some(0));
        scene.verify();
        let letters = scene.read(&from, &dead);
        assert_eq!(letters.len(), 10);
        assert!(letters.iter().all(|letter| letter.text() == "{no json"));
        assert!(letters.iter().all(|letter| letter.header_text("keyweir-reason").is_some()));
    }
}

#[test]
fn undecodable_records_are_skipped_or_parked_where_the_manifest_says_so() {
    for (action, field) in [("Skip", "skipped"), ("Park", "parked")] {
        let scene = Scene::set();
        let more = format!("decode: {{format: JSON}}\nonUndecodable: {{action: {action}}}");
        let manifest = scene.manifest("reading", &From::Embedded, &scene.effects.handler(), &more);
        scene.send(&From::Embedded, &[json!({"key": "a", "value": "{"}), json!({"key": "a", "value": {}})]);
        let ended = scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]);
        ended.must(if field == "parked" { 3 } else { 0 });
        assert_eq!(ended.summary()["objects"][0][field], 1);
        assert_eq!(scene.effects.ended().len(), 1);
        scene.verify();
    }
}

#[test]
fn records_are_routed_by_type_and_what_no_route_takes_follows_its_road() {
    for (header, unknown, default, aside) in [
        ("__grt__", "onUnknown: {deadLetter: {topic: orders.unknown}, action: DeadLetter}", 0, 20),
        ("__grt__", "onUnknown: {action: Park}", 0, 20),
        ("__grt__", "onUnknown: {action: Default}", 20, 0),
        ("kind", "decode: {recordTypeHeader: kind}\nonUnknown: {action: Skip}", 0, 0),
    ] {
        let scene = Scene::set();
        let routed = scene.effects.handler();
        let routes =
            format!("routes: [{{name: refunds, recordTypes: [Refund], handler: {{{routed}}}}}]\n{unknown}");
        let manifest = scene.manifest("routing", &From::Embedded, "builtin: {type: Drop}", &routes);
        let sent: Vec<_> = (0..40)
            .map(|i| json!({"key": format!("k{i}"), "value": {}, "headers": {header: if i % 2 == 0 { "Refund" } else { "Other" }}}))
            .collect();
        scene.send(&From::Embedded, &sent);
        let ended = scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]);
        ended.must(if aside > 0 { 3 } else { 0 });
        assert_eq!(scene.effects.ended().len(), 20);
        let object = ended.summary()["objects"][0].clone();
        let count = |field: &str| object[field].as_u64().unwrap();
        assert_eq!(count("deadLettered") + count("parked"), aside, "{object}");
        assert_eq!(count("skipped"), 20 - default - aside, "{object}");
        scene.verify();
    }
}

/// U12: an unknown type may stop the object, which goes on once the manifest says how.
#[test]
fn a_record_of_an_unknown_type_stops_the_object_where_the_manifest_says_so() {
    let scene = Scene::set();
    let set = |unknown: &str| {
        let routed = scene.effects.handler();
        let more = format!(
            "routes: [{{name: refunds, recordTypes: [Refund], handler: {{{routed}}}}}]\nonUnknown: {{action: {unknown}}}"
        );
        scene.manifest("strict", &From::Embedded, "builtin: {type: Drop}", &more)
    };
    let record = |kind: &str| json!({"key": "a", "value": {}, "headers": {"__grt__": kind}});
    scene.send(&From::Embedded, &[record("Refund"), record("Other"), record("Refund")]);
    let stopped = scene.run_to_end(&set("Stop"), &From::Embedded, &["--until-idle", "1s"]);
    stopped.must(1);
    assert!(stopped.summary().to_string().contains("stopped by its policy"), "{}", stopped.out);
    assert_eq!(scene.effects.ended().len(), 1, "what stands behind it waits");
    scene.run_to_end(&set("Skip"), &From::Embedded, &["--until-idle", "1s"]).must(0);
    assert_eq!(scene.effects.ended().len(), 2);
    assert_eq!(scene.verify()["duplicates"], 0);
}

/// U160: of records that can't be read, too, one may stop its object, and no other of the process; the checkpoint is kept.
#[test]
fn a_record_that_cannot_be_decoded_stops_its_object_where_the_manifest_says_so() {
    let scene = Scene::set();
    let from = From::Embedded;
    let strict = |action: &str| {
        let more = format!("decode: {{format: JSON}}\nonUndecodable: {{action: {action}}}");
        scene.manifest("strict", &from, &scene.effects.handler(), &more)
    };
    let record = |value: serde_json::Value| json!({"key": "a", "value": value});
    scene.send(&from, &[record(json!({})), record(json!("{no json")), record(json!({}))]);
    let other = manifest("other", &from, "builtin: {type: Drop}", "").replace("orders.group", "other.group");
    let other = scene.write("other.yaml", &other).display().to_string();
    let mut running = scene.run(&strict("Stop"), &from, &["-f", &other]);
    running.see("the stop", |running| (running.object("strict")?["activity"] == "Stopped").then_some(()));
    scene.send(&from, &numbered(10, 2));
    running.reach("other", "completed", 13);
    assert_eq!(scene.effects.ended().len(), 1, "what stands behind it waits");
    let (code, said) = running.stop();
    assert_eq!(code, Some(1), "{said}");
    scene.run_to_end(&strict("Skip"), &from, &["--until-idle", "1s"]).must(0);
    assert_eq!(scene.effects.ended().len(), 12, "what was done is not done again, and all others are");
    assert!(scene.effects.begun().values().all(|times| *times == 1));
}

/// U54: a record that needs no work waits in its key's line all the same.
#[test]
fn a_record_without_work_does_not_overtake_its_key() {
    let scene = Scene::set();
    let routes = format!(
        "routes: [{{name: refunds, recordTypes: [Refund], handler: {{{}}}}}]\nonUnknown: {{action: Skip}}",
        scene.effects.handler()
    );
    let manifest = scene.manifest("lined", &From::Embedded, "builtin: {type: Drop}", &routes);
    // All on one partition, so that they are read in this order.
    let record = |key: &str, kind: &str, value: serde_json::Value| json!({"key": key, "value": value, "headers": {"__grt__": kind}, "partition": 0});
    let sent = [
        record("a", "Refund", json!({"wait": scene.path("gate")})),
        record("a", "Other", json!({})),
        record("b", "Other", json!({})),
        record("c", "Other", json!({})),
    ];
    scene.send(&From::Embedded, &sent);
    let mut running = scene.run(&manifest, &From::Embedded, &[]);
    running.reach("lined", "completed", 2);
    running.reach("lined", "inFlight", 1);
    assert_eq!(running.count("lined", "completed"), Some(2), "those of b and c, which stand behind it");
    scene.touch("gate");
    running.reach("lined", "completed", 4);
    assert_eq!(running.stop().0, Some(0));
    let found = scene.verify();
    assert_eq!((found["done"].as_u64(), found["setAside"].as_u64()), (Some(1), Some(3)), "{found}");
}

#[test]
fn stop_ends_the_run_with_the_record_undone_and_the_next_run_goes_on_with_it() {
    let scene = Scene::set();
    let more = "onExhausted: {action: Stop}\nretry: {maxAttempts: 2, initialDelay: 10ms}";
    let manifest = scene.manifest("strict", &From::Embedded, &scene.effects.handler(), more);
    let stubborn = json!({"act": "retry", "unless": scene.path("open"), "reason": "the bank is closed"});
    let mut sent: Vec<_> = (0..20).map(|i| json!({"key": format!("k{i}"), "value": {}})).collect();
    sent.insert(5, json!({"key": "a", "value": stubborn}));
    sent.insert(6, json!({"key": "a", "value": {"number": 2}}));
    scene.send(&From::Embedded, &sent);
    let ended = scene.run_to_end(&manifest, &From::Embedded, &[]);
    ended.must(1);
    assert!(
        ended.err.contains("stopped by its policy") && ended.err.contains("the bank is closed"),
        "{}",
        ended.err
    );
    scene.touch("open");
    scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]).must(0);
    let found = scene.verify();
    assert_eq!((found["done"].as_u64(), found["duplicates"].as_u64()), (Some(22), Some(0)), "{found}");
}

fn make(from: &From, topic: &str) {
    if let Some(broker) = from.broker() {
        broker.create_topic(topic, 1, &[]).expect("a topic");
    }
}

#[test]
fn a_dead_letter_that_cannot_be_written_keeps_its_record_until_it_can() {
    let scene = Scene::set();
    let from = From::kafka(1);
    let dead = format!("{}.later", from.topic());
    let more = format!("onExhausted: {{deadLetter: {{topic: {dead}}}}}\nretry: {{maxAttempts: 1}}");
    let manifest = scene.manifest("waiting", &from, &scene.effects.handler(), &more);
    scene.send(&from, &[json!({"key": "a", "value": {"act": "reject"}}), json!({"key": "b", "value": {}})]);
    let mut running = scene.run(&manifest, &from, &[]);
    running.see("the trouble", |running| {
        let missing = running.object("waiting")?["missing"].to_string();
        missing.contains(&dead).then_some(())
    });
    let object = running.object("waiting").unwrap();
    assert_eq!(
        (object["completed"].as_u64(), object["deadLettered"].as_u64()),
        (Some(1), Some(0)),
        "{object}"
    );
    make(&from, &dead);
    running.reach("waiting", "deadLettered", 1);
    assert_eq!(running.stop().0, Some(0));
    let letters: Vec<Record> = scene.read(&from, &dead);
    assert_eq!(letters.len(), 1);
    scene.verify();
}

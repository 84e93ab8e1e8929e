//! A run from its start to its end: fed, until idle, by a signal, by a second one; and how it ends.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::running::Running;
use crate::support::scene::{From, Scene, numbered};

#[test]
fn a_fed_file_is_handled_in_order_and_the_run_ends_by_itself() {
    let scene = Scene::set();
    let lines: String = numbered(3_000, 50).iter().map(|record| format!("{record}\n")).collect();
    scene.write("feed.jsonl", &lines);
    let manifest = scene.manifest("fed", &From::Embedded, &scene.effects.handler(), "");
    let ended =
        scene.run_to_end(&manifest, &From::Embedded, &["--feed", "orders=feed.jsonl", "--until-idle", "1s"]);
    ended.must(0);
    let object = ended.summary()["objects"][0].clone();
    assert_eq!((object["records"].as_u64(), object["keys"].as_u64()), (Some(3_000), Some(50)));
    assert_eq!(object["orderKept"], true);
    scene.keyweir(&["verify", "events.jsonl"]).must(0);
    // The witness saw each record once, and each key's records in their order, one at a time.
    let mut open = std::collections::HashMap::new();
    let mut last = std::collections::HashMap::new();
    for effect in scene.effects.seen() {
        let key = effect.line["key"].as_str().unwrap_or_default().to_owned();
        if effect.step == "end" {
            assert_eq!(open.remove(&key), Some(effect.id));
            continue;
        }
        assert_eq!(open.insert(key.clone(), effect.id.clone()), None, "{key} has two at once");
        let value: serde_json::Value =
            serde_json::from_str(effect.line["value"].as_str().unwrap_or_default()).unwrap();
        let number = value["number"].as_i64().unwrap();
        assert_eq!(last.insert(key, number).map_or(0, |before| before + 1), number);
    }
    assert_eq!(last.len(), 50);
    assert!(last.values().all(|last| *last == 59));
}

/// U52: what executes keeps nobody from being read.
#[test]
fn reading_goes_on_while_records_execute() {
    for from in [From::Embedded, From::kafka(2)] {
        let scene = Scene::set();
        let handler = scene.effects.handler_of(2, 1);
        let manifest = scene.manifest("ahead", &from, &handler, "execution: {concurrency: 2}");
        let held = json!({"wait": scene.path("gate")});
        scene.send(&from, &[json!({"key": "a", "value": held}), json!({"key": "b", "value": held})]);
        let mut running = scene.run(&manifest, &from, &[]);
        running.reach("ahead", "inFlight", 2);
        scene.send(&from, &numbered(5_000, 1_000));
        running.reach("ahead", "polled", 5_002);
        assert_eq!(running.count("ahead", "completed"), Some(0), "nobody has answered yet");
        scene.touch("gate");
        running.reach("ahead", "completed", 5_002);
        assert_eq!(running.stop().0, Some(0));
        assert_eq!(scene.verify()["done"], 5_002);
    }
}

#[test]
fn a_run_that_set_records_aside_ends_with_3() {
    for more in ["onExhausted: {deadLetter: {topic: orders.dlq}}", "onExhausted: {action: Park}"] {
        let scene = Scene::set();
        let manifest = scene.manifest("aside", &From::Embedded, &scene.effects.handler(), more);
        scene.send(&From::Embedded, &[json!({"key": "a", "value": {"act": "reject"}}), json!({"key": "a"})]);
        let ended = scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]);
        ended.must(3);
        let object = ended.summary()["objects"][0].clone();
        assert_eq!(object["records"], 2, "{object}");
        assert_eq!(object["parked"].as_u64().unwrap() + object["deadLettered"].as_u64().unwrap(), 1);
        scene.verify();
    }
}

#[test]
fn a_started_run_goes_on_where_the_last_one_ended() {
    let scene = Scene::set();
    let manifest = scene.manifest("more", &From::Embedded, &scene.effects.handler(), "");
    for round in 1..=3 {
        scene.send(&From::Embedded, &numbered(100, 10));
        let ended = scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]);
        ended.must(0);
        assert_eq!(ended.summary()["objects"][0]["records"], 100);
        let begun = scene.effects.begun();
        assert_eq!(begun.len(), round * 100);
        assert!(begun.values().all(|count| *count == 1));
    }
    assert_eq!(scene.verify()["duplicates"], 0);
}

#[test]
fn what_outlasts_the_drain_time_is_cut_off_and_handled_by_the_next_run() {
    let scene = Scene::set();
    // One record a process, so that the other one does not wait behind it.
    let handler = scene.effects.handler_of(2, 1);
    let manifest = scene.manifest("slow", &From::Embedded, &handler, "drainTimeout: 1s");
    let gate = scene.path("gate");
    scene.send(&From::Embedded, &[json!({"key": "a", "value": {"wait": gate}}), json!({"key": "b"})]);
    let mut running = scene.run(&manifest, &From::Embedded, &[]);
    running.reach("slow", "completed", 1);
    running.see("it to begin", |_| (scene.effects.begun().len() == 2).then_some(()));
    let (code, said) = running.stop();
    assert_eq!(code, Some(0), "{said}");
    scene.touch("gate");
    scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]).must(0);
    assert_eq!(scene.effects.ended().len(), 2);
    scene.verify();
}

#[test]
fn a_second_signal_does_not_wait_and_says_that_work_was_cut_off() {
    let scene = Scene::set();
    // Longer than the test may take: only the second signal ends it.
    let manifest = scene.manifest("held", &From::Embedded, &scene.effects.handler(), "drainTimeout: 10m");
    let gate = scene.path("gate");
    scene.send(&From::Embedded, &[json!({"key": "a", "value": {"wait": gate}})]);
    let mut running = scene.run(&manifest, &From::Embedded, &[]);
    running.see("it to begin", |_| (!scene.effects.begun().is_empty()).then_some(()));
    running.signal(Signal::SIGTERM);
    running.see("the drain", |running| (running.object("held")?["activity"] == "Draining").then_some(()));
    assert_eq!(running.get("/readyz").0, 503, "who drains is not ready");
    assert_eq!(running.get("/livez").0, 200);
    running.signal(Signal::SIGINT);
    let (code, said) = running.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cut off"), "{said}");
    scene.touch("gate");
    scene.run_to_end(&manifest, &From::Embedded, &["--until-idle", "1s"]).must(0);
    scene.verify();
}

/// U64: how far a shard is complete, what is read beyond that, and how old its checkpoint is.
#[test]
fn how_far_a_shard_is_complete_is_a_metric() {
    let scene = Scene::set();
    let from = From::Embedded;
    let manifest = scene.manifest("seen", &from, &scene.effects.handler_of(2, 1), "");
    let held = json!({"wait": scene.path("gate")});
    let record = |key: &str, value: serde_json::Value| json!({"key": key, "value": value, "partition": 0});
    let others = (0..9).map(|i| record(&format!("k{i}"), json!({})));
    scene.send(&from, &[record("slow", held)].into_iter().chain(others).collect::<Vec<_>>());
    let mut running = scene.run(&manifest, &from, &[]);
    running.reach("seen", "completed", 9);
    let is = |running: &mut Running, name: &str, wanted: f64| {
        let name = format!("keyweir_shard_{name}{{object=\"default/seen\",shard=\"orders/0\"}}");
        running.see(&format!("{name} {wanted}"), |running| (running.metric(&name)? == wanted).then_some(()));
    };
    is(&mut running, "frontier", 0.0);
    is(&mut running, "frontier_gap", 10.0);
    scene.touch("gate");
    is(&mut running, "frontier", 10.0);
    is(&mut running, "frontier_gap", 0.0);
    is(&mut running, "checkpoint_age_seconds", 0.0);
    assert_eq!(running.stop().0, Some(0));
}

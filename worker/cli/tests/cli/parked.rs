//! `keyweir parked` against a running process: what is kept aside is seen, handled again, forgotten, and survives.

use serde_json::{Value, json};

use crate::support::running::Running;
use crate::support::scene::{Ended, From, Scene};

const PARK: &str = "onExhausted: {action: Park}\nretry: {maxAttempts: 2, initialDelay: 10ms}";

#[test]
fn parked_records_are_seen_released_and_skipped_while_it_runs_embedded() {
    settled(&From::Embedded);
}

#[test]
fn parked_records_are_seen_released_and_skipped_while_it_runs_kafka() {
    settled(&From::kafka(2));
}

fn settled(from: &From) {
    let scene = Scene::set();
    let manifest = scene.manifest("parking", from, &scene.effects.handler(), PARK);
    let stubborn = json!({"act": "retry", "unless": scene.path("open"), "reason": "the bank is closed"});
    scene.send(
        from,
        &[
            json!({"key": "a", "value": stubborn, "headers": {"kind": "Order"}}),
            json!({"key": "a", "value": {"number": 2}}),
            json!({"key": "b", "value": {"act": "reject", "reason": "no such customer"}}),
        ],
    );
    let mut running = scene.run(&manifest, from, &[]);
    running.reach("parking", "parked", 2);
    running.reach("parking", "completed", 3);
    assert_eq!(scene.effects.ended().len(), 3, "the key's next record did not wait for the parked one");

    let (closed, refused) =
        (parked_with(&scene, "the bank is closed"), parked_with(&scene, "no such customer"));
    let table = act(&scene, &["list"]);
    assert!(table.out.contains(&closed) && table.out.contains("the bank is closed"), "{}", table.out);
    let shown = act(&scene, &["show", &closed]);
    for part in ["the bank is closed", "kind: Order", "attempts  2", "key       a", "\"act\""] {
        assert!(shown.out.contains(part), "{part} is not in {}", shown.out);
    }
    let shown = act(&scene, &["show", &refused]);
    assert!(shown.out.contains("attempts  1"), "what was refused was tried: {}", shown.out);

    // Released while its cause lasts, it is parked anew; its copy was there all the time.
    act(&scene, &["release", &closed]).must(0);
    running.reach("parking", "parked", 3);
    assert_eq!(list(&scene).len(), 2);

    // It survives a restart, and can be released by the process that follows.
    assert_eq!(running.stop().0, Some(0));
    let mut running = scene.run(&manifest, from, &[]);
    running.see("the shard", |running| {
        (!running.object("parking")?["shards"].as_array()?.is_empty()).then_some(())
    });
    assert_eq!(list(&scene).len(), 2);
    scene.touch("open");
    act(&scene, &["release", &closed]).must(0);
    empties(&mut running, &scene, 1);
    act(&scene, &["skip", &refused]).must(0);
    assert!(act(&scene, &["list"]).out.contains("nothing is parked"));

    let gone = act(&scene, &["show", &closed]);
    gone.must(1);
    assert!(gone.err.contains("is not parked"), "{}", gone.err);
    let nonsense = act(&scene, &["release", "nonsense"]);
    nonsense.must(1);
    assert!(nonsense.err.contains("TOPIC/PARTITION@OFFSET"), "{}", nonsense.err);

    assert_eq!(running.stop().0, Some(0));
    let found = scene.verify();
    assert_eq!((found["done"].as_u64(), found["setAside"].as_u64()), (Some(2), Some(1)), "{found}");
}

#[test]
fn parked_without_a_running_process_says_what_to_do() {
    let scene = Scene::set();
    let asked = act(&scene, &["list"]);
    asked.must(1);
    assert!(asked.err.contains("start `keyweir run`"), "{}", asked.err);
}

#[test]
fn a_key_may_wait_for_its_parked_record() {
    let scene = Scene::set();
    let block = "onExhausted: {action: Park, park: {blocksKey: true}}\nretry: {maxAttempts: 1}";
    let manifest = scene.manifest("blocking", &From::Embedded, &scene.effects.handler(), block);
    let stubborn = json!({"act": "reject", "unless": scene.path("open")});
    let ordinary = |key: &str| json!({"key": key, "value": {}});
    scene.send(
        &From::Embedded,
        &[json!({"key": "a", "value": stubborn}), ordinary("a"), ordinary("b"), ordinary("a")],
    );
    let mut running = scene.run(&manifest, &From::Embedded, &[]);
    running.reach("blocking", "parked", 3);
    let aside = list(&scene);
    assert_eq!(scene.effects.begun().len(), 2, "successors of the parked one did not run");
    scene.touch("open");
    // The first one's release lets those behind it follow, in order.
    act(&scene, &["release", aside[0]["id"].as_str().unwrap()]).must(0);
    empties(&mut running, &scene, 0);
    assert_eq!(running.stop().0, Some(0));
    let found = scene.verify();
    assert_eq!(found["done"], 4);
}

/// Waits until only so many records are parked.
fn empties(running: &mut Running, scene: &Scene, left: usize) {
    running.see("the released records' end", |_| (list(scene).len() == left).then_some(()));
}

fn act(scene: &Scene, words: &[&str]) -> Ended {
    let data = scene.data().display().to_string();
    let mut arguments = vec!["parked", "--data", &data];
    arguments.extend(words);
    scene.keyweir(&arguments)
}

fn list(scene: &Scene) -> Vec<Value> {
    let listed = act(scene, &["list", "--json"]);
    listed.must(0);
    listed.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The id of the record that was parked for that reason.
fn parked_with(scene: &Scene, text: &str) -> String {
    let found =
        list(scene).into_iter().find(|record| record["text"].as_str().unwrap_or_default().contains(text));
    found.expect("it is parked")["id"].as_str().unwrap().to_owned()
}

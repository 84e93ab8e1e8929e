//! Records that are no longer in the log when their turn comes: retention took them, or their topic was made anew.

use serde_json::{Value, json};

use crate::support::running::Running;
use crate::support::scene::{From, Scene};

const RECORDS: i64 = 2_000;

/// So few records in sight that those of a slow key keep only their places.
const SMALL: &str = "execution: {limits: {records: 200, recordsPerKey: 10}}";

/// Records of one key; the first one waits for the gate.
fn records(scene: &Scene, count: i64, of: &str) -> Vec<Value> {
    let value =
        |i: i64| if i == 0 { json!({"wait": scene.path("gate"), "of": of}) } else { json!({"of": of}) };
    (0..count).map(|i| json!({"key": "slow", "value": value(i), "partition": 0})).collect()
}

/// What a metric of the only object says.
fn metric(running: &Running, name: &str) -> Option<i64> {
    let (_, text) = running.get("/metrics");
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
    line.rsplit(' ').next()?.parse::<f64>().ok().map(|value| value as i64)
}

/// Runs until all but a few of the records have only their places.
fn spilled(scene: &Scene, from: &From, name: &str) -> Running {
    scene.send(from, &records(scene, RECORDS, "old"));
    let manifest = scene.manifest(name, from, &scene.effects.handler(), SMALL);
    let mut running = scene.run(&manifest, from, &[]);
    running.see("places only", |running| {
        (metric(running, "keyweir_records_spilled")? > RECORDS - 200).then_some(())
    });
    running
}

#[test]
fn what_retention_removes_while_it_waits_is_gone_and_the_oracle_knows_it() {
    let from = From::kafka(1);
    let scene = Scene::set();
    let mut running = spilled(&scene, &from, "retained");
    from.broker().unwrap().delete_records(from.topic(), 0, 1_500).expect("they go");
    scene.touch("gate");
    running.reach("retained", "completed", RECORDS as u64);
    let gone = metric(&running, "keyweir_records_gone_total").unwrap();
    assert!((1_300..1_500).contains(&gone), "{gone}");
    assert_eq!(running.stop().0, Some(0));
    // Held against what was sent: nothing lost, and nothing done that no handler has seen.
    let found = scene.verify();
    let counted = ["records", "done", "gone", "unfinished"].map(|field| found[field].as_i64().unwrap());
    assert_eq!(counted, [RECORDS, RECORDS - gone, gone, 0], "{found}");
    assert_eq!(scene.effects.ended().len() as i64, RECORDS - gone);
}

#[test]
fn of_a_topic_that_is_made_anew_no_record_is_taken_for_an_old_one() {
    let from = From::kafka(1);
    let broker = from.broker().unwrap();
    let scene = Scene::set();
    let mut running = spilled(&scene, &from, "anew");
    broker.delete_topic(from.topic()).expect("it goes");
    keyweir_e2e::wait::until("the topic made anew", crate::support::running::PATIENCE, || {
        broker.create_topic(from.topic(), 1, &[]).is_ok()
    })
    .expect("it is made");
    // Fewer than before: what is read goes on behind all of them, what is read again stands among them.
    let count = RECORDS - 500;
    scene.send(&from, &records(&scene, count, "new"));
    scene.touch("gate");
    running.see("what is wrong", |running| {
        let troubles = running.object("anew")?["troubles"].as_array()?.clone();
        let about = |about: &str| {
            troubles.iter().any(|trouble| {
                trouble["about"].as_str().is_some_and(|found| found.starts_with(about))
                    && trouble["reason"] == "TopicMadeAnew"
            })
        };
        // Both ways to the log have found out: the one that reads on, and the one that reads again.
        (about("source/") && about("recall/")).then_some(())
    });
    let (status, missing) = running.get("/readyz");
    assert!(status == 503 && missing.contains("made anew; reset the group's offset"), "{missing}");
    let new = || {
        let is_new = |line: &Value| line["value"].as_str().is_some_and(|value| value.contains("\"new\""));
        scene.effects.seen().iter().filter(|seen| seen.step == "end" && is_new(&seen.line)).count() as i64
    };
    assert_eq!(new(), 0, "a record of the new topic was taken for one of the old");

    // The way out that it names.
    broker.commit(&from.group(), from.topic(), 0, 0, "").expect("a reset");
    running.see("the new records", |_| (new() == count).then_some(()));
    running.see("readiness", |running| (running.get("/readyz").0 == 200).then_some(()));
    assert_eq!(running.stop().0, Some(0));
    scene.keyweir(&["verify", "events.jsonl"]).must(0);
}

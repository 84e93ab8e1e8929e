//! Where a run begins and what it finds on the way: start positions, resets, new partitions, several topics.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::support::scene::{From, Scene, manifest, numbered};

#[test]
fn the_start_position_counts_on_the_first_start_only() {
    for from in [From::Embedded, From::kafka(2)] {
        let scene = Scene::set();
        let text = manifest("late", &from, &scene.effects.handler(), "");
        let text = text.replace("group: ", "startAt: {position: Latest}, group: ");
        let manifest = scene.write("late.yaml", &text);
        if let From::Embedded = from {
            // The log must know the topic before there is an end of it.
            let drop = scene.manifest("first", &from, "builtin: {type: Drop}", "");
            scene.run_to_end(&drop, &from, &["--until-idle", "1s"]).must(0);
        }
        scene.send(&from, &numbered(40, 4));
        std::fs::remove_file(scene.path("sent.jsonl")).unwrap();
        let _ = std::fs::remove_file(scene.events());
        let mut running = scene.run(&manifest, &from, &[]);
        running.see("its shards", |running| {
            (!running.object("late")?["shards"].as_array()?.is_empty()).then_some(())
        });
        scene.send(&from, &numbered(20, 4));
        running.see("the later records", |_| (scene.effects.ended().len() == 20).then_some(()));
        assert_eq!(running.stop().0, Some(0));
        // What comes while it is away is not passed over: the checkpoint wins.
        scene.send(&from, &numbered(20, 4));
        scene.run_to_end(&manifest, &from, &["--until-idle", "1s"]).must(0);
        assert_eq!(scene.effects.ended().len(), 40);
        assert_eq!(scene.verify()["duplicates"], 0);
    }
}

/// U08: records written from a time on; records may be written with times of their own.
#[test]
fn a_start_at_a_time_passes_what_was_written_before_it_and_counts_once() {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 - 3_600;
    let date = Command::new("date").args(["-u", "+%FT%TZ", "-d", &format!("@{began}")]).output().unwrap();
    let time = String::from_utf8(date.stdout).unwrap();
    for from in [From::Embedded, From::kafka(2)] {
        let scene = Scene::set();
        let at = |i: i64| json!({"key": format!("k{}", i % 5), "value": {}, "partition": i & 1, "timestamp": began * 1_000 + i});
        scene.send(&from, &(-30..0).chain(0..20).map(at).collect::<Vec<_>>());
        let text = manifest("timed", &from, &scene.effects.handler(), "");
        let start = format!("startAt: {{position: Timestamp, time: \"{}\"}}, group: ", time.trim());
        let manifest = scene.write("timed.yaml", &text.replace("group: ", &start));
        scene.run_to_end(&manifest, &from, &["--until-idle", "1s"]).must(0);
        let offset_of = |id: &String| id.rsplit('/').next().unwrap().parse::<i64>().unwrap();
        let ended = scene.effects.ended();
        assert_eq!(ended.len(), 20, "{ended:?}");
        assert!(ended.keys().all(|id| offset_of(id) >= 15), "each partition has 15 earlier ones: {ended:?}");
        // What comes later is handled whatever time it bears: the checkpoint wins.
        scene.send(&from, &(-20..0).map(at).collect::<Vec<_>>());
        scene.run_to_end(&manifest, &from, &["--until-idle", "1s"]).must(0);
        let ended = scene.effects.ended();
        assert_eq!(ended.len(), 40);
        assert!(ended.values().all(|times| *times == 1), "{ended:?}");
        scene.keyweir(&["verify", "events.jsonl"]).must(0);
    }
}

#[test]
fn a_reset_of_the_groups_offset_is_honoured_while_it_runs_and_while_it_is_away() {
    let from = From::kafka(1);
    let broker = from.broker().unwrap().clone();
    let scene = Scene::set();
    let manifest = scene.manifest("reset", &from, &scene.effects.handler(), "");
    scene.send(&from, &numbered(100, 5));
    let mut running = scene.run(&manifest, &from, &[]);
    running.see("the records", |_| (scene.effects.ended().len() == 100).then_some(()));
    let committed = || broker.committed(&from.group(), from.topic()).expect("offsets")[0].clone();
    running.see("the mirror", |_| (committed().offset == Some(100)).then_some(()));
    assert_eq!(broker.lag(&from.group(), from.topic()).expect("a lag"), 0, "as the usual tools see it");
    let again = |count: usize| scene.effects.begun().values().filter(|times| **times == count).count();
    broker.commit(&from.group(), from.topic(), 0, 90, "").expect("a reset");
    running.see("the last ten again", |_| (again(2) == 10).then_some(()));
    running.see("the mirror", |_| (committed().offset == Some(100)).then_some(()));
    assert_eq!(running.stop().0, Some(0));
    broker.commit(&from.group(), from.topic(), 0, 95, "").expect("a reset");
    scene.run_to_end(&manifest, &from, &["--until-idle", "1s"]).must(0);
    assert_eq!((again(1), again(2), again(3)), (90, 5, 5));
    scene.verify();
}

#[test]
fn partitions_that_are_added_while_it_runs_are_found() {
    let from = From::kafka(1);
    let scene = Scene::set();
    let text = manifest("growing", &from, &scene.effects.handler(), "");
    let text = text.replace("group: ", "partitionDiscoveryInterval: 1s, group: ");
    let manifest = scene.write("growing.yaml", &text);
    let mut running = scene.run(&manifest, &from, &[]);
    scene.send(&from, &numbered(10, 5));
    running.reach("growing", "completed", 10);
    from.broker().unwrap().grow_topic(from.topic(), 4).expect("it grows");
    running.see("its new shards", |running| {
        (running.object("growing")?["shards"].as_array()?.len() == 4).then_some(())
    });
    let on = |i: u64| json!({"key": format!("k{i}"), "value": {}, "partition": i % 4});
    scene.send(&from, &(0..40).map(on).collect::<Vec<_>>());
    running.reach("growing", "completed", 50);
    assert_eq!(running.stop().0, Some(0));
    scene.verify();
}

#[test]
fn topics_of_one_object_have_their_own_handlers_and_order() {
    let scene = Scene::set();
    let routes =
        format!("routes: [{{name: refunds, topics: [refunds], handler: {{{}}}}}]", scene.effects.handler());
    let text = manifest("both", &From::Embedded, "builtin: {type: Drop}", &routes);
    let manifest = scene.write("both.yaml", &text.replace("topics: [orders]", "topics: [orders, refunds]"));
    let lines: String = numbered(200, 10).iter().map(|record| format!("{record}\n")).collect();
    scene.write("feed.jsonl", &lines);
    let feeds = ["--feed", "orders=feed.jsonl", "--feed", "refunds=feed.jsonl", "--until-idle", "1s"];
    let ended = scene.run_to_end(&manifest, &From::Embedded, &feeds);
    ended.must(0);
    assert_eq!(ended.summary()["objects"][0]["records"], 400);
    assert_eq!(scene.effects.ended().len(), 200);
    assert!(scene.effects.ended().keys().all(|id| id.starts_with("refunds/")));
    scene.keyweir(&["verify", "events.jsonl"]).must(0);
}

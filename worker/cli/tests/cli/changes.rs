//! A manifest that changes while it runs: what can be taken up live is, what can't restarts its object, what is wrong
//! is said and the old one goes on.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::running::Running;
use crate::support::scene::{From, Scene, numbered};

/// Records of so many keys that all wait for a file.
fn held(scene: &Scene, keys: u64) -> Vec<Value> {
    let wait = json!({"wait": scene.path("gate")});
    (0..keys).map(|i| json!({"key": format!("k{i}"), "value": wait})).collect()
}

fn fences(running: &Running, name: &str) -> Option<Vec<String>> {
    let object = running.object(name)?;
    let shards = object["shards"].as_array()?;
    Some(shards.iter().map(|shard| format!("{} {}", shard["shard"], shard["fence"])).collect())
}

#[test]
fn concurrency_and_limits_change_while_it_runs_embedded() {
    tuned(&From::Embedded);
}

#[test]
fn concurrency_and_limits_change_while_it_runs_kafka() {
    tuned(&From::kafka(4));
}

fn tuned(from: &From) {
    let scene = Scene::set();
    let handler = scene.effects.handler_of(12, 1);
    let settings = |count: u32, level: &str| {
        let more = format!("execution: {{concurrency: {count}}}\nobservability: {{logLevel: {level}}}");
        scene.manifest("tuned", from, &handler, &more)
    };
    let manifest = settings(2, "Info");
    scene.send(from, &held(&scene, 12));
    let mut running = scene.run(&manifest, from, &[]);
    running.reach("tuned", "inFlight", 2);
    let before = fences(&running, "tuned");
    settings(7, "Debug");
    running.reach("tuned", "inFlight", 7);
    running.see("what was begun", |_| (scene.effects.begun().len() == 7).then_some(()));
    settings(1, "Info");
    running.see("the change", |running| {
        (running.said().matches("changed settings taken up").count() == 2).then_some(())
    });
    // More than may run now goes on to its end; nothing new starts beyond.
    assert_eq!(running.count("tuned", "inFlight"), Some(7));
    scene.touch("gate");
    running.reach("tuned", "completed", 12);
    assert_eq!(fences(&running, "tuned"), before, "no shard changed hands");
    assert_eq!(running.stop().0, Some(0));
    let found = scene.verify();
    assert_eq!((found["done"].as_u64(), found["duplicates"].as_u64()), (Some(12), Some(0)));
}

/// U150, U163: a child that writes to stderr is heard from the level Info on.
#[test]
fn the_level_of_the_log_changes_while_it_runs() {
    let scene = Scene::set();
    let from = From::Embedded;
    let loud = "while read -r line; do echo \"heard $line\" >&2; echo '{\"action\": \"done\"}'; done\n";
    let loud = scene.write("loud.sh", loud);
    let handler = format!("exec: {{command: [sh, {}], processes: 1}}", loud.display());
    let levelled = |level: &str, state: &str| {
        scene.manifest(
            "loud",
            &from,
            &handler,
            &format!("observability: {{logLevel: {level}}}\nstate: {state}"),
        )
    };
    let is = |running: &mut Running, activity: &str| {
        running.see(activity, |running| (running.object("loud")?["activity"] == activity).then_some(()));
    };
    let manifest = levelled("Warn", "Running");
    let mut running = scene.run(&manifest, &from, &[]);
    let process = running.process();
    let mut sent = 0;
    let mut send = |running: &mut Running, word: &str| {
        scene.send(&from, &[json!({"key": "a", "value": word})]);
        sent += 1;
        running.reach("loud", "completed", sent);
    };
    send(&mut running, "first");
    levelled("Info", "Running");
    running.see("the change", |running| running.said().contains("changed settings taken up").then_some(()));
    send(&mut running, "second");
    let heard = running.see("what the child wrote", |running| {
        let line = |line: &str| serde_json::from_str::<Value>(line).ok();
        let said = running.said();
        said.lines()
            .filter_map(line)
            .find(|line| line["text"].as_str().is_some_and(|text| text.contains("second")))
    });
    assert_eq!(heard["level"], "INFO");
    assert_eq!(heard["span"]["object"], "default/loud", "several objects may run in one process: {heard}");
    assert!(heard["timestamp"].is_string() && heard["target"].is_string(), "{heard}");
    // The level is taken up before the state, which can be seen.
    levelled("Error", "Paused");
    is(&mut running, "Paused");
    levelled("Error", "Running");
    is(&mut running, "Running");
    send(&mut running, "third");
    levelled("Debug", "Paused");
    is(&mut running, "Paused");
    levelled("Debug", "Running");
    is(&mut running, "Running");
    send(&mut running, "fourth");
    running.see("what the child wrote", |running| running.said().contains("fourth").then_some(()));
    let said = running.said();
    assert!(!said.contains("first") && !said.contains("third"), "{said}");
    assert_eq!(running.process(), process);
    assert_eq!(running.stop().0, Some(0));
    assert_eq!(scene.verify()["done"], 4);
}

#[test]
fn an_object_is_paused_stopped_and_resumed_embedded() {
    paused(&From::Embedded);
}

#[test]
fn an_object_is_paused_stopped_and_resumed_kafka() {
    paused(&From::kafka(2));
}

fn paused(from: &From) {
    let scene = Scene::set();
    let state =
        |state: &str| scene.manifest("resting", from, &scene.effects.handler(), &format!("state: {state}"));
    let manifest = state("Running");
    let mut running = scene.run(&manifest, from, &[]);
    let mut done = 0;
    for rest in ["Paused", "Stopped", "Paused"] {
        scene.send(from, &numbered(50, 5));
        done += 50;
        running.see("its records", |_| (scene.effects.ended().len() == done).then_some(()));
        state(rest);
        running.see("the rest", |running| match running.object("resting") {
            None => (rest == "Stopped").then_some(()),
            Some(object) => (object["activity"] == rest).then_some(()),
        });
        scene.send(from, &numbered(50, 5));
        // It has had time to see them: its files were looked at once more.
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        assert_eq!(scene.effects.begun().len(), done, "nothing starts while it is {rest}");
        assert_eq!(running.get("/livez").0, 200);
        state("Running");
        done += 50;
        running.see("the rest of the records", |_| (scene.effects.ended().len() == done).then_some(()));
    }
    assert_eq!(running.stop().0, Some(0));
    let found = scene.verify();
    assert_eq!((found["done"].as_u64(), found["duplicates"].as_u64()), (Some(300), Some(0)), "{found}");
}

#[test]
fn a_partition_is_paused_and_resumed_while_the_other_goes_on() {
    for from in [From::Embedded, From::kafka(2)] {
        let scene = Scene::set();
        let topic = from.topic();
        let pause = |partitions: &str| {
            let more = format!("pausedPartitions: [{partitions}]");
            scene.manifest("partly", &from, &scene.effects.handler(), &more)
        };
        let send = |count: u64| {
            let on = |i: u64| json!({"key": format!("k{}", i % 4), "value": {}, "partition": i % 2});
            scene.send(&from, &(0..count).map(on).collect::<Vec<_>>());
        };
        let of = |partition: u32| {
            let begins = format!("{topic}/{partition}/");
            scene.effects.ended().keys().filter(|id| id.starts_with(&begins)).count()
        };
        let manifest = pause(&format!("{{topic: {topic}, partitions: [1]}}"));
        send(100);
        let mut running = scene.run(&manifest, &from, &[]);
        running.see("the other partition", |_| (of(0) == 50).then_some(()));
        assert_eq!(of(1), 0);
        pause("");
        running.see("both partitions", |_| (of(0) + of(1) == 100).then_some(()));
        pause(&format!("{{topic: {topic}, partitions: [0]}}"));
        running.see("the pause", |running| {
            let shards = running.object("partly")?["shards"].clone();
            let is_first = |shard: &Value| shard["shard"].as_str().is_some_and(|id| id.ends_with("/0"));
            shards.as_array()?.iter().any(|shard| is_first(shard) && shard["paused"] == true).then_some(())
        });
        send(100);
        running.see("the other partition", |_| (of(1) == 100).then_some(()));
        assert_eq!(of(0), 50);
        pause("");
        running.see("both partitions", |_| (of(0) + of(1) == 200).then_some(()));
        assert_eq!(running.stop().0, Some(0));
        let found = scene.verify();
        assert_eq!((found["done"].as_u64(), found["duplicates"].as_u64()), (Some(200), Some(0)), "{found}");
    }
}

#[test]
fn a_wrong_change_is_said_and_the_old_manifest_goes_on() {
    let scene = Scene::set();
    let from = From::Embedded;
    let manifest = scene.manifest("steady", &from, &scene.effects.handler(), "");
    let mut running = scene.run(&manifest, &from, &[]);
    let mut done = 0;
    let handler = scene.effects.handler();
    for (handler, more, words) in [
        (handler.as_str(), "concurency: 5", "concurency"),
        (handler.as_str(), "execution: {concurrency: -1}", "execution.concurrency"),
        ("exec: {command: [/no/such/program]}", "", "/no/such/program can't be started"),
        ("native: {name: mine}", "", "this worker binary has none"),
    ] {
        scene.manifest("steady", &from, handler, more);
        running.see(words, |running| running.said().contains(words).then_some(()));
        scene.send(&from, &numbered(10, 2));
        done += 10;
        running.see("records", |_| (scene.effects.ended().len() == done).then_some(()));
    }
    assert_eq!(running.stop().0, Some(0));
    scene.verify();
}

#[test]
fn a_change_that_is_not_live_restarts_its_object_and_loses_nothing() {
    let scene = Scene::set();
    let from = From::Embedded;
    let order =
        |order: &str| scene.manifest("anew", &from, &scene.effects.handler(), &format!("ordering: {order}"));
    let manifest = order("Key");
    scene.send(&from, &numbered(3_000, 50));
    let mut running = scene.run(&manifest, &from, &[]);
    running.see("work", |running| (running.count("anew", "completed")? > 0).then_some(()));
    order("Partition");
    running.see("the restart", |running| running.said().contains("Restarted").then_some(()));
    running.see("all records", |_| (scene.effects.ended().len() == 3_000).then_some(()));
    assert_eq!(running.stop().0, Some(0));
    let found = scene.verify();
    assert_eq!((found["done"].as_u64(), found["duplicates"].as_u64()), (Some(3_000), Some(0)), "{found}");
}

#[test]
fn a_signal_is_heard_while_a_changed_object_drains() {
    let scene = Scene::set();
    let from = From::Embedded;
    let order = |order: &str| {
        scene.manifest(
            "busy",
            &from,
            &scene.effects.handler(),
            &format!("ordering: {order}\ndrainTimeout: 10m"),
        )
    };
    let manifest = order("Key");
    scene.send(&from, &held(&scene, 2));
    let mut running = scene.run(&manifest, &from, &[]);
    running.reach("busy", "inFlight", 2);
    order("Partition");
    running.see("the drain", |running| (running.object("busy")?["activity"] == "Draining").then_some(()));
    running.signal(Signal::SIGTERM);
    running.signal(Signal::SIGINT);
    let (code, said) = running.end();
    assert_eq!(code, Some(1), "{said}");
    scene.touch("gate");
    scene.run_to_end(&manifest, &from, &["--until-idle", "1s"]).must(0);
    scene.verify();
}

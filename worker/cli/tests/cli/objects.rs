//! Several objects in one process, and several processes on one directory.

use serde_json::json;

use crate::support::scene::{From, Scene, manifest, numbered};

#[test]
fn an_object_that_fails_harms_no_other() {
    let scene = Scene::set();
    let from = From::Embedded;
    let well = scene.manifest("well", &from, &scene.effects.handler(), "");
    let others = [
        // Its handler is never there, its handler refuses all, its records stop it.
        manifest("down", &from, "http: {url: \"http://127.0.0.1:1/\"}", ""),
        manifest(
            "refusing",
            &from,
            "builtin: {type: Fail, fail: {reason: Broken}}",
            "retry: {initialDelay: 10ms}",
        ),
        manifest(
            "strict",
            &from,
            "builtin: {type: Fail}",
            "onExhausted: {action: Stop}\nretry: {maxAttempts: 1}",
        ),
    ];
    let others = scene.write("others.yaml", &others.join("---\n")).display().to_string();
    scene.send(&from, &numbered(2_000, 50));
    let mut running = scene.run(&well, &from, &["-f", &others]);
    running.reach("well", "completed", 2_000);
    running.reach("refusing", "parked", 1);
    running
        .see("the stopped one", |running| (running.object("strict")?["activity"] == "Stopped").then_some(()));
    running.see("what is missing", |running| {
        let (status, missing) = running.get("/readyz");
        let named = missing.contains("default/down: ") && missing.contains("default/strict: Stopped");
        (status == 503 && named && !missing.contains("default/well")).then_some(())
    });
    // Each has its own progress and goes on by itself.
    scene.send(&from, &numbered(2_000, 50));
    running.reach("well", "completed", 4_000);
    let (status, metrics) = running.get("/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("keyweir_records_completed_total{object=\"default/well\"} 4000"), "{metrics}");
    let (code, said) = running.stop();
    assert_eq!(code, Some(1), "one was stopped by its policy: {said}");
}

/// U152: one has work without end, all the time.
#[test]
fn a_busy_object_starves_no_other() {
    let scene = Scene::set();
    let from = From::Embedded;
    let quiet = scene.manifest("quiet", &from, "builtin: {type: Drop}", "");
    let more = "retry: {maxAttempts: 1000, initialDelay: 20ms, maxDelay: 20ms}\ndrainTimeout: 1s";
    let busy = manifest("busy", &from, "builtin: {type: Fail}", more).replace("orders.group", "busy.group");
    let busy = scene.write("busy.yaml", &busy).display().to_string();
    scene.send(&from, &numbered(5_000, 5_000));
    let mut running = scene.run(&quiet, &from, &["-f", &busy]);
    running.reach("busy", "retries", 50_000);
    scene.send(&from, &numbered(2_000, 50));
    running.reach("quiet", "completed", 7_000);
    let so_far = running.count("busy", "retries").unwrap();
    running.reach("busy", "retries", so_far + 50_000);
    assert_eq!(running.count("busy", "completed"), Some(0));
    assert_eq!(running.stop().0, Some(0));
}

#[test]
fn two_processes_on_one_directory_are_told_apart() {
    let scene = Scene::set();
    let from = From::Embedded;
    let manifest = scene.manifest("first", &from, &scene.effects.handler(), "");
    let mut running = scene.run(&manifest, &from, &[]);
    let second = scene.run_to_end(&manifest, &from, &["--until-idle", "1s"]);
    second.must(1);
    let holder = running.process().to_string();
    assert!(second.err.contains(&holder), "it names who has it: {}", second.err);
    // Sending goes through the process that has it.
    scene.send(&from, &[json!({"key": "a", "value": {}})]);
    running.reach("first", "completed", 1);
    assert_eq!(running.stop().0, Some(0));
    scene.run_to_end(&manifest, &from, &["--until-idle", "1s"]).must(0);
    scene.verify();
}

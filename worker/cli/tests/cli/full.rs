//! Disks without room, under all that is written: the data directory, the event log, the log, the output. It is said
//! with the fix, work goes on when there is room again, and nothing is lost.

use std::fs::File;
use std::process::Stdio;

use keyweir_e2e::disk::Disk;
use serde_json::{Value, json};

use crate::support::running::Running;
use crate::support::scene::{From, Scene, numbered};

const MB: u64 = 1 << 20;
/// More than the part of a disk that a data directory leaves free.
const SMALL: u64 = 400 * MB;

/// A device that takes nothing, as a full disk does.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("the system has it").into()
}

#[test]
fn a_full_disk_is_said_and_work_goes_on_when_there_is_room() {
    let Some(disk) = Disk::mount(SMALL) else { return };
    let from = From::Embedded;
    let scene = Scene::set().with_data(disk.path().join("data"));
    let manifest = scene.manifest("filling", &from, &scene.effects.handler(), "checkpointInterval: 100ms");
    let mut running = scene.run(&manifest, &from, &[]);
    scene.send(&from, &held(&scene, 20));
    running.reach("filling", "inFlight", 20);
    disk.fill(64 * MB).expect("it is filled");

    // What can't be kept is refused with the fix, and is not noted as sent.
    let sent = scene.path("sent.jsonl");
    let before = std::fs::read_to_string(&sent).expect("what was sent");
    scene.write("more.jsonl", &format!("{}\n", json!({"key": "late", "value": {}})));
    let refused = scene.try_send(&from, "more.jsonl", &[]);
    refused.must(1);
    assert!(refused.err.contains("the disk is full; make room"), "{}", refused.err);
    assert_eq!(std::fs::read_to_string(&sent).expect("what was sent"), before);

    // What executes comes to its end; only that it did can't be made durable.
    scene.touch("gate");
    running.see("their ends", |_| (scene.effects.ended().len() == 20).then_some(()));
    running.see("what is missing", |running| {
        let (status, missing) = running.get("/readyz");
        (status == 503 && missing.contains("the disk is full; make room")).then_some(())
    });
    assert_eq!(running.get("/livez").0, 200);

    disk.make_room().expect("there is room");
    running.see("readiness", |running| (running.get("/readyz").0 == 200).then_some(()));
    scene.send(&from, &numbered(100, 10));
    running.reach("filling", "completed", 120);
    assert_eq!(running.stop().0, Some(0));
    let found = scene.verify();
    assert_eq!((found["done"].as_u64(), found["duplicates"].as_u64()), (Some(120), Some(0)), "{found}");
}

#[test]
fn what_ended_on_a_full_disk_is_handled_again_and_never_lost() {
    for killed in [true, false] {
        let Some(disk) = Disk::mount(SMALL) else { return };
        let from = From::Embedded;
        let scene = Scene::set().with_data(disk.path().join("data"));
        // A stop tries to write the last checkpoint for as long as a drain may take.
        let more = "checkpointInterval: 100ms\ndrainTimeout: 1s";
        let manifest = scene.manifest("cut", &from, &scene.effects.handler(), more);
        let mut running = scene.run(&manifest, &from, &[]);
        scene.send(&from, &held(&scene, 20));
        running.reach("cut", "inFlight", 20);
        disk.fill(64 * MB).expect("it is filled");
        scene.touch("gate");
        running.see("their ends", |_| (scene.effects.ended().len() == 20).then_some(()));
        stop(running, killed);
        // Nobody has made room: what lies there can be read, and the trouble is said.
        let mut running = scene.run(&manifest, &from, &[]);
        running.see("what is missing", |running| {
            let (status, missing) = running.get("/readyz");
            (status == 503 && missing.contains("the disk is full; make room")).then_some(())
        });
        disk.make_room().expect("there is room");
        running.see("readiness", |running| (running.get("/readyz").0 == 200).then_some(()));
        running.reach("cut", "completed", 20);
        assert_eq!(running.stop().0, Some(0));
        assert_eq!(scene.verify()["done"], 20);
    }
}

/// Ends a run whose last checkpoint can't be written.
fn stop(running: Running, killed: bool) {
    if killed {
        return running.kill9();
    }
    let (code, said) = running.stop();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the last checkpoint was not saved"), "{said}");
}

/// Records of so many keys that all wait for a file.
fn held(scene: &Scene, keys: u64) -> Vec<Value> {
    let wait = json!({"wait": scene.path("gate")});
    (0..keys).map(|i| json!({"key": format!("k{i}"), "value": wait})).collect()
}

#[test]
fn an_event_log_on_a_full_disk_lacks_whole_lines_and_costs_no_record_anything() {
    let Some(disk) = Disk::mount(SMALL) else { return };
    let from = From::Embedded;
    let scene = Scene::set();
    let manifest = scene.manifest("noted", &from, &scene.effects.handler(), "");
    let events = disk.path().join("events.jsonl").display().to_string();
    let mut running = scene.run(&manifest, &from, &["--event-log", &events]);
    disk.fill(0).expect("it is filled");
    scene.send(&from, &numbered(5_000, 50));
    running.reach("noted", "completed", 5_000);
    running.see("the trouble", |running| running.said().contains("event log can't be written").then_some(()));
    disk.make_room().expect("there is room");
    scene.send(&from, &numbered(10, 5));
    running.reach("noted", "completed", 5_010);
    assert_eq!(running.stop().0, Some(0));
    let lines = std::fs::read_to_string(&events).expect("an event log");
    for line in lines.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "half a line: {line}");
    }
    assert!(lines.contains("\"released\""), "it was written again when there was room");
}

#[test]
fn a_log_and_a_display_on_a_full_disk_cost_no_record_anything() {
    let scene = Scene::set();
    let lines: String = numbered(500, 20).iter().map(|record| format!("{record}\n")).collect();
    scene.write("feed.jsonl", &lines);
    let more = "observability: {logLevel: Debug}\nretry: {maxAttempts: 1}\nonExhausted: {action: Skip}";
    let manifest = scene.manifest("unheard", &From::Embedded, &scene.effects.handler(), more);
    let more = ["--feed", "orders=feed.jsonl", "--until-idle", "1s"];
    let mut command = scene.run_command(&manifest, &From::Embedded, &more);
    let status = command.stdin(Stdio::null()).stdout(full()).stderr(full()).status().expect("it starts");
    assert_eq!(status.code(), Some(0));
    assert_eq!(scene.effects.ended().len(), 500);
    scene.keyweir(&["verify", "events.jsonl"]).must(0);
}

#[test]
fn what_nobody_reads_is_no_failure_and_what_cannot_be_written_is_one() {
    let scene = Scene::set();
    scene.manifest("plain", &From::Embedded, "builtin: {type: Drop}", "");
    for arguments in [
        &["crds"][..],
        &["completion", "bash"],
        &["check", "-f", "plain.yaml"],
        &["render", "-f", "plain.yaml"],
    ] {
        let mut command = scene.command(arguments);
        let written = command.stdin(Stdio::null()).stdout(full()).output().expect("it starts");
        let said = String::from_utf8_lossy(&written.stderr);
        assert_eq!(written.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("failed to write to standard output: No space left"), "{arguments:?}: {said}");

        let mut command = scene.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        drop(child.stdout.take());
        let read = child.wait_with_output().expect("it ends");
        assert_eq!((read.status.code(), read.stderr.len()), (Some(0), 0), "{arguments:?}");
    }
}

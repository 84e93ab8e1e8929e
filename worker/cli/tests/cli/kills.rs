//! Killed with kill -9 at random moments, again and again: nothing is lost, no order is broken, and what is handled
//! again was unfinished or had completed since the last durable checkpoint. And stopped under a backlog: nothing at
//! all is handled twice.
//!
//! `KEYWEIR_KILLS`, `KEYWEIR_KILL_RECORDS`, `KEYWEIR_STOPS` and `KEYWEIR_STOP_RECORDS` ask for longer runs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use keyweir_core::Checkpoint;
use keyweir_worker::event_log::{Ending, Line, Step};

use crate::support::random::{Random, number};
use crate::support::scene::{From, Scene, numbered};
use crate::support::stored;

const PARTITIONS: u32 = 8;

#[test]
fn kills_lose_nothing_and_repeat_only_what_no_checkpoint_knew_embedded() {
    killed(&From::Embedded, 1);
}

#[test]
fn kills_lose_nothing_and_repeat_only_what_no_checkpoint_knew_kafka() {
    killed(&From::kafka(PARTITIONS as i32), 2);
}

#[test]
fn stops_under_a_backlog_lose_nothing_and_repeat_nothing_embedded() {
    stopped(&From::Embedded, 3);
}

#[test]
fn stops_under_a_backlog_lose_nothing_and_repeat_nothing_kafka() {
    stopped(&From::kafka(PARTITIONS as i32), 4);
}

/// One incarnation, and what was durable after its end: by partition the checkpoint, and the group's offset as tools
/// see it.
#[derive(Default)]
struct Life {
    process: u32,
    durable: HashMap<u32, Checkpoint>,
    committed: HashMap<u32, i64>,
}

impl Life {
    fn after(process: u32, scene: &Scene, from: &From) -> Self {
        let durable = stored::checkpoints(&scene.data(), "killed", from.topic(), PARTITIONS);
        let found =
            from.broker().map(|broker| broker.committed(&from.group(), from.topic()).expect("offsets"));
        let committed = found.into_iter().flatten().filter_map(|of| Some((of.partition as u32, of.offset?)));
        Self { process, durable, committed: committed.collect() }
    }
}

fn killed(from: &From, seed: u64) {
    let scene = Scene::set();
    let records = number("KEYWEIR_KILL_RECORDS", 10_000);
    scene.send(from, &numbered(records, 100));
    // So fast that each incarnation gets somewhere, so slowly that the last one still has work.
    let pace = "execution: {rateLimit: {recordsPerSecond: 1000}}";
    let manifest = scene.manifest("killed", from, &scene.effects.handler(), pace);
    let mut random = Random::new(seed);
    let mut lives = Vec::new();
    for _ in 0..number("KEYWEIR_KILLS", 6) {
        let mut running = scene.run(&manifest, from, &[]);
        let process = running.process();
        running.see("work", |running| (running.count("killed", "completed")? > 0).then_some(()));
        std::thread::sleep(random.between(Duration::ZERO, Duration::from_millis(1_800)));
        running.kill9();
        lives.push(Life::after(process, &scene, from));
    }
    let durable: i64 = lives.last().unwrap().durable.values().map(|found| found.frontier.0).sum();
    assert!(durable > 0, "some kills came after a checkpoint");
    let manifest = scene.manifest("killed", from, &scene.effects.handler(), "");
    let last = scene.run(&manifest, from, &["--until-idle", "1s"]);
    lives.push(Life { process: last.process(), ..Life::default() });
    let (code, said) = last.end();
    assert_eq!(code, Some(0), "{said}");

    let found = scene.verify();
    assert_eq!(found["done"], records);
    let worst = replays(&scene, &lives);
    assert_eq!(scene.effects.ended().len() as u64, records, "the witness saw every record to its end");
    println!(
        "{} kills, {records} records, at most {worst} replays after a kill, {} in all",
        lives.len() - 1,
        found["duplicates"]
    );
}

/// A record: its partition and its offset.
type Place = (u32, i64);

/// U45: no incarnation begins what a durable checkpoint knew to be complete, and each goes on exactly at the frontier.
/// Gives the most replays after one kill.
fn replays(scene: &Scene, lives: &[Life]) -> usize {
    let lines = events(scene);
    let mut done = HashSet::new();
    let mut worst = 0;
    for (number, life) in lives.iter().enumerate() {
        let member = format!("pid-{}.", life.process);
        let own: Vec<_> = lines.iter().filter(|line| line.member.starts_with(&member)).collect();
        let begun = own.iter().filter(|line| line.step == Step::Started);
        let begun: HashSet<_> = begun.map(|line| (line.partition, line.offset.unwrap())).collect();
        if let Some(before) = number.checked_sub(1).map(|before| &lives[before]) {
            must_be_true(before, &done);
            for (partition, known) in &before.durable {
                let again =
                    begun.iter().find(|(of, offset)| of == partition && stored::is_complete(known, *offset));
                assert_eq!(again, None, "it was durably complete and is handled again in life {number}");
                let read = own.iter().filter(|line| matches!(line.step, Step::Polled | Step::Skipped));
                let first =
                    read.filter(|line| line.partition == *partition).filter_map(|line| line.offset).min();
                assert!(
                    first.is_none_or(|first| first == known.frontier.0),
                    "life {number} began at {first:?} of {partition}"
                );
            }
        }
        worst = worst.max(begun.intersection(&done).count());
        let ended = own.iter().filter(|line| line.verdict == Some(Ending::Done));
        done.extend(ended.map(|line| (line.partition, line.offset.unwrap())));
    }
    worst
}

/// What is durable after a kill is not beyond the lowest unfinished record, and what it counts above that is done.
fn must_be_true(life: &Life, done: &HashSet<Place>) {
    for (partition, known) in &life.durable {
        let unfinished = (0..).find(|offset| !done.contains(&(*partition, *offset))).unwrap_or_default();
        assert!(known.frontier.0 <= unfinished, "{partition}: {known:?}, and {unfinished} is unfinished");
        let ahead = known.completed.iter().flat_map(|range| range.start.0..range.end.0);
        let untrue = ahead.into_iter().find(|offset| !done.contains(&(*partition, *offset)));
        assert_eq!(untrue, None, "{partition}: it counts as complete and was never done");
        let committed = life.committed.get(partition).copied().unwrap_or_default();
        assert!(committed <= known.frontier.0, "{partition}: {committed} is committed, {known:?}");
    }
}

/// The event log's lines; those that a kill cut off are passed over.
fn events(scene: &Scene) -> Vec<Line> {
    let text = std::fs::read(scene.events()).expect("an event log");
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn stopped(from: &From, seed: u64) {
    let scene = Scene::set();
    let records = number("KEYWEIR_STOP_RECORDS", 20_000);
    scene.send(from, &numbered(records, 500));
    let pace = "execution: {rateLimit: {recordsPerSecond: 3000}}";
    let manifest = scene.manifest("stopped", from, &scene.effects.handler(), pace);
    let mut random = Random::new(seed);
    for _ in 0..number("KEYWEIR_STOPS", 3) {
        let running = scene.run(&manifest, from, &[]);
        std::thread::sleep(random.between(Duration::ZERO, Duration::from_millis(1_500)));
        let (code, said) = running.stop();
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    let manifest = scene.manifest("stopped", from, "builtin: {type: Drop}", "");
    scene.run_to_end(&manifest, from, &["--until-idle", "1s"]).must(0);
    let found = scene.verify();
    assert_eq!(found["done"], records);
    assert_eq!((found["duplicates"].as_u64(), found["attempts"].as_u64()), (Some(0), Some(records)));
}

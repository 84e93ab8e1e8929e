//! Kills among many workers: what is handled again is what no durable checkpoint knew.
//!
//! `KEYWEIR_KILLS` asks for more of them.

use std::collections::{HashMap, HashSet};

use keyweir_e2e::fleet::{Fleet, FleetOptions, unix_millis};
use serde_json::Value;

use super::{KEYS, RATE, fleet, judge, wait_a_while};

/// A kill: the victim, and below which offset all was durably complete of each of its shards.
struct Kill {
    victim: usize,
    /// When, in milliseconds since the epoch.
    at: u64,
    durable: HashMap<u64, i64>,
}

/// Kills the oldest worker and reads what its checkpoints say before anybody takes its shards over.
fn kill(fleet: &mut Fleet) -> Kill {
    let victim = fleet.running().next().unwrap();
    fleet.kill9(victim).unwrap();
    let at = unix_millis();
    let said = fleet.ask(&["shards", "--json"]).unwrap();
    let rows = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let owner = format!("worker-{victim}.");
    let durable = rows.filter(|row| row["owner"].as_str().is_some_and(|name| name.starts_with(&owner)));
    let frontier = |row: Value| {
        let partition = row["shard"].as_str()?.rsplit_once('/')?.1.parse().ok()?;
        Some((partition, row["frontier"].as_i64()?))
    };
    Kill { victim, at, durable: durable.filter_map(frontier).collect() }
}

/// Where the records stand that a worker's event log says this of.
fn places(fleet: &Fleet, number: usize, says: impl Fn(&Value) -> bool) -> Vec<(u64, i64)> {
    let log = std::fs::read_to_string(fleet.event_log(number)).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| says(line))
        .filter_map(|line| Some((line["partition"].as_u64()?, line["offset"].as_i64()?)))
        .collect()
}

/// U60, for many workers: 0 lost, and no survivor begins what a durable checkpoint of the victim knew to be complete.
#[test]
fn survivors_repeat_only_what_no_durable_checkpoint_knew() {
    let wanted = std::env::var("KEYWEIR_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4);
    let mut fleet = fleet(&FleetOptions { member_ttl: "5s", ..FleetOptions::default() });
    for _ in 0..3 {
        fleet.start().unwrap();
    }
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    let mut kills = Vec::new();
    for _ in 0..wanted {
        wait_a_while();
        kills.push(kill(&mut fleet));
        fleet.start().unwrap();
        fleet.settle().unwrap();
    }
    wait_a_while();
    let done_again = |kill: &Kill| -> (usize, usize) {
        let done = places(&fleet, kill.victim, |line| line["step"] == "ended" && line["verdict"] == "done");
        let done: HashSet<_> = done.into_iter().filter(|(of, _)| kill.durable.contains_key(of)).collect();
        let afterwards = |line: &Value| line["step"] == "started" && line["wallMs"].as_u64() >= Some(kill.at);
        let survivors = (0..).take_while(|number| fleet.event_log(*number).is_file());
        let begun: HashSet<_> = survivors
            .filter(|number| *number != kill.victim)
            .flat_map(|number| places(&fleet, number, afterwards))
            .collect();
        let again: Vec<_> = begun.intersection(&done).collect();
        let known = again.iter().filter(|(of, offset)| *offset < kill.durable[of]).count();
        (again.len(), known)
    };
    for kill in &kills {
        assert!(!kill.durable.is_empty(), "it owned shards that had checkpoints");
        let (again, known) = done_again(kill);
        println!("{} was killed: {again} done again", kill.victim);
        assert_eq!(known, 0, "what was durably complete is not handled again");
    }
    judge(fleet, load).must_be_clean();
}

//! `routing: Key`: more workers than partitions are useful, in order, whoever of them joins, leaves or dies.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use keyweir_e2e::fleet::{Fleet, FleetOptions, Load};
use serde_json::{Value, json};

use super::{KEYS, RATE, fleet, judge, wait_a_while};

/// Workers on two partitions, their keys routed over all of them, under load.
fn routed(workers: usize) -> (Fleet, Load) {
    let options = FleetOptions { partitions: 2, spec: json!({"routing": "Key"}), ..FleetOptions::default() };
    let mut fleet = fleet(&options);
    for _ in 0..workers {
        fleet.start().unwrap();
    }
    fleet.settle().unwrap();
    let load = fleet.load(RATE, KEYS).unwrap();
    (fleet, load)
}

/// How many records each worker executed to their end, by its own event log.
fn executed(fleet: &Fleet, workers: usize) -> BTreeMap<usize, usize> {
    let of = |number: usize| {
        let log = BufReader::new(std::fs::File::open(fleet.event_log(number)).unwrap());
        let lines = log.split(b'\n').filter_map(|line| serde_json::from_slice::<Value>(&line.unwrap()).ok());
        lines.filter(|line| line["step"] == "ran" && line["verdict"] == "done").count()
    };
    (0..workers).map(|number| (number, of(number))).collect()
}

/// Issue 4: twenty workers on eight partitions all work, in order, under grants.
#[test]
fn six_workers_on_two_partitions_all_execute_and_keep_order() {
    let (fleet, load) = routed(6);
    wait_a_while();
    wait_a_while();
    let routed: f64 =
        (0..6).filter_map(|number| fleet.worker(number).metric("keyweir_records_routed_total")).sum();
    assert!(routed > 100.0, "{routed}");
    std::thread::sleep(Duration::from_secs(1));
    let executed = executed(&fleet, 6);
    println!("executed by worker: {executed:?}");
    assert!(executed.values().all(|count| *count > 50), "{executed:?}");
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

/// U31: who executes a key's records can be asked, and is who executes them.
#[test]
fn whoever_is_named_for_a_key_executes_its_records() {
    let (fleet, load) = routed(3);
    wait_a_while();
    let named = |key: &str| -> Value {
        let said = fleet.ask(&["members", "--json", "--key", key]).unwrap();
        serde_json::from_str(said.trim()).unwrap()
    };
    for key in ["key-0", "key-7", "key-33"] {
        let member = named(key)["member"].as_str().unwrap().to_owned();
        let number = member.trim_start_matches("worker-").split('.').next().unwrap().parse().unwrap();
        let hash = format!("{:016x}", fnv1a(key));
        let ran = |worker: usize| {
            let log = std::fs::read_to_string(fleet.event_log(worker)).unwrap();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.filter(|line| line["step"] == "ran" && line["key"] == *hash).count()
        };
        let elsewhere: usize = (0..3).filter(|worker| *worker != number).map(ran).sum();
        assert!(ran(number) > 0 && elsewhere == 0, "{key} is {member}'s, and {elsewhere} ran elsewhere");
    }
    judge(fleet, load).must_be_clean();
}

/// The hash by which event logs name keys.
fn fnv1a(key: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    key.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Planned changes of owners and of targets: nothing is lost, nothing is handled twice, nothing is out of order.
#[test]
fn owners_and_targets_that_join_and_leave_under_load_repeat_nothing() {
    let (mut fleet, load) = routed(3);
    wait_a_while();
    for _ in 0..2 {
        fleet.start().unwrap();
    }
    fleet.settle().unwrap();
    wait_a_while();
    for number in fleet.running().take(3).collect::<Vec<_>>() {
        fleet.leave(number).unwrap();
        wait_a_while();
    }
    fleet.settle().unwrap();
    let findings = judge(fleet, load);
    findings.must_be_clean();
    assert_eq!(findings.count("duplicates"), 0, "{findings}");
}

/// A dead or slow target costs one attempt or a re-route, never order; a dead owner what it always costs.
#[test]
fn workers_that_are_killed_or_frozen_under_load_break_no_order() {
    let (mut fleet, load) = routed(5);
    wait_a_while();
    for turn in 0..3 {
        let victim = fleet.running().nth(turn % 2).unwrap();
        if turn == 1 {
            fleet.freeze(victim).unwrap();
            std::thread::sleep(Duration::from_secs(6));
            fleet.thaw(victim).unwrap();
        } else {
            fleet.kill9(victim).unwrap();
            wait_a_while();
            fleet.start().unwrap();
        }
        fleet.settle().unwrap();
        wait_a_while();
    }
    judge(fleet, load).must_be_clean();
}

/// The wire is for members: who does not know their secret is sent away and counted.
#[test]
fn a_stranger_on_the_wire_is_refused_and_counted() {
    let (fleet, load) = routed(2);
    let mut stranger = TcpStream::connect(fleet.worker(0).wire()).unwrap();
    stranger.write_all(b"POST /run HTTP/1.1\r\nHost: worker\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut said = Vec::new();
    // It may be told so by a reset: what it sent was never read to its end.
    let _ = stranger.read_to_end(&mut said);
    assert_eq!(said, b"");
    keyweir_e2e::wait::until("the stranger is counted", Duration::from_secs(10), || {
        fleet.worker(0).metric("keyweir_wire_refused_total") == Some(1.0)
    })
    .unwrap();
    judge(fleet, load).must_be_clean();
}

//! The probe: what each change costs. 1,000 records a second over 8 partitions, a handler of 10 ms, three workers; one
//! table of end-to-end latencies (from sending to the end of the handler) and of the longest stall of a key.

use std::fmt::Write;
use std::time::Duration;

use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::{Fleet, FleetOptions, Latencies, Sent, unix_millis};
use keyweir_e2e::parts;

use super::{alone, is_long};

const RATE: u32 = 1000;
const KEYS: u32 = 800;

/// One change, and from when to when its records count.
struct Change {
    name: &'static str,
    from: u64,
    to: u64,
}

struct Probe {
    fleet: Fleet,
    etcd: Etcd,
    ttl: Duration,
    changes: Vec<Change>,
}

#[test]
fn planned_changes_repeat_nothing_and_every_change_has_its_price() {
    let _alone = alone();
    let (ttl, rounds) = if is_long() { ("5s", 3) } else { ("2s", 1) };
    let etcd = Etcd::start().unwrap();
    let options = FleetOptions { member_ttl: ttl, ..FleetOptions::default() };
    let fleet = Fleet::make(parts::kafka().unwrap(), &etcd.endpoint(), &options).unwrap();
    let ttl = Duration::from_secs(ttl.trim_end_matches('s').parse().unwrap());
    let mut probe = Probe { fleet, etcd, ttl, changes: Vec::new() };
    for _ in 0..3 {
        probe.fleet.start().unwrap();
    }
    probe.fleet.settle().unwrap();
    let load = probe.fleet.load(RATE, KEYS).unwrap();
    // The first second warms everything up.
    std::thread::sleep(Duration::from_secs(1));
    probe.change("steady", |_| std::thread::sleep(Duration::from_secs(5)));
    for _ in 0..rounds {
        probe.planned();
    }
    if is_long() {
        for _ in 0..rounds {
            probe.unplanned();
        }
    }
    let sent = load.finish().unwrap();
    probe.fleet.drained(Duration::from_secs(120)).unwrap();
    let table = probe.table(&sent);
    println!("{table}");
    let findings = probe.fleet.verify(&sent).unwrap();
    println!("{} sent, {findings}", sent.len());
    findings.must_be_clean();
    if !is_long() {
        assert_eq!(findings.count("duplicates"), 0, "{findings}");
    }
}

impl Probe {
    /// Makes a change under load; its records are those sent from its beginning until a second after its end.
    fn change(&mut self, name: &'static str, make: impl FnOnce(&mut Self)) {
        let from = unix_millis();
        make(self);
        std::thread::sleep(Duration::from_secs(1));
        self.changes.push(Change { name, from, to: unix_millis() });
        // Its last records are handled before the next change meets them.
        std::thread::sleep(Duration::from_millis(500));
        self.fleet.settle().unwrap();
    }

    fn planned(&mut self) {
        self.change("join", |probe| {
            probe.fleet.start().unwrap();
            probe.fleet.settle().unwrap();
        });
        self.change("graceful leave", |probe| {
            let oldest = probe.fleet.running().next().unwrap();
            probe.fleet.leave(oldest).unwrap();
            probe.fleet.settle().unwrap();
        });
        self.change("rolling replacement of all", |probe| {
            for old in probe.fleet.running().collect::<Vec<_>>() {
                probe.fleet.start().unwrap();
                probe.fleet.settle().unwrap();
                probe.fleet.leave(old).unwrap();
            }
        });
    }

    fn unplanned(&mut self) {
        self.change("etcd restart", |probe| {
            probe.etcd.restart().unwrap();
            std::thread::sleep(Duration::from_secs(2));
        });
        self.change("kill -9", |probe| {
            let victim = probe.fleet.running().next().unwrap();
            probe.fleet.kill9(victim).unwrap();
            std::thread::sleep(probe.ttl + Duration::from_secs(1));
            probe.fleet.settle().unwrap();
        });
        self.fleet.start().unwrap();
        self.fleet.settle().unwrap();
        self.change("SIGSTOP for 20 s", |probe| {
            let frozen = probe.fleet.running().next().unwrap();
            probe.fleet.freeze(frozen).unwrap();
            std::thread::sleep(Duration::from_secs(20));
            probe.fleet.thaw(frozen).unwrap();
            probe.fleet.settle().unwrap();
        });
    }

    /// A row for each kind of change, as Markdown: the worst of its rounds.
    fn table(&self, sent: &[Sent]) -> String {
        let timeline = self.fleet.timeline().unwrap();
        let mut table = String::from(
            "| change | records | p50 ms | p99 ms | longest stall of a key, ms | of a key that did not move, ms |\n\
             |---|---|---|---|---|---|\n",
        );
        let mut names: Vec<&str> = Vec::new();
        for Change { name, .. } in &self.changes {
            if !names.contains(name) {
                names.push(name);
            }
        }
        for name in names {
            let rounds = self.changes.iter().filter(|change| change.name == name);
            let found: Vec<_> =
                rounds.map(|change| timeline.latencies(sent, change.from, change.to)).collect();
            let worst = |of: fn(&Latencies) -> u64| {
                let all = found.iter().map(of).max();
                all.unwrap_or_default()
            };
            let records: usize = found.iter().map(|found| found.records).sum();
            let unmoved = worst(|found| found.longest_unmoved);
            writeln!(
                table,
                "| {name} | {records} | {} | {} | {} | {unmoved} |",
                worst(|found| found.p50),
                worst(|found| found.p99),
                worst(|found| found.longest),
            )
            .unwrap();
        }
        table
    }
}

//! A storm: a seeded schedule of joins, leaves, kills, freezes, cuts and restarts under load. Whatever happens, nothing
//! is lost, order is kept, no key is in two hands and no shard has two owners.

use std::time::{Duration, Instant};

use keyweir_e2e::broker::Broker;
use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::{Fleet, FleetError, FleetOptions, Link};
use serde_json::json;

use super::{alone, is_long};

const SEED: u64 = 20_261_121;

/// How hard it blows.
struct Strength {
    lasts: Duration,
    workers: usize,
    records_per_second: u32,
    frozen_for: Duration,
}

impl Strength {
    fn chosen() -> Self {
        let (lasts, workers, records_per_second, frozen) =
            if is_long() { (600, 8, 1000, 20) } else { (25, 4, 300, 4) };
        let (lasts, frozen_for) = (Duration::from_secs(lasts), Duration::from_secs(frozen));
        Self { lasts, workers, records_per_second, frozen_for }
    }
}

#[test]
fn whatever_happens_to_workers_etcd_and_broker_nothing_is_lost_and_order_is_kept() {
    let _alone = alone();
    let seed = std::env::var("KEYWEIR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED);
    println!("the storm of seed {seed}");
    let strength = Strength::chosen();
    let mut storm = Storm::begin(seed, &strength);
    let load = storm.fleet.load(strength.records_per_second, 200).unwrap();
    let until = Instant::now() + strength.lasts;
    while Instant::now() < until {
        storm.event(&strength);
        storm.thaw_due();
        std::thread::sleep(Duration::from_millis(storm.chance.below(1500)));
    }
    storm.calm_down();
    let sent = load.finish().unwrap();
    storm.fleet.drained(Duration::from_secs(180)).unwrap();
    for number in storm.fleet.running().collect::<Vec<_>>() {
        storm.fleet.leave(number).unwrap();
    }
    let findings = storm.fleet.verify(&sent).unwrap();
    println!("{} events, {} sent, {findings}", storm.events, sent.len());
    assert!(findings.count("records") >= sent.len() as u64, "{findings}");
    findings.must_be_clean();
}

/// What is chosen by the seed: xorshift, the same everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

struct Storm {
    chance: Chance,
    fleet: Fleet,
    broker: Broker,
    etcd: Etcd,
    link: Link,
    /// The worker behind the link, where there is one.
    linked: Option<usize>,
    cut_until: Option<Instant>,
    frozen: Vec<(usize, Instant)>,
    began: Instant,
    events: usize,
}

impl Storm {
    fn begin(seed: u64, strength: &Strength) -> Self {
        let (broker, etcd) = (Broker::start().unwrap(), Etcd::start().unwrap());
        let link = Link::to(etcd.endpoint().trim_start_matches("http://")).unwrap();
        let mut fleet = Fleet::make(broker.kafka(), &etcd.endpoint(), &FleetOptions::default()).unwrap();
        for _ in 0..strength.workers / 2 {
            fleet.start().unwrap();
        }
        fleet.settle().unwrap();
        let began = Instant::now();
        let chance = Chance(seed | 1);
        let (linked, cut_until, frozen) = (None, None, Vec::new());
        Self { chance, fleet, broker, etcd, link, linked, cut_until, frozen, began, events: 0 }
    }

    /// The next event. One that is out of place does nothing.
    fn event(&mut self, strength: &Strength) {
        let free = self.free();
        let any = free.get(self.chance.below(free.len().max(1) as u64) as usize).copied();
        let spare = free.len() > 1;
        let room = self.fleet.running().count() < strength.workers;
        self.events += 1;
        match (self.chance.below(20), any) {
            (0..=4, _) if room => {
                let number = self.fleet.start().unwrap();
                self.say(&format!("start {number}"));
            }
            (5..=7, Some(number)) if spare => {
                self.say(&format!("leave {number}"));
                self.leave(number);
            }
            (8..=10, Some(number)) if spare => {
                self.say(&format!("kill -9 {number}"));
                self.fleet.kill9(number).unwrap();
            }
            (11 | 12, Some(number)) if spare => {
                self.say(&format!("freeze {number}"));
                self.fleet.freeze(number).unwrap();
                self.frozen.push((number, Instant::now() + strength.frozen_for));
            }
            (13, _) => {
                self.say("restart etcd");
                self.etcd.restart().unwrap();
            }
            (14, _) => {
                self.say("compact etcd");
                // It refuses when nothing has changed since the last one.
                let _ = self.etcd.compact();
            }
            (15, _) => {
                self.say("restart the broker");
                self.broker.restart().unwrap();
            }
            (16 | 17, _) => self.cut_or_mend(room),
            (18, _) => self.scale(strength.workers),
            (19, _) => self.scale(2),
            _ => {}
        }
    }

    fn say(&self, what: &str) {
        println!("{:>6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Workers that are neither frozen nor cut off.
    fn free(&self) -> Vec<usize> {
        let away = |number: &usize| {
            let frozen = self.frozen.iter().any(|(frozen, _)| frozen == number);
            frozen || self.cut_until.is_some() && self.linked == Some(*number)
        };
        self.fleet.running().filter(|number| !away(number)).collect()
    }

    /// A worker that leaves while its servers are away may be cut short: it says so, and nothing is lost.
    fn leave(&mut self, number: usize) {
        match self.fleet.leave(number) {
            Err(FleetError::Unclean { status, .. }) => self.say(&format!("{number} was cut short: {status}")),
            ended => ended.unwrap(),
        }
    }

    fn scale(&mut self, to: usize) {
        self.say(&format!("scale to {to}"));
        while self.fleet.running().count() < to {
            self.fleet.start().unwrap();
        }
        while self.fleet.running().count() > to
            && let Some(number) = self.free().first().copied()
            && self.free().len() > 1
        {
            self.leave(number);
        }
    }

    /// One worker sees etcd through a link that can be cut.
    fn cut_or_mend(&mut self, room: bool) {
        let runs = self.linked.filter(|linked| self.fleet.running().any(|number| number == *linked));
        if runs.is_none() {
            self.link.mend();
            self.cut_until = None;
            self.linked = None;
            if room {
                let near = format!("http://{}", self.link.address());
                let started = self.fleet.start_with(|config| {
                    let endpoints = config.pointer_mut("/fixed/coordination/etcd/endpoint/endpoints");
                    *endpoints.unwrap() = json!([near]);
                });
                self.linked = Some(started.unwrap());
                self.say("start one behind the link");
            }
        } else if self.cut_until.is_none() && self.free().len() > 1 {
            self.say("cut the link");
            self.link.cut();
            self.cut_until = Some(Instant::now() + Duration::from_secs(4));
        }
    }

    fn thaw_due(&mut self) {
        let now = Instant::now();
        let (due, later) = self.frozen.iter().copied().partition(|(_, until)| *until <= now);
        self.frozen = later;
        for (number, _) in due {
            self.say(&format!("thaw {number}"));
            self.fleet.thaw(number).unwrap();
        }
        if self.cut_until.is_some_and(|until| until <= now) {
            self.say("mend the link");
            self.link.mend();
            self.cut_until = None;
        }
    }

    /// Everything works again, and a worker is there.
    fn calm_down(&mut self) {
        for (number, _) in std::mem::take(&mut self.frozen) {
            self.fleet.thaw(number).unwrap();
        }
        self.link.mend();
        if self.fleet.running().next().is_none() {
            self.fleet.start().unwrap();
        }
        self.fleet.settle().unwrap();
        self.say("calm");
    }
}

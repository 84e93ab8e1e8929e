//! A storm: a seeded schedule of joins, leaves, kills, freezes, cuts and restarts under load, over two objects on one etcd:
//! one reads Kafka, the other a path of that etcd. Whatever happens, nothing is lost, order is kept, no key is in two
//! hands and no shard has two owners.

use std::time::{Duration, Instant};

use keyweir_e2e::broker::{Broker, BrokerOptions};
use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::{Fleet, FleetOptions, Link, Space};

use super::crowd::{Crowd, Way};
use super::{alone, is_long};

const SEED: u64 = 20_261_121;

/// Changes a second below the path, over so many keys.
const CHANGES: u32 = 50;
const CHANGED_KEYS: u32 = 60;

/// How long a worker does not see etcd.
const CUT: Duration = Duration::from_secs(4);

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
    let load = storm.records.fleet.load(strength.records_per_second, 200).unwrap();
    let changes = storm.changes.fleet.writes(CHANGES, CHANGED_KEYS).unwrap();
    let until = Instant::now() + strength.lasts;
    while Instant::now() < until {
        storm.event(&strength);
        storm.relent();
        std::thread::sleep(Duration::from_millis(storm.chance.below(1500)));
    }
    storm.calm_down();
    let Storm { mut records, changes: mut crowd, events, .. } = storm;

    let sent = load.finish().unwrap();
    records.fleet.drained(Duration::from_secs(180)).unwrap();
    records.go_home();
    let findings = records.fleet.verify(&sent).unwrap();
    println!("{events} events, {} sent, {findings}", sent.len());
    assert!(findings.count("records") >= sent.len() as u64, "{findings}");
    findings.must_be_clean();

    // What a compaction took while nobody could read was made up for by listing, at places of its own. So what is looked
    // for is each key's last word, beside order and hands of all that was handled.
    drop(changes.finish());
    let last = crowd.fleet.writes(CHANGES, CHANGED_KEYS).unwrap();
    std::thread::sleep(Duration::from_secs(u64::from(2 * CHANGED_KEYS / CHANGES)));
    let last = last.finish();
    assert!(last.len() >= CHANGED_KEYS as usize, "{} last words", last.len());
    crowd.fleet.handled(&last, Duration::from_secs(60)).unwrap();
    crowd.go_home();
    let findings = crowd.fleet.verify(&last).unwrap();
    println!("{} last words, {findings}", last.len());
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

/// Workers go before what they stand on: fields are dropped in their order.
struct Storm {
    chance: Chance,
    /// They read Kafka.
    records: Crowd,
    /// They read a path of etcd.
    changes: Crowd,
    broker: Broker,
    etcd: Etcd,
    way: Way,
    began: Instant,
    events: usize,
}

impl Storm {
    fn begin(seed: u64, strength: &Strength) -> Self {
        let (way, broker, etcd) = match Space::make() {
            Ok(space) => {
                let broker = Broker::start_with(BrokerOptions::on(&space.kafka_host())).unwrap();
                let etcd = Etcd::start_on(&space.etcd_host(), &[]).unwrap();
                (Way::Space(space), broker, etcd)
            }
            Err(error) => {
                println!("NOT WITH A NETWORK NAMESPACE, which can't be made here: {error}");
                println!("One worker's connections to etcd are held up instead.");
                let etcd = Etcd::start().unwrap();
                let link = Link::to(etcd.endpoint().trim_start_matches("http://")).unwrap();
                (Way::Link(link), Broker::start().unwrap(), etcd)
            }
        };
        let options = FleetOptions::default();
        let records = Fleet::make(broker.kafka(), &etcd.endpoint(), &options).unwrap();
        let records = Crowd::begin("records", records, strength.workers);
        let changes = Fleet::make_on_etcd(&etcd.endpoint(), &options).unwrap();
        let changes = Crowd::begin("changes", changes, strength.workers.div_ceil(2));
        let (began, chance) = (Instant::now(), Chance(seed | 1));
        Self { chance, records, changes, broker, etcd, way, began, events: 0 }
    }

    /// The next event. One that is out of place does nothing.
    fn event(&mut self, strength: &Strength) {
        self.events += 1;
        let of_changes = self.chance.below(3) == 0;
        let (drawn, draw) = (self.chance.below(20), self.chance.below(u64::MAX));
        let crowd = if of_changes { &mut self.changes } else { &mut self.records };
        let free = crowd.free();
        let any = free.get((draw % free.len().max(1) as u64) as usize).copied();
        let spare = free.len() > 1;
        let said = match (drawn, any) {
            (0..=4, _) if crowd.has_room() => Some(crowd.start()),
            (5..=7, Some(number)) if spare => Some(crowd.leave(number)),
            (8..=10, Some(number)) if spare => Some(crowd.kill(number)),
            (11 | 12, Some(number)) if spare => Some(crowd.freeze(number, strength.frozen_for)),
            (13, _) => {
                self.etcd.restart().unwrap();
                Some("restart etcd".to_owned())
            }
            (14, _) => {
                // It refuses when nothing has changed since the last one.
                let _ = self.etcd.compact();
                Some("compact etcd".to_owned())
            }
            (15, _) => {
                self.broker.restart().unwrap();
                Some("restart the broker".to_owned())
            }
            // There is one way that can be cut, and those who read records have it.
            (16 | 17, _) => self.records.cut(&self.way, CUT),
            (18, _) => Some(crowd.scale(crowd.most)),
            (19, _) => Some(crowd.scale(2)),
            _ => None,
        };
        self.say(said);
    }

    fn say(&self, said: impl IntoIterator<Item = String>) {
        for said in said {
            println!("{:>6.1} s  {said}", self.began.elapsed().as_secs_f64());
        }
    }

    fn relent(&mut self) {
        let said = [self.records.relent(&self.way), self.changes.relent(&self.way)].concat();
        self.say(said);
    }

    fn calm_down(&mut self) {
        self.way.mend();
        self.records.calm_down();
        self.changes.calm_down();
        self.say(["calm".to_owned()]);
    }
}

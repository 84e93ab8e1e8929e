//! Everything at once, seeded: whatever happened, no shard had two owners, and in the end each has one.

use std::time::Duration;

use tokio::time::sleep;

use super::fleet::Fleet;
use super::works::Works;

const SEEDS: u64 = 40;
const STEPS: usize = 60;

/// Small and seeded: the same run for the same seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

async fn step(fleet: &mut Fleet, dice: &mut Dice) {
    let members: Vec<usize> = fleet.members.keys().copied().collect();
    let some = members.get(dice.below(members.len().max(1) as u64) as usize).copied();
    match (dice.below(14), some) {
        (0..=2, _) if members.len() < 8 => drop(fleet.join()),
        (3, Some(member)) if !fleet.member(member).client.is_cut() => fleet.leave(member).await,
        (4, Some(member)) => fleet.kill(member).await,
        (5, Some(member)) => fleet.member(member).client.cut(),
        (6 | 7, Some(member)) => fleet.member(member).client.heal(),
        (8, Some(member)) => fleet.member(member).client.lose_answers(1 + dice.below(3) as usize),
        (9, _) => fleet.store.compact(),
        (10, _) => fleet.store.cut_watches(),
        (11, Some(member)) => drop(fleet.member(member).healthy.send(dice.below(2) == 0)),
        (12, Some(member)) => {
            fleet.member(member).client.set_latency(Duration::from_millis(dice.below(400)));
        }
        _ => {}
    }
    let pause = if dice.below(3) == 0 { 8000 } else { 300 };
    sleep(Duration::from_millis(dice.below(pause))).await;
    fleet.check();
}

#[test]
fn no_sequence_of_changes_makes_two_owners_or_an_orphan() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut dice = Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut fleet = Fleet::new(1 + dice.below(24) as u32);
            fleet.join();
            for _ in 0..STEPS {
                step(&mut fleet, &mut dice).await;
            }
            if fleet.members.is_empty() {
                fleet.join();
            }
            for member in fleet.members.values() {
                member.client.heal();
                member.client.lose_answers(0);
                member.client.set_latency(Duration::from_millis(2));
                let _ = member.healthy.send(true);
            }
            let took = fleet.settled(Duration::from_secs(30)).await;
            println!("seed {seed}: settled after {took:?}, {} writes", fleet.store.writes());
        });
    }
}

/// Handler times as the value says, in milliseconds.
fn millis(value: &str) -> Duration {
    Duration::from_millis(value.parse().unwrap_or_default())
}

async fn work(works: &mut Works, dice: &mut Dice, partitions: u32) {
    for _ in 0..dice.below(80) {
        let partition = dice.below(u64::from(partitions)) as u32;
        let key = format!("k{}", dice.below(9));
        let takes = if dice.below(40) == 0 { dice.below(20_000) } else { dice.below(60) };
        works.send(partition, (dice.below(10) > 0).then_some(&*key), &takes.to_string());
    }
    let processes: Vec<usize> = works.processes.keys().copied().collect();
    let some = processes.get(dice.below(processes.len().max(1) as u64) as usize).copied();
    match (dice.below(12), some) {
        (0..=2, _) if processes.len() < 5 => drop(works.start()),
        (3 | 4, Some(process)) if !works.processes[&process].client.is_cut() => {
            drop(works.stop(process).await)
        }
        (5, Some(process)) => works.kill(process).await,
        (6, Some(process)) => works.processes[&process].client.cut(),
        (7 | 8, Some(process)) => works.processes[&process].client.heal(),
        (9, Some(process)) => works.processes[&process].client.lose_answers(1 + dice.below(2) as usize),
        (10, _) => {
            works.store.compact();
            works.store.cut_watches();
        }
        _ => {}
    }
    let pause = if dice.below(4) == 0 { 8000 } else { 400 };
    sleep(Duration::from_millis(dice.below(pause))).await;
    works.check();
}

#[test]
fn no_sequence_of_changes_loses_a_record_or_puts_a_key_in_two_hands() {
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut dice = Dice((seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let partitions = 1 + dice.below(6) as u32;
            let mut works = Works::new(partitions, millis);
            if seed.is_multiple_of(2) {
                // Lanes spill while their shards move.
                works.live.execution.limits.records = 20;
                works.live.execution.limits.records_per_key = 2;
            }
            works.start_ready().await;
            for _ in 0..STEPS {
                work(&mut works, &mut dice, partitions).await;
            }
            for process in works.processes.values() {
                process.client.heal();
                process.client.lose_answers(0);
            }
            works.start();
            works.all_done(Duration::from_secs(1200)).await;
            works.check();
            println!("seed {seed}: {} records, {} repeats", works.sent(), works.repeats());
        });
    }
}

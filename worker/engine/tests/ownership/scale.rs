//! A thousand shards on fifty members, and a thousand members: how long a change takes and what it costs the store.

use std::time::Duration;

use super::fleet::{Fleet, TTL};

const SHARDS: u32 = 1000;
const MEMBERS: usize = 50;
const WITHIN: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn a_change_of_a_thousand_shards_on_fifty_members_converges_within_two_seconds() {
    let mut fleet = Fleet::new(SHARDS);
    for _ in 0..MEMBERS {
        fleet.join();
    }
    let took = fleet.settled(Duration::from_secs(10)).await;
    println!("cold start: {took:?}, {} writes", fleet.store.writes());

    // One more: its share moves, which is a fifty-first.
    let (writes, share) = (fleet.store.writes(), SHARDS as usize / (MEMBERS + 1) + 1);
    fleet.truth.reset();
    let newcomer = fleet.join();
    let took = fleet.settled(WITHIN).await;
    let cost = fleet.store.writes() - writes;
    println!("join: {took:?}, {cost} writes, {}", moves(&fleet));
    assert!(fleet.truth.facts().moved.len() <= share);
    // One to join and one to accept; a release for each owner that gives something; claims and first checkpoints.
    assert!(cost <= 2 + 3 * share as u64, "{cost}");

    let writes = fleet.store.writes();
    fleet.truth.reset();
    fleet.leave(newcomer).await;
    let took = fleet.settled(WITHIN).await;
    let cost = fleet.store.writes() - writes;
    println!("leave: {took:?} after its end, {cost} writes, {}", moves(&fleet));
    assert!(fleet.truth.facts().moved.len() <= share);
    assert!(cost <= 3 + 3 * share as u64 + MEMBERS as u64, "{cost}");

    let writes = fleet.store.writes();
    fleet.truth.reset();
    let victim = *fleet.members.keys().next().expect("there are some");
    fleet.kill(victim).await;
    let took = fleet.settled(TTL + WITHIN).await;
    let cost = fleet.store.writes() - writes;
    println!("kill: {took:?}, {cost} writes, {}", moves(&fleet));
    assert!(cost <= 2 * MEMBERS as u64 + share as u64, "{cost}");

    // Idle shards write nothing.
    let writes = fleet.store.writes();
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(fleet.store.writes(), writes);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_members_share_what_there_is() {
    let mut fleet = Fleet::new(64);
    for _ in 0..1000 {
        fleet.join();
    }
    let took = fleet.settled(Duration::from_secs(20)).await;
    println!("a thousand members: {took:?}, {} writes", fleet.store.writes());
}

fn moves(fleet: &Fleet) -> String {
    let facts = fleet.truth.facts();
    format!("{} moves, longest gap {:?}", facts.moved.len(), facts.longest_gap)
}

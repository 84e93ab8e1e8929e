//! Planned changes: joins, leaves, replacements, growth.

use std::time::Duration;

use keyweir_engine::ownership::Settings;
use tokio::time::{Instant, sleep};

use super::fleet::{Fleet, settings};

const SOON: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn one_member_owns_everything() {
    let mut fleet = Fleet::new(8);
    let only = fleet.join();
    fleet.settled(SOON).await;
    assert_eq!(fleet.truth.loads()[&only], 8);
    let status = fleet.member(only).status.borrow().clone();
    assert_eq!((status.owned, status.shards, status.members, status.unowned), (8, 8, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_joining_member_takes_its_share_and_nothing_else_moves() {
    let mut fleet = Fleet::new(10);
    fleet.join();
    fleet.settled(SOON).await;
    for moves in [5, 3, 2] {
        fleet.truth.reset();
        fleet.join();
        let took = fleet.settled(SOON).await;
        let facts = fleet.truth.facts();
        println!("joined in {took:?}, longest gap {:?}", facts.longest_gap);
        assert_eq!(facts.moved.len(), moves);
        assert!(facts.longest_gap <= Duration::from_millis(50), "{:?}", facts.longest_gap);
    }
}

/// U30: who leaves while shards are on their way to it is forgotten, its companion is not, and balance goes on.
#[tokio::test(start_paused = true)]
async fn a_member_that_leaves_while_it_is_to_receive_is_forgotten_and_no_other() {
    let accepts = "/keyweir/shop/orders/live/accepts/";
    let mut fleet = Fleet::new(12);
    let owners = [fleet.join(), fleet.join()];
    fleet.settled(SOON).await;
    // They see late that somebody has accepted.
    for owner in owners {
        fleet.member(owner).client.set_latency(Duration::from_millis(900));
    }
    fleet.truth.reset();
    let (leaver, stayer) = (fleet.join(), fleet.join());
    let accepted = |fleet: &Fleet, process: usize| {
        let named = format!("{accepts}pod-{process}.");
        let standing = fleet.store.standing(accepts);
        standing.entries.iter().filter(|entry| entry.key.starts_with(&named)).count()
    };
    let until = Instant::now() + SOON;
    while accepted(&fleet, leaver) == 0 || accepted(&fleet, stayer) == 0 {
        assert!(Instant::now() < until, "both have accepted something");
        sleep(Duration::from_millis(1)).await;
    }
    fleet.leave(leaver).await;
    assert_eq!(accepted(&fleet, leaver), 0, "nothing is on its way to it any more");
    fleet.settled(Duration::from_secs(10)).await;
    assert_eq!(fleet.truth.loads()[&stayer], 4);
    assert_eq!(fleet.store.standing(accepts).entries.len(), 0, "and nothing is left of it");
}

#[tokio::test(start_paused = true)]
async fn a_leaving_member_hands_over_before_it_goes() {
    let mut fleet = Fleet::new(12);
    let members = [fleet.join(), fleet.join(), fleet.join()];
    fleet.settled(SOON).await;
    fleet.truth.reset();
    let start = Instant::now();
    fleet.leave(members[1]).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    fleet.settled(Duration::from_millis(50)).await;
    let facts = fleet.truth.facts();
    assert_eq!(facts.moved.len(), 4);
    assert!(facts.longest_gap <= Duration::from_millis(50), "{:?}", facts.longest_gap);
    // The lease is revoked, not left to expire.
    assert_eq!(fleet.store.standing("/keyweir/shop/orders/live/members/").entries.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_member_leaves_with_everything_written() {
    let mut fleet = Fleet::new(4);
    let only = fleet.join();
    fleet.settled(SOON).await;
    fleet.leave(only).await;
    fleet.check();
    assert_eq!(fleet.store.standing("/keyweir/shop/orders/live/owners/").entries.len(), 0);
    assert_eq!(fleet.store.standing("/keyweir/shop/orders/checkpoints/").entries.len(), 4);
    fleet.join();
    fleet.settled(SOON).await;
}

/// U33: identity sets, not counts: after each replacement every shard has an owner again.
#[tokio::test(start_paused = true)]
async fn a_rolling_replacement_of_all_orphans_nothing() {
    let mut fleet = Fleet::new(16);
    for _ in 0..4 {
        fleet.join();
    }
    fleet.settled(SOON).await;
    fleet.truth.reset();
    for _ in 0..10 {
        let old: Vec<usize> = fleet.members.keys().copied().collect();
        for member in old {
            // The new one and the old one change places: the number of members stays the same.
            let new = fleet.join();
            fleet.joined(new).await;
            fleet.leave(member).await;
        }
        fleet.settled(SOON).await;
    }
    assert!(fleet.truth.facts().longest_gap <= Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn capacities_and_health_weigh() {
    let mut fleet = Fleet::new(12);
    let big = fleet.join_as(Settings { capacity: 2, ..settings("big") });
    let small = fleet.join();
    sleep(SOON).await;
    assert_eq!((fleet.truth.loads()[&big], fleet.truth.loads()[&small]), (8, 4));
    let _ = fleet.member(big).healthy.send(false);
    sleep(SOON).await;
    assert_eq!(fleet.truth.loads().get(&big), None);
    // When nobody is well, everybody counts again.
    let _ = fleet.member(small).healthy.send(false);
    sleep(SOON).await;
    assert_eq!((fleet.truth.loads()[&big], fleet.truth.loads()[&small]), (8, 4));
    fleet.check();
}

/// U10: found within the interval, at one write for all members.
#[tokio::test(start_paused = true)]
async fn new_partitions_are_found_and_owned() {
    let mut fleet = Fleet::new(4);
    for _ in 0..3 {
        fleet.join();
    }
    fleet.settled(SOON).await;
    fleet.log.create("orders", 10);
    sleep(Duration::from_secs(62)).await;
    fleet.settled(SOON).await;
    assert_eq!(fleet.truth.facts().active.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_worker_takes_its_old_shards_at_once_with_proof_that_the_old_one_is_dead() {
    for (proof, at_least, at_most) in [(true, 0, 1000), (false, 3000, 7000)] {
        let mut fleet = Fleet::new(6);
        let restarted = |uid: &str| Settings { sole_incarnation: proof, ..settings(uid) };
        let first = fleet.join_as(restarted("pod-a"));
        fleet.join_as(restarted("pod-b"));
        fleet.settled(SOON).await;
        let had = owned_by(&fleet, first);
        fleet.truth.reset();
        fleet.kill(first).await;
        let again = fleet.join_as(restarted("pod-a"));
        let took = fleet.settled(Duration::from_secs(8)).await.as_millis();
        assert!((at_least..=at_most).contains(&took), "with proof {proof}: {took} ms");
        if proof {
            assert_eq!(owned_by(&fleet, again), had, "it leans to the shards it had");
            assert_eq!(fleet.truth.facts().moved.len(), had.len(), "and nothing else has moved");
        }
    }
}

fn owned_by(fleet: &Fleet, process: usize) -> Vec<String> {
    let facts = fleet.truth.facts();
    let owned = facts.active.iter().filter(|(_, owners)| owners.contains_key(&process));
    owned.map(|(shard, _)| shard.to_string()).collect()
}

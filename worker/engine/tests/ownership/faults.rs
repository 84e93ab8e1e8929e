//! What goes wrong: kills, isolation, a store that is away, forgets or meddles.

use std::sync::atomic::Ordering;
use std::time::Duration;

use keyweir_engine::ownership::Settings;
use keyweir_engine::ports::Transaction;
use tokio::time::{Instant, sleep};

use super::fleet::{Fleet, TTL, settings};

const SOON: Duration = Duration::from_secs(2);

/// U29: by the expiry of the lease, not later.
#[tokio::test(start_paused = true)]
async fn the_shards_of_a_killed_member_are_owned_within_the_ttl_and_half_a_second() {
    let mut fleet = Fleet::new(12);
    let members = [fleet.join(), fleet.join(), fleet.join()];
    fleet.settled(SOON).await;
    fleet.truth.reset();
    fleet.kill(members[0]).await;
    let took = fleet.settled(TTL + Duration::from_millis(500)).await;
    assert!(took >= TTL / 2);
    assert_eq!(fleet.truth.facts().moved.len(), 4);
}

/// U35: it stops before the others begin, and comes back by itself.
#[tokio::test(start_paused = true)]
async fn a_member_that_is_cut_off_stops_itself_and_comes_back() {
    let mut fleet = Fleet::new(12);
    let members = [fleet.join(), fleet.join(), fleet.join()];
    fleet.settled(SOON).await;
    let lonely = members[2];
    fleet.member(lonely).client.cut();
    sleep(TTL * 85 / 100).await;
    assert_eq!(fleet.truth.loads().get(&lonely), None, "it holds nothing shortly before the TTL is over");
    sleep(TTL).await;
    assert_eq!(fleet.truth.facts().active.values().filter(|owners| owners.len() == 1).count(), 12);
    fleet.member(lonely).client.heal();
    fleet.settled(Duration::from_secs(15)).await;
    let status = fleet.member(lonely).status.borrow().clone();
    assert_eq!((status.counters.lost_leases, status.counters.joins), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_deadline_cancels_nothing() {
    let mut fleet = Fleet::new(6);
    let members = [fleet.join(), fleet.join()];
    fleet.settled(SOON).await;
    fleet.truth.reset();
    for member in members {
        fleet.member(member).client.cut();
    }
    sleep(Duration::from_millis(2000)).await;
    for member in members {
        fleet.member(member).client.heal();
    }
    sleep(TTL * 3).await;
    fleet.settled(SOON).await;
    assert_eq!(fleet.truth.facts().moved.len(), 0);
    assert!(fleet.truth.facts().frozen.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lease_in_doubt_stops_dispatch_and_a_renewal_lets_it_go_on() {
    let mut fleet = Fleet::new(6);
    let only = fleet.join();
    fleet.settled(SOON).await;
    fleet.truth.reset();
    fleet.member(only).client.cut();
    let until = Instant::now() + TTL;
    while fleet.truth.facts().frozen.is_empty() {
        assert!(Instant::now() < until, "never frozen");
        sleep(Duration::from_millis(10)).await;
    }
    fleet.member(only).client.heal();
    sleep(Duration::from_secs(2)).await;
    // A renewal that was under way when the store came back may be too late for this lease: either way it works.
    fleet.settled(TTL * 2).await;
    assert!(fleet.truth.facts().frozen.is_empty());
}

/// U25: alive but stuck: the lease goes, others take over.
#[tokio::test(start_paused = true)]
async fn a_member_whose_pump_stands_still_loses_its_shards() {
    let mut fleet = Fleet::new(6);
    let members = [fleet.join(), fleet.join()];
    fleet.settled(SOON).await;
    let stuck = members[0];
    fleet.member(stuck).pumps.stuck.store(true, Ordering::Relaxed);
    sleep(TTL * 3).await;
    assert_eq!(fleet.truth.loads().get(&members[1]), Some(&6));
    fleet.member(stuck).pumps.stuck.store(false, Ordering::Relaxed);
    fleet.settled(TTL * 3).await;
}

/// U34, section 3.7: the view is state: nothing is missed by losing the history or the watch.
#[tokio::test(start_paused = true)]
async fn compactions_and_cut_watches_are_survived_by_listing_again() {
    let mut fleet = Fleet::new(12);
    for _ in 0..3 {
        fleet.join();
    }
    fleet.settled(SOON).await;
    for _ in 0..20 {
        fleet.join();
        fleet.store.compact();
        fleet.store.cut_watches();
        sleep(Duration::from_millis(7)).await;
        fleet.store.compact();
        fleet.store.cut_watches();
        let oldest = *fleet.members.keys().next().expect("there are some");
        fleet.leave(oldest).await;
    }
    fleet.settled(Duration::from_secs(5)).await;
}

/// U23: silence is looked into, not believed.
#[tokio::test(start_paused = true)]
async fn lost_answers_lead_to_the_same_end() {
    for lost in 1..=8 {
        let mut fleet = Fleet::new(6);
        let members = [fleet.join(), fleet.join()];
        for member in members {
            fleet.member(member).client.lose_answers(lost);
        }
        fleet.settled(Duration::from_secs(20)).await;
        fleet.member(members[0]).client.lose_answers(lost);
        fleet.leave(members[0]).await;
        fleet.settled(Duration::from_secs(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_store_at_the_start_is_waited_for_and_said() {
    let mut fleet = Fleet::new(3);
    let only = fleet.join();
    fleet.member(only).client.cut();
    sleep(Duration::from_secs(60)).await;
    let hindrance = fleet.member(only).status.borrow().hindrance.clone();
    assert_eq!(hindrance.expect("it says so").reason, "Unreachable");
    fleet.member(only).client.heal();
    fleet.settled(Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_prefix_of_another_object_is_refused() {
    let mut fleet = Fleet::new(3);
    fleet.join();
    fleet.settled(SOON).await;
    let stranger = fleet.join_as(Settings { object_uid: "uid-2".into(), ..settings("stranger") });
    sleep(Duration::from_secs(30)).await;
    let hindrance = fleet.members[&stranger].status.borrow().hindrance.clone();
    assert_eq!(hindrance.expect("it says so").reason, "PrefixTaken");
    assert_eq!(fleet.truth.loads().get(&stranger), None);
}

/// Nobody has promised that names differ: what counts is the incarnation.
#[tokio::test(start_paused = true)]
async fn two_members_of_one_name_share_and_repeat_nothing() {
    let mut fleet = Fleet::new(6);
    let twins = [fleet.join_as(settings("twin")), fleet.join_as(settings("twin"))];
    fleet.settled(SOON).await;
    assert_eq!(twins.map(|twin| fleet.truth.loads()[&twin]), [3, 3]);
    fleet.leave(twins[0]).await;
    fleet.settled(SOON).await;
    assert_eq!(fleet.truth.loads()[&twins[1]], 6);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_was_made_anew_goes_on_where_the_deleted_one_was() {
    let mut fleet = Fleet::new(3);
    let first = fleet.join();
    fleet.settled(SOON).await;
    let heir = fleet.join_as(Settings { object_uid: "uid-2".into(), ..settings("heir") });
    sleep(Duration::from_secs(10)).await;
    assert_eq!(fleet.truth.loads().get(&heir), None, "the old one still lives");
    fleet.leave(first).await;
    fleet.settled(Duration::from_secs(30)).await;
    assert_eq!(fleet.truth.loads().get(&heir), Some(&3));
}

#[tokio::test(start_paused = true)]
async fn foreign_values_under_the_prefix_harm_nobody() {
    let mut fleet = Fleet::new(6);
    let first = fleet.join();
    fleet.settled(SOON).await;
    let live = "/keyweir/shop/orders/live";
    let meddle = Transaction::new()
        .put(format!("{live}/members/nobody"), "x", None)
        .put(format!("{live}/owners/orders/not-a-number"), "{}", None)
        .put(format!("{live}/accepts/pod-9.1/orders/3"), "\u{0}", None)
        .put(format!("{live}/surprise"), "", None);
    fleet.store.meddle(meddle).expect("written");
    fleet.join();
    fleet.settled(SOON).await;
    assert_eq!(fleet.member(first).status.borrow().foreign, 4);
}

/// Section 3.9: a rolling update mixes members of neighbouring versions. What an earlier one does not say and what a later
/// one says besides keeps nobody from being a member; one further ahead is foreign.
#[tokio::test(start_paused = true)]
async fn members_of_neighbouring_versions_count_and_one_further_ahead_is_foreign() {
    let mut fleet = Fleet::new(6);
    let first = fleet.join();
    fleet.settled(SOON).await;
    let member = |form: u32, more: &str| {
        format!(
            r#"{{"form":{form},"capacity":1,"healthy":true,"leaving":false,"rules":{form},"program":"x","since":5{more}}}"#
        )
    };
    let members = "/keyweir/shop/orders/live/members";
    let neighbours = Transaction::new()
        .put(format!("{members}/earlier.1"), member(1, ""), None)
        .put(format!("{members}/later.1"), member(2, r#","zone":"z","novelty":{"a":[1]}"#), None)
        .put(format!("{members}/far.1"), member(3, ""), None);
    fleet.store.meddle(neighbours).expect("written");
    sleep(SOON).await;
    let status = fleet.member(first).status.borrow().clone();
    assert_eq!((status.members, status.foreign, status.unowned), (3, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_owner_key_is_owned_anew_under_a_newer_fence() {
    let mut fleet = Fleet::new(4);
    fleet.join();
    fleet.join();
    fleet.settled(SOON).await;
    fleet.truth.reset();
    let delete = Transaction::new().delete("/keyweir/shop/orders/live/owners/orders/2");
    fleet.store.meddle(delete).expect("deleted");
    sleep(Duration::from_millis(100)).await;
    fleet.settled(SOON).await;
    assert_eq!(fleet.truth.facts().moved.len(), 1);
}

/// After a restore from a backup revisions may repeat: the epoch makes every fence a newer one.
#[tokio::test(start_paused = true)]
async fn a_raised_epoch_makes_every_member_join_anew() {
    let mut fleet = Fleet::new(4);
    let members = [fleet.join(), fleet.join()];
    fleet.settled(SOON).await;
    let object = r#"{"form":1,"uid":"uid-1","epoch":2}"#;
    let raise = Transaction::new().put("/keyweir/shop/orders/live/object", object, None);
    fleet.store.meddle(raise).expect("written");
    sleep(Duration::from_secs(1)).await;
    fleet.settled(SOON).await;
    let facts = fleet.truth.facts();
    assert!(facts.active.values().flat_map(|owners| owners.values()).all(|fence| fence.epoch == 2));
    assert_eq!(fleet.member(members[0]).status.borrow().counters.joins, 2);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_away_delays_and_loses_nothing() {
    let mut fleet = Fleet::new(4);
    fleet.log.set_unreachable(true);
    let only = fleet.join();
    sleep(Duration::from_secs(20)).await;
    assert!(fleet.member(only).status.borrow().hindrance.is_some());
    fleet.log.set_unreachable(false);
    fleet.settled(Duration::from_secs(20)).await;
}

/// U10: a listing that fails keeps nobody from working; it is tried again, ever more seldom, and then finds what is new.
#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_is_tried_again_and_moves_nothing() {
    let mut fleet = Fleet::new(4);
    let members = [fleet.join(), fleet.join()];
    fleet.settled(SOON).await;
    fleet.truth.reset();
    let before = fleet.log.listings();
    fleet.log.set_unreachable(true);
    fleet.log.create("orders", 10);
    sleep(Duration::from_secs(360)).await;
    let tries = fleet.log.listings() - before;
    // For five minutes, by both, at least every fifteen seconds.
    assert!((2 * 20..2 * 40).contains(&tries), "{tries} tries");
    assert_eq!(fleet.truth.facts().moved.len(), 0);
    assert_eq!(fleet.truth.loads(), members.map(|member| (member, 2)).into());
    let hindrance = fleet.member(members[0]).status.borrow().hindrance.clone();
    assert_eq!(hindrance.map(|hindrance| hindrance.reason), Some("Timeout"));
    fleet.log.set_unreachable(false);
    sleep(Duration::from_secs(16)).await;
    fleet.settled(SOON).await;
    assert_eq!(fleet.truth.facts().active.len(), 10);
}

/// What else changes meanwhile does not make it go well.
#[tokio::test(start_paused = true)]
async fn a_hindrance_is_told_until_that_very_thing_goes_well() {
    let mut fleet = Fleet::new(4);
    fleet.log.set_unreachable(true);
    let only = fleet.join();
    sleep(Duration::from_secs(60)).await;
    for _ in 0..3 {
        fleet.join();
        sleep(Duration::from_millis(100)).await;
        let hindrance = fleet.member(only).status.borrow().hindrance.clone();
        assert_eq!(hindrance.map(|hindrance| hindrance.reason), Some("Timeout"));
    }
    fleet.log.set_unreachable(false);
    fleet.settled(Duration::from_secs(20)).await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(fleet.member(only).status.borrow().hindrance, None);
}

/// A topic that was taken out of the manifest.
#[tokio::test(start_paused = true)]
async fn a_stream_that_no_manifest_names_leaves_the_shard_list() {
    let mut fleet = Fleet::new(4);
    fleet.join();
    fleet.join();
    fleet.settled(SOON).await;
    let list = r#"{"form":1,"streams":{"old":{"count":2,"initial":2},"orders":{"count":4,"initial":4}}}"#;
    let add = Transaction::new().put("/keyweir/shop/orders/live/shards", list, None);
    fleet.store.meddle(add).expect("written");
    sleep(Duration::from_secs(1)).await;
    let old = |fleet: &Fleet| fleet.store.standing("/keyweir/shop/orders/live/owners/old").entries.len();
    assert_eq!(old(&fleet), 2);
    // The next look at the source.
    sleep(Duration::from_secs(61)).await;
    assert_eq!(old(&fleet), 0);
    fleet.settled(SOON).await;
}

/// What keeps all history is full one day. One member asks for all of them, seldom; nothing is said of one that is
/// compacted, nor in the first hours.
#[tokio::test(start_paused = true)]
async fn a_history_that_nobody_compacts_is_told_once_by_one_member() {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut fleet = Fleet::new(6);
    let members = [fleet.join(), fleet.join()];
    fleet.settled(SOON).await;
    let grow = |fleet: &Fleet, count: usize| {
        for _ in 0..count {
            fleet.store.meddle(Transaction::new().put("/somebody/else", "x", None)).expect("it is written");
        }
    };
    let told = |fleet: &Fleet| -> usize {
        let of = |member: &usize| fleet.member(*member).notices.last().len();
        members.iter().map(of).sum()
    };
    let ages = |fleet: &Fleet| -> Vec<Duration> {
        let known = members.iter().filter_map(|member| fleet.member(*member).status.borrow().history);
        known.map(|history| history.age).collect()
    };
    // Compacted every hour, as far as it can be: nothing is said.
    for _ in 0..4 {
        grow(&fleet, 40_000);
        sleep(HOUR).await;
        fleet.store.compact();
    }
    assert_eq!((told(&fleet), ages(&fleet).len()), (0, 1));
    assert!(ages(&fleet)[0] < HOUR * 2);
    let looks: u64 = members.iter().map(|member| fleet.member(*member).client.looks()).sum();
    assert!((40..=48).contains(&looks), "{looks} looks in four hours");
    // From now on nobody does.
    grow(&fleet, 99_000);
    sleep(HOUR * 13 / 4).await;
    assert_eq!(told(&fleet), 0, "it is old, and still short");
    grow(&fleet, 2_000);
    sleep(HOUR / 2).await;
    assert_eq!(told(&fleet), 1);
    let notices: Vec<_> = members.iter().flat_map(|member| fleet.member(*member).notices.last()).collect();
    assert_eq!(notices[0].reason, "HistoryGrows");
    assert!(notices[0].text.contains("--auto-compaction-retention=5m"), "{}", notices[0].text);
    // When the one who asks is gone, another one does.
    let eldest = members.into_iter().find(|member| fleet.member(*member).status.borrow().history.is_some());
    let eldest = eldest.expect("one of them knows");
    fleet.leave(eldest).await;
    sleep(HOUR / 4).await;
    let known = |member: &usize| fleet.member(*member).status.borrow().history.is_some();
    assert_eq!(members.iter().filter(|member| **member != eldest && known(member)).count(), 1);
}

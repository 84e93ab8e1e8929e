//! Real pumps: what happens to records while shards move.

use std::time::Duration;

use keyweir_core::{Offset, ShardId};
use keyweir_engine::ports::MirrorState;
use tokio::time::sleep;

use super::works::Works;

fn orders(partition: u32) -> ShardId {
    ShardId::new("orders", partition)
}

/// Equal keys of two partitions would share a lane while one process has both.
fn slow(partition: u32) -> &'static str {
    ["slow-0", "slow-1"][partition as usize]
}

fn ten_millis(_: &str) -> Duration {
    Duration::from_millis(10)
}

/// Values are handler times in seconds; `v` is ten milliseconds.
fn as_said(value: &str) -> Duration {
    value.parse().map_or(Duration::from_millis(10), Duration::from_secs)
}

#[tokio::test(start_paused = true)]
async fn planned_changes_under_load_repeat_nothing_and_stall_no_key_for_long() {
    let mut works = Works::new(8, ten_millis);
    let first = works.start_ready().await;
    works.send_for(Duration::from_secs(2), 1000, 8).await;
    for _ in 0..3 {
        works.start_ready().await;
        works.send_for(Duration::from_secs(2), 1000, 8).await;
    }
    works.stop(first).await;
    works.send_for(Duration::from_secs(2), 1000, 8).await;
    let old: Vec<usize> = works.processes.keys().copied().collect();
    for process in old {
        works.start_ready().await;
        works.stop(process).await;
        works.send_for(Duration::from_millis(500), 1000, 8).await;
    }
    works.all_done(Duration::from_secs(10)).await;
    works.check();
    println!("slowest of {} records: {:?}", works.sent(), works.slowest());
    assert_eq!(works.repeats(), 0);
    assert!(works.slowest() < Duration::from_millis(110), "{:?}", works.slowest());
}

/// U29, U45, U60: nothing is lost, and only what was not durable is repeated.
#[tokio::test(start_paused = true)]
async fn a_killed_process_loses_nothing() {
    let mut works = Works::new(8, ten_millis);
    for _ in 0..3 {
        works.start_ready().await;
    }
    for _ in 0..5 {
        works.send_for(Duration::from_secs(3), 1000, 8).await;
        let victim = *works.processes.keys().next().expect("there are some");
        works.kill(victim).await;
        works.start();
    }
    works.all_done(Duration::from_secs(30)).await;
    works.check();
    println!("{} records, {} repeats", works.sent(), works.repeats());
    // At most one checkpoint interval of a third of the load, and what was executing, for each kill.
    assert!(works.repeats() < 5 * 600, "{}", works.repeats());
}

/// Section 3.4: a ten-minute handler neither delays the move nor is run twice.
#[tokio::test(start_paused = true)]
async fn a_long_handler_neither_delays_a_move_nor_runs_twice() {
    let mut works = Works::new(2, as_said);
    let first = works.start_ready().await;
    let long: Vec<Offset> =
        (0..2).map(|partition| works.send(partition, Some(slow(partition)), "600")).collect();
    sleep(Duration::from_secs(1)).await;
    let second = works.start_ready().await;
    // A pump says a few times a second what it owns.
    sleep(Duration::from_millis(500)).await;
    let moved =
        (0..2).find(|partition| works.owner_of(&orders(*partition)) == Some(second)).expect("one has moved");
    let successor = works.send(moved, Some(slow(moved)), "v");
    let other = works.send(moved, Some("quick"), "v");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(works.done_by(&orders(moved), other), Some(second), "other keys go on at once");
    assert!(!works.is_done(&orders(moved), successor), "the key waits for its long record");
    works.all_done(Duration::from_secs(605)).await;
    works.check();
    assert_eq!(works.done_by(&orders(moved), long[moved as usize]), Some(first), "it ended where it began");
    assert_eq!(works.done_by(&orders(moved), successor), Some(second));
    assert_eq!(works.repeats(), 0);
    // The key goes on soon after the long record.
    assert!(works.slowest() < Duration::from_millis(600_200), "{:?}", works.slowest());
}

/// Section 3.9: members that order records differently never share them, as when a roll-out changes key or ordering: the new
/// owner would not know which of its lines the record stands in that executes at the old one.
#[tokio::test(start_paused = true)]
async fn a_shard_whose_records_execute_in_another_order_begins_when_they_have_ended() {
    let by_header = serde_json::json!({"selector": {"header": "customer"}, "nullKey": "Unordered"});
    for (field, rule) in [("ordering", "Partition".into()), ("ordering", "None".into()), ("key", by_header)] {
        let mut works = Works::new(1, as_said);
        let first = works.start_ready().await;
        let long = works.send(0, Some("slow"), "20");
        sleep(Duration::from_secs(1)).await;
        works.fixed[field] = rule;
        let second = works.start_ready().await;
        works.leave(first);
        sleep(Duration::from_secs(1)).await;
        let later = works.send(0, Some("quick"), "v");
        sleep(Duration::from_secs(15)).await;
        assert!(!works.is_done(&orders(0), later), "{field}: a record of it still executes elsewhere");
        works.all_done(Duration::from_secs(10)).await;
        works.check();
        assert_eq!(works.done_by(&orders(0), long), Some(first), "{field}: it ended where it began");
        assert_eq!((works.done_by(&orders(0), later), works.repeats()), (Some(second), 0), "{field}");
        assert_eq!(works.attempts(&orders(0), long), [1], "{field}");
    }
}

/// The one before does not come to an end: its records run again, in the new order.
#[tokio::test(start_paused = true)]
async fn a_shard_that_waits_for_another_order_begins_when_the_one_before_has_died() {
    let mut works = Works::new(1, as_said);
    let first = works.start_ready().await;
    let long = works.send(0, Some("slow"), "20");
    sleep(Duration::from_secs(1)).await;
    works.fixed["ordering"] = "Partition".into();
    let second = works.start_ready().await;
    works.leave(first);
    sleep(Duration::from_secs(2)).await;
    works.kill(first).await;
    works.all_done(Duration::from_secs(40)).await;
    works.check();
    assert_eq!(works.done_by(&orders(0), long), Some(second));
}

#[tokio::test(start_paused = true)]
async fn what_executes_at_a_member_that_dies_runs_again_at_the_owner() {
    let mut works = Works::new(2, as_said);
    let first = works.start_ready().await;
    let long: Vec<Offset> =
        (0..2).map(|partition| works.send(partition, Some(slow(partition)), "60")).collect();
    sleep(Duration::from_secs(1)).await;
    let second = works.start_ready().await;
    sleep(Duration::from_secs(1)).await;
    let moved =
        (0..2).find(|partition| works.owner_of(&orders(*partition)) == Some(second)).expect("one has moved");
    let successor = works.send(moved, Some(slow(moved)), "v");
    works.kill(first).await;
    works.all_done(Duration::from_secs(70)).await;
    works.check();
    assert_eq!(works.done_by(&orders(moved), long[moved as usize]), Some(second));
    assert_eq!(works.done_by(&orders(moved), successor), Some(second));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_comes_back_while_its_record_executes_waits_for_it() {
    let mut works = Works::new(1, as_said);
    let first = works.start_ready().await;
    let long = works.send(0, Some("slow"), "60");
    sleep(Duration::from_secs(1)).await;
    let second = works.start_ready().await;
    // The newcomer gets nothing of one shard; then the first is unwell for a while.
    for _ in 0..3 {
        let owner = works.owner_of(&orders(0)).expect("it has an owner");
        let other = if owner == first { second } else { first };
        works.send(0, Some("slow"), "v");
        works.send(0, Some("quick"), "v");
        works.processes[&owner].client.cut();
        sleep(Duration::from_millis(100)).await;
        works.processes[&owner].client.heal();
        works.hand(owner, other).await;
    }
    works.all_done(Duration::from_secs(70)).await;
    works.check();
    assert_eq!((works.done_by(&orders(0), long), works.repeats()), (Some(first), 0));
}

/// A member that leaves as soon as its last record has ended, and an owner that is slow to take over: the news must
/// not leave with the old member's lease.
#[tokio::test(start_paused = true)]
async fn what_has_ended_is_known_to_a_slow_owner_when_the_old_one_has_left() {
    let mut works = Works::new(1, |value| Duration::from_millis(value.parse().unwrap_or(10)));
    let first = works.start_ready().await;
    let second = works.start_ready().await;
    works.processes[&second].client.set_latency(Duration::from_millis(300));
    let record = works.send(0, Some("k"), "700");
    let next = works.send(0, Some("k"), "v");
    sleep(Duration::from_millis(50)).await;
    works.stop(first).await;
    works.all_done(Duration::from_secs(10)).await;
    works.check();
    assert_eq!((works.done_by(&orders(0), record), works.repeats()), (Some(first), 0));
    assert_eq!(works.done_by(&orders(0), next), Some(second));
    // What was told does not stay for ever.
    let told = format!("{}releases/", super::fleet::prefix().live());
    assert_eq!(works.store.standing(&told).entries.len(), 1);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(works.store.standing(&told).entries.len(), 0);
}

/// An attempt that fails after the shard was given up counts: else a record that kills its workers one after another
/// would never come to its end.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_after_a_hand_over_is_charged() {
    for slow in [2, 300] {
        let takes = |value: &str| Duration::from_millis(if value == "fail" { 200 } else { 10 });
        let mut works = Works::new(1, takes);
        let first = works.start_ready().await;
        let second = works.start_ready().await;
        works.processes[&second].client.set_latency(Duration::from_millis(slow));
        let record = works.send(0, Some("k"), "fail");
        let next = works.send(0, Some("k"), "v");
        sleep(Duration::from_millis(50)).await;
        works.stop(first).await;
        let until = tokio::time::Instant::now() + Duration::from_secs(300);
        while !works.is_done(&orders(0), next) {
            assert!(tokio::time::Instant::now() < until, "{:?}", works.attempts(&orders(0), record));
            sleep(Duration::from_millis(20)).await;
        }
        works.check();
        assert_eq!(works.attempts(&orders(0), record), [1, 2, 3, 4, 5, 6]);
    }
}

/// U42: the drain time of a manifest that was changed while it ran.
#[tokio::test(start_paused = true)]
async fn a_drain_time_that_has_changed_counts_when_a_member_leaves() {
    let mut works = Works::new(1, as_said);
    let first = works.start_ready().await;
    works.start_ready().await;
    let long = works.send(0, Some("slow"), "60");
    sleep(Duration::from_secs(1)).await;
    works.drain.send_replace(Duration::from_secs(100));
    works.stop(first).await;
    works.all_done(Duration::from_secs(10)).await;
    assert_eq!((works.done_by(&orders(0), long), works.repeats()), (Some(first), 0));
}

#[tokio::test(start_paused = true)]
async fn a_reset_of_the_groups_offset_is_honoured_while_the_shard_is_owned() {
    let mut works = Works::new(2, ten_millis);
    for _ in 0..2 {
        works.start_ready().await;
    }
    for partition in [0, 1].repeat(5) {
        works.send(partition, Some("k"), "v");
    }
    works.all_done(Duration::from_secs(10)).await;
    sleep(Duration::from_secs(5)).await;
    works.log.set_mirror(orders(1), MirrorState::Reset(Offset(2)));
    sleep(Duration::from_secs(15)).await;
    works.check();
    assert_eq!(works.repeats(), 3, "2, 3 and 4 of one shard");
    assert!(matches!(works.log.mirror_of(&orders(1)), MirrorState::Marked { frontier: Offset(5), .. }));
}

/// Records without a key, and shards that are one lane, are held by other means than a key.
#[tokio::test(start_paused = true)]
async fn order_by_partition_and_records_without_order_survive_a_move() {
    for ordering in ["Partition", "Key", "None"] {
        let mut works = Works::new(2, as_said);
        works.fixed["ordering"] = ordering.into();
        works.start_ready().await;
        for partition in 0..2 {
            works.send(partition, None, "20");
            works.send(partition, None, "v");
        }
        sleep(Duration::from_secs(1)).await;
        let second = works.start_ready().await;
        sleep(Duration::from_secs(1)).await;
        let moved = (0..2).find(|partition| works.owner_of(&orders(*partition)) == Some(second));
        let moved = moved.expect("one has moved");
        let later = works.send(moved, None, "v");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(works.is_done(&orders(moved), later), ordering != "Partition", "{ordering}");
        works.all_done(Duration::from_secs(30)).await;
        works.check();
        assert_eq!(works.repeats(), 0, "{ordering}");
    }
}

/// What outlasts the drain time of a member that leaves is cancelled there before anybody else may begin with it.
#[tokio::test(start_paused = true)]
async fn what_outlasts_the_drain_time_is_in_no_two_hands() {
    let mut works = Works::new(1, as_said);
    works.drain.send_replace(Duration::from_secs(2));
    let first = works.start_ready().await;
    works.start_ready().await;
    let long = works.send(0, Some("slow"), "25");
    sleep(Duration::from_secs(1)).await;
    works.stop(first).await;
    works.all_done(Duration::from_secs(60)).await;
    works.check();
    assert_eq!(works.oracle.begun(&orders(0), long), 2, "once here, and once more at the next owner");
}

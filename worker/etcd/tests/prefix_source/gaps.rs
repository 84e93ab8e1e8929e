//! What is missed while nothing can be read: it comes all the same, from the history or from what stands.

use keyweir_e2e::etcd::Etcd;
use keyweir_e2e::fleet::Link;
use keyweir_engine::ports::StartAt;
use keyweir_etcd::source::Settings;

use super::scene::{Reading, SLOTS, Writer, settings};

/// Three keys that stand, then what happens to them behind somebody's back.
async fn three(writer: &Writer) {
    for key in ["/a/changed", "/a/gone", "/a/same"] {
        writer.put(key, "before").await;
    }
}

async fn meanwhile(writer: &Writer) {
    writer.put("/a/changed", "between").await;
    writer.put("/a/changed", "after").await;
    writer.put("/a/new", "new").await;
    writer.put("/a/brief", "never seen").await;
    writer.delete(b"/a/brief").await;
    writer.delete(b"/a/gone").await;
}

fn differences(reading: &Reading, from: usize) -> Vec<(String, String)> {
    let told = reading.records[from..].iter();
    let mut found: Vec<_> = told.map(|told| (told.kind().to_owned(), told.key.clone())).collect();
    found.sort();
    found
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(kind, key)| ((*kind).to_owned(), (*key).to_owned())).collect()
}

const FINAL: [(&str, &str); 3] = [("Created", "/a/new"), ("Deleted", "/a/gone"), ("Updated", "/a/changed")];

/// U04: cut off, and compacted meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_was_compacted_is_made_up_by_what_stands() {
    let etcd = Etcd::start().unwrap();
    let link = Link::to(etcd.endpoint().trim_start_matches("http://")).unwrap();
    let writer = Writer::to(&etcd).await;
    three(&writer).await;
    let mut reading = Reading::of(&format!("http://{}", link.address()), &["/a"], settings());
    reading.open_all(StartAt::Earliest).await;
    reading.listed().await;
    link.cut();
    meanwhile(&writer).await;
    etcd.compact().unwrap();
    reading.until("the cut is told", |reading| !reading.troubles.is_empty()).await;
    link.mend();
    reading.until("all slots are listed again", |reading| reading.resyncs.len() == SLOTS as usize).await;
    assert_eq!(differences(&reading, 3), pairs(&FINAL));
    assert_eq!(reading.recoveries, 1);
    assert!(reading.resyncs.iter().all(|(_, lost)| !lost), "Latest loses nothing");
    let gone = reading.records.iter().find(|told| told.key == "/a/gone" && told.kind() == "Deleted").unwrap();
    assert!(gone.header("previous-revision").is_some() && gone.header("previous-value").is_none());
    writer.put("/a/same", "later").await;
    reading
        .until("it goes on", |reading| reading.records.last().is_some_and(|told| told.key == "/a/same"))
        .await;
}

/// U04, U07: the same for somebody who takes over from a checkpoint; to `Every` changes are lost, and it says so.
#[tokio::test]
async fn who_takes_over_behind_a_compaction_finds_what_differs_and_every_says_what_it_lost() {
    for every in [false, true] {
        let etcd = Etcd::start().unwrap();
        let writer = Writer::to(&etcd).await;
        three(&writer).await;
        let settings = Settings { every, ..settings() };
        let mut before = Reading::of(&etcd.endpoint(), &["/a"], settings.clone());
        before.open_all(StartAt::Earliest).await;
        before.listed().await;
        let ends: Vec<_> = (0..SLOTS).map(|shard| before.end(keyweir_core::ShardIndex(shard))).collect();
        let noted = before.checkpoints(|shard| ends[shard.as_usize()]);
        meanwhile(&writer).await;
        etcd.compact().unwrap();
        let mut after = Reading::of(&etcd.endpoint(), &["/a"], settings);
        after.go_on(&noted).await;
        after.until("all slots are listed", |reading| reading.resyncs.len() == SLOTS as usize).await;
        assert_eq!(differences(&after, 0), pairs(&FINAL));
        let lost = after.resyncs.iter().filter(|(_, lost)| *lost).count();
        let slots: std::collections::BTreeSet<_> = after.records.iter().map(|told| told.shard).collect();
        assert_eq!(lost, if every { slots.len() } else { 0 }, "where something differs changes were lost");
    }
}

/// U04: without a compaction a break is no gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_is_no_gap() {
    let mut etcd = Etcd::start().unwrap();
    let writer = Writer::to(&etcd).await;
    three(&writer).await;
    let mut reading = Reading::of(&etcd.endpoint(), &["/a"], settings());
    reading.open_all(StartAt::Earliest).await;
    reading.listed().await;
    drop(writer);
    etcd.restart().unwrap();
    meanwhile(&Writer::to(&etcd).await).await;
    reading.until("six changes", |reading| reading.records.len() == 9).await;
    assert_eq!(reading.resyncs, [], "each change comes from the history");
    let changed: Vec<_> = reading.records[3..].iter().filter(|told| told.key == "/a/changed").collect();
    assert_eq!(
        changed.iter().map(|told| told.header("previous-value")).collect::<Vec<_>>(),
        [Some("before"), Some("between")]
    );
}

/// U04: a deletion at the very revision that was compacted to is not missed.
#[tokio::test]
async fn a_deletion_at_the_compacted_revision_is_told() {
    let etcd = Etcd::start().unwrap();
    let writer = Writer::to(&etcd).await;
    three(&writer).await;
    let mut before = Reading::of(&etcd.endpoint(), &["/a"], settings());
    before.open_all(StartAt::Earliest).await;
    before.listed().await;
    let ends: Vec<_> = (0..SLOTS).map(|shard| before.end(keyweir_core::ShardIndex(shard))).collect();
    let noted = before.checkpoints(|shard| ends[shard.as_usize()]);
    writer.delete(b"/a/gone").await;
    etcd.compact().unwrap();
    let mut after = Reading::of(&etcd.endpoint(), &["/a"], settings());
    after.go_on(&noted).await;
    after.until("the deletion", |reading| reading.records.len() == 1).await;
    assert_eq!(differences(&after, 0), pairs(&[("Deleted", "/a/gone")]));
}

#[tokio::test]
async fn credentials_that_are_refused_are_told() {
    let etcd = Etcd::start().unwrap();
    let writer = Writer::to(&etcd).await;
    three(&writer).await;
    let mut reading = Reading::of(&etcd.endpoint(), &["/a"], settings());
    reading.open_all(StartAt::Earliest).await;
    reading.listed().await;
    etcd.require_users("shop", "/shop/").unwrap();
    let mut stranger = Reading::of(&etcd.endpoint(), &["/a"], settings());
    let ends: Vec<_> = (0..SLOTS).map(|shard| reading.end(keyweir_core::ShardIndex(shard))).collect();
    stranger.go_on(&reading.checkpoints(|shard| ends[shard.as_usize()])).await;
    stranger.until("the refusal", |reading| !reading.troubles.is_empty()).await;
    assert_eq!(stranger.troubles[0], "NotAuthorized");
}

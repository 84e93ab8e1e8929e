//! What is told of changes, and how many of them at a time.

use keyweir_core::ShardIndex;
use keyweir_e2e::etcd::Etcd;
use keyweir_engine::ports::{Reader, StartAt};
use keyweir_etcd::source::Settings;

use super::scene::{Reading, SLOTS, Writer, settings};

/// U06.
#[tokio::test]
async fn a_change_comes_with_its_kind_its_revisions_and_what_was_before() {
    let etcd = Etcd::start().unwrap();
    let writer = Writer::to(&etcd).await;
    let mut reading = Reading::of(&etcd.endpoint(), &["/a"], settings());
    reading.open_all(StartAt::Earliest).await;
    reading.listed().await;
    let first = writer.put("/a/k", "one").await;
    let second = writer.put("/a/k", "two").await;
    writer.delete(b"/a/k").await;
    let anew = writer.put("/a/k", "three").await;
    reading.until("four changes", |reading| reading.records.len() == 4).await;
    let told = |place: usize, name: &str| reading.records[place].header(name).map(str::to_owned);
    let row = |place: usize| {
        let names = ["kind", "revision", "create-revision", "version", "previous-value", "previous-revision"];
        names.map(|name| told(place, name).unwrap_or_default())
    };
    let (first, second, third, anew) =
        (first.to_string(), second.to_string(), (second + 1).to_string(), anew.to_string());
    assert_eq!(row(0), ["Created", &first, &first, "1", "", ""]);
    assert_eq!(row(1), ["Updated", &second, &first, "2", "one", &first]);
    assert_eq!(row(2), ["Deleted", &third, &first, "0", "two", &second]);
    assert_eq!(row(3), ["Created", &anew, &anew, "1", "", ""]);
    let values: Vec<_> = reading.records.iter().map(|told| told.value.as_deref()).collect();
    assert_eq!(values, [Some("one"), Some("two"), None, Some("three")]);
}

/// U05: what is read ahead is bounded, and a transaction that is larger comes whole.
#[tokio::test]
async fn a_transaction_of_ten_thousand_puts_passes_a_buffer_of_ten() {
    let etcd = Etcd::start_with(&["--max-txn-ops=20000", "--max-request-bytes=10485760"]).unwrap();
    let writer = Writer::to(&etcd).await;
    let settings = Settings { watch_buffer: 10, ..settings() };
    let mut reading = Reading::of(&etcd.endpoint(), &["/a"], settings);
    reading.open_all(StartAt::Earliest).await;
    reading.listed().await;
    let names = || (0..10_000).map(|number| format!("/a/{number:05}"));
    writer.put_all(names()).await;
    for number in 0..200 {
        writer.put(&format!("/a/{number:05}"), "again").await;
    }
    reading.until("all of it", |reading| reading.records.len() == 10_200).await;
    assert_eq!(reading.keys("Created"), names().collect::<Vec<_>>());
    assert_eq!(reading.keys("Updated").len(), 200);
    // Numbers of a transaction go on within each slot.
    for shard in (0..SLOTS).map(ShardIndex) {
        let of_slot = reading.records.iter().filter(|told| told.shard == shard && told.kind() == "Created");
        let offsets: Vec<_> = of_slot.map(|told| told.offset).collect();
        assert!(offsets.windows(2).all(|pair| pair[0].next() == pair[1]), "of slot {shard:?}");
    }
}

#[tokio::test]
async fn a_paused_slot_is_passed_over_and_read_again() {
    let etcd = Etcd::start().unwrap();
    let writer = Writer::to(&etcd).await;
    let mut reading = Reading::of(&etcd.endpoint(), &["/a"], settings());
    reading.open_all(StartAt::Earliest).await;
    reading.listed().await;
    let paused = ShardIndex(1);
    reading.reader.pause(paused);
    for number in 0..90 {
        writer.put(&format!("/a/{number}"), "v").await;
    }
    reading.quiet().await;
    let before = reading.records.len();
    assert!((1..90).contains(&before) && reading.records.iter().all(|told| told.shard != paused));
    reading.reader.resume(paused);
    reading.until("the rest", |reading| reading.records.len() == 90).await;
    assert!(reading.records[before..].iter().all(|told| told.shard == paused), "nothing comes twice");
    assert_eq!(reading.resyncs, []);
}

#[tokio::test]
async fn a_dropped_call_loses_nothing_and_a_closed_slot_is_silent() {
    let etcd = Etcd::start().unwrap();
    let writer = Writer::to(&etcd).await;
    let mut reading = Reading::of(&etcd.endpoint(), &["/a"], settings());
    reading.open_all(StartAt::Earliest).await;
    for number in 0..50 {
        writer.put(&format!("/a/{number}"), "v").await;
        // Dropped at whatever it waits for.
        let dropped = tokio::time::timeout(std::time::Duration::from_micros(50), reading.next());
        let _ = dropped.await;
    }
    reading.until("all of them", |reading| reading.records.len() == 50).await;
    reading.reader.close(ShardIndex(0));
    let before = reading.records.len();
    for number in 0..50 {
        writer.put(&format!("/a/{number}"), "w").await;
    }
    reading.quiet().await;
    let after = &reading.records[before..];
    assert!(!after.is_empty() && after.iter().all(|told| told.shard != ShardIndex(0)));
}

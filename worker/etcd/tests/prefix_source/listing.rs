//! Where a path starts: its listing, and nothing between it and the changes behind it.

use std::collections::BTreeSet;

use keyweir_core::Offset;
use keyweir_e2e::etcd::Etcd;
use keyweir_engine::ports::{Reader, StartAt};

use super::scene::{Reading, SLOTS, Writer, settings};

/// U01.
#[tokio::test]
async fn between_a_listing_and_the_changes_behind_it_there_is_no_gap() {
    let etcd = Etcd::start().unwrap();
    let writer = Writer::to(&etcd).await;
    let names = || (0..10_000).map(|number| format!("/a/{number:05}"));
    let writing = tokio::spawn(async move {
        let all: Vec<_> = names().collect();
        for some in all.chunks(100) {
            writer.put_all(some.iter().cloned()).await;
        }
    });
    let mut reading = Reading::of(&etcd.endpoint(), &["/a"], settings());
    while etcd.revision().unwrap() < 20 {
        tokio::task::yield_now().await;
    }
    let started = etcd.revision().unwrap().cast_unsigned();
    reading.open_all(StartAt::Earliest).await;
    reading.until("all keys have come", |reading| reading.records.len() >= 10_000).await;
    writing.await.unwrap();
    assert_eq!(reading.keys("Created"), names().collect::<Vec<_>>(), "each key once");
    let listed = reading.records.iter().filter(|told| told.revision() <= started).count();
    assert!((1..10_000).contains(&listed), "some were listed and some came later: {listed}");
}

/// U02.
#[tokio::test]
async fn a_listing_is_whole_whatever_its_pages_its_keys_and_what_is_deleted_meanwhile() {
    for page_size in [1, 2, 30] {
        let etcd = Etcd::start().unwrap();
        let writer = Writer::to(&etcd).await;
        let printable = || (b' '..=b'~').map(char::from);
        let mut keys: BTreeSet<String> = printable().map(|letter| format!("/a/{letter}")).collect();
        keys.extend(printable().map(|letter| format!("/a/id{letter}{letter}x")));
        for key in &keys {
            writer.put(key, "v").await;
        }
        // Nothing is read ahead: what is deleted here is deleted between two pages.
        let settings = keyweir_etcd::source::Settings { page_size, watch_buffer: 1, ..settings() };
        let mut reading = Reading::of(&etcd.endpoint(), &["/a"], settings);
        reading.open_all(StartAt::Earliest).await;
        let mut deleted = BTreeSet::new();
        while reading.positions.len() < SLOTS as usize {
            let before = reading.records.len();
            reading.next().await;
            if let Some(last) = reading.records[before..].last().map(|told| told.key.clone()) {
                writer.delete(last.as_bytes()).await;
                deleted.insert(last);
            }
        }
        assert_eq!(reading.keys("Created"), keys.iter().cloned().collect::<Vec<_>>(), "pages of {page_size}");
        reading.until("the deletions", |reading| reading.keys("Deleted").len() == deleted.len()).await;
        assert_eq!(reading.keys("Deleted"), deleted.into_iter().collect::<Vec<_>>());
    }
}

/// U03.
#[tokio::test]
async fn a_path_is_what_lies_below_it_and_never_a_sibling_that_begins_alike() {
    let etcd = Etcd::start().unwrap();
    let writer = Writer::to(&etcd).await;
    let others = ["/a/b2/x", "/a/b", "/a/b.x", "/a/c/x", "/a"];
    for key in others.iter().chain(&["/a/b/x", "/a/b/lb-1"]) {
        writer.put(key, "listed").await;
    }
    let mut reading = Reading::of(&etcd.endpoint(), &["/a/b"], settings());
    reading.open_all(StartAt::Earliest).await;
    reading.listed().await;
    for key in others.iter().chain(&["/a/b/lb", "/a/b//", "/a/b/y/z"]) {
        writer.put(key, "changed").await;
    }
    reading.until("the last one", |reading| reading.records.iter().any(|told| told.key == "/a/b/y/z")).await;
    assert_eq!(reading.keys("Created"), ["/a/b//", "/a/b/lb", "/a/b/lb-1", "/a/b/x", "/a/b/y/z"]);
    assert_eq!(reading.records.len(), 5);
}

/// U08, U11.
#[tokio::test]
async fn several_paths_start_now_and_tell_what_changes_of_what_stood_before() {
    let etcd = Etcd::start().unwrap();
    let writer = Writer::to(&etcd).await;
    for key in ["/a/kept", "/a/gone", "/b/kept"] {
        writer.put(key, "before").await;
    }
    let mut reading = Reading::of(&etcd.endpoint(), &["/a", "/b"], settings());
    reading.open_all(StartAt::Latest).await;
    reading.until("every slot knows", |reading| reading.positions.len() == 2 * SLOTS as usize).await;
    assert_eq!(reading.records, []);
    writer.put("/b/kept", "after").await;
    writer.delete(b"/a/gone").await;
    writer.put("/a/new", "new").await;
    reading.until("three changes", |reading| reading.records.len() == 3).await;
    let kinds = ["Created", "Updated", "Deleted"].map(|kind| reading.keys(kind));
    assert_eq!(kinds, [["/a/new"], ["/b/kept"], ["/a/gone"]]);
}

/// A crash in the midst of a listing: the rest comes at the same places, and nothing comes twice.
#[tokio::test]
async fn who_goes_on_in_the_midst_of_a_listing_finds_the_rest_at_the_same_places() {
    let etcd = Etcd::start().unwrap();
    let writer = Writer::to(&etcd).await;
    for number in 0..60 {
        writer.put(&format!("/a/{number}"), "v").await;
    }
    let mut whole = Reading::of(&etcd.endpoint(), &["/a"], settings());
    whole.open_all(StartAt::Earliest).await;
    whole.listed().await;
    assert_eq!(whole.records.len(), 60);
    // As if each slot had completed its first seven records.
    let seventh = |shard| {
        let of_shard = whole.records.iter().filter(|told| told.shard == shard);
        of_shard.map(|told| told.offset).nth(7).unwrap()
    };
    let frontiers: Vec<Offset> = (0..SLOTS).map(|shard| seventh(keyweir_core::ShardIndex(shard))).collect();
    let noted = whole.checkpoints(|shard| frontiers[shard.as_usize()]);
    writer.put("/a/1", "changed").await;
    writer.delete(b"/a/2").await;
    let mut rest = Reading::of(&etcd.endpoint(), &["/a"], settings());
    rest.go_on(&noted).await;
    rest.until("the rest and two changes", |reading| reading.records.len() == 60 - 21 + 2).await;
    let expected: Vec<_> =
        whole.records.iter().filter(|told| told.offset >= frontiers[told.shard.as_usize()]).collect();
    let found: Vec<_> = rest.records.iter().filter(|told| told.value.as_deref() == Some("v")).collect();
    assert_eq!(found, expected);
    for shard in (0..SLOTS).map(keyweir_core::ShardIndex) {
        rest.reader.close(shard);
    }
    rest.quiet().await;
}

//! What every `ParkedStore` owes.

use bytes::Bytes;
use keyweir_core::{Offset, ShardId, UnixMillis};

use crate::ports::{BlockedKey, ParkedId, ParkedRecord, ParkedStore};
use crate::record::NewRecord;

/// Holds a store to its obligations. `open` opens it anew, over what earlier handles kept; it starts out empty.
pub async fn parked_store<S: ParkedStore>(name: &str, mut open: impl AsyncFnMut() -> S) {
    what_is_parked_stays_as_it_was(name, &mut open).await;
    lists_go_on_where_the_last_one_ended(name, &mut open).await;
    what_is_removed_is_gone(name, &mut open).await;
}

fn id(name: &str, index: u32, offset: i64) -> ParkedId {
    ParkedId { shard: ShardId::new(name, index), offset: Offset(offset) }
}

fn parked(id: ParkedId, record: NewRecord) -> ParkedRecord {
    let text = "boom — at line 3".to_owned();
    // What it blocks is kept whatever it is: nothing, a key of any bytes, the whole shard.
    let blocks = match id.offset.0 % 3 {
        0 => None,
        1 => Some(BlockedKey::Key(Bytes::from_static(b"k\xff\x00"))),
        _ => Some(BlockedKey::Shard),
    };
    let reason = "Exhausted".to_owned();
    ParkedRecord { id, record, attempts: 6, reason, text, parked_at: UnixMillis(77), blocks }
}

/// Every way in which a record can be odd.
fn odd_records() -> Vec<NewRecord> {
    let bytes = |bytes: &'static [u8]| Some(Bytes::from_static(bytes));
    let headers = vec![
        ("a".to_owned(), bytes(b"1")),
        ("null".to_owned(), None),
        ("a".to_owned(), bytes(b"\xff\x00")),
        ("größe".to_owned(), bytes(b"")),
    ];
    vec![
        NewRecord {
            key: bytes(b"k\xff\x00"),
            value: bytes(b"v"),
            headers,
            partition: None,
            timestamp: Some(5),
        },
        NewRecord { key: None, value: None, timestamp: Some(0), ..NewRecord::default() },
        NewRecord { key: bytes(b""), value: bytes(b""), timestamp: Some(1), ..NewRecord::default() },
        NewRecord { value: Some(Bytes::from(vec![9; 300_000])), timestamp: Some(2), ..NewRecord::default() },
    ]
}

async fn what_is_parked_stays_as_it_was<S: ParkedStore>(name: &str, open: &mut impl AsyncFnMut() -> S) {
    let all: Vec<_> = (0..).zip(odd_records()).map(|(i, record)| parked(id(name, 1, i), record)).collect();
    let store = open().await;
    assert_eq!(store.count().await.expect("counts"), 0, "it starts out empty");
    for record in &all {
        store.park(record.clone()).await.expect("parks");
    }
    let again = ParkedRecord { attempts: 7, ..all[0].clone() };
    store.park(again.clone()).await.expect("parking the same record again replaces it");
    drop(store);
    let store = open().await;
    assert_eq!(store.get(&again.id).await.expect("reads"), Some(again));
    for record in &all[1..] {
        assert_eq!(store.get(&record.id).await.expect("reads").as_ref(), Some(record));
    }
    assert_eq!(store.get(&id(name, 1, 99)).await.expect("reads"), None);
    assert_eq!(store.count().await.expect("counts"), all.len() as u64);
    for record in all {
        assert!(store.remove(&record.id).await.expect("removes"));
    }
}

async fn lists_go_on_where_the_last_one_ended<S: ParkedStore>(name: &str, open: &mut impl AsyncFnMut() -> S) {
    let longer = format!("{name}-longer");
    let mut ids = vec![id(&longer, 0, 3)];
    ids.extend([(2, 0), (2, 9), (2, 10), (2, 1 << 40), (10, 1), (300, 0)].map(|(i, o)| id(name, i, o)));
    let store = open().await;
    for id in &ids {
        store.park(parked(id.clone(), odd_records().swap_remove(0))).await.expect("parks");
    }
    ids.sort();
    for limit in [1, 2, 100] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(after.clone(), limit).await.expect("lists");
            assert!(page.len() <= limit, "no more than was asked for");
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            seen.extend(page.into_iter().map(|record| record.id));
        }
        assert_eq!(seen, ids, "all, once, by id, in pages of {limit}");
    }
    assert_eq!(store.list(None, 0).await.expect("lists"), Vec::new());
    for id in ids {
        store.remove(&id).await.expect("removes");
    }
}

async fn what_is_removed_is_gone<S: ParkedStore>(name: &str, open: &mut impl AsyncFnMut() -> S) {
    let gone = id(name, 0, 4);
    let store = open().await;
    store.park(parked(gone.clone(), odd_records().swap_remove(1))).await.expect("parks");
    assert!(store.remove(&gone).await.expect("removes"), "there was one");
    assert!(!store.remove(&gone).await.expect("removes"), "there is none any more");
    drop(store);
    let store = open().await;
    assert_eq!(store.get(&gone).await.expect("reads"), None);
    assert_eq!(
        (store.count().await.expect("counts"), store.list(None, 9).await.expect("lists")),
        (0, vec![])
    );
}

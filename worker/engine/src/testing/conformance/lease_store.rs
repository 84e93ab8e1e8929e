//! What every [`LeaseStore`] must do, as one suite: call each case, or [`all`], with a fixture of the store.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use keyweir_core::Standing;
use tokio::time::{Instant, sleep, timeout};

use crate::ports::{
    Change, Changes, Committed, Entry, Guard, LeaseId, LeaseStore, MAX_OPERATIONS, MAX_TRANSACTION_BYTES,
    Pulse, StoreError, Transaction,
};

/// How long anything may take that should happen at once.
const SOON: Duration = Duration::from_secs(10);

/// A store under test.
pub trait Fixture: Sync {
    /// A client of the store; each call may give another one.
    fn client(&self) -> Arc<dyn LeaseStore>;

    /// Forgets the history of everything written so far.
    fn compact(&self) -> BoxFuture<'_, ()>;

    /// A TTL that the store grants as it is asked for.
    fn ttl(&self) -> Duration;
}

/// Every case, one after another, each under a prefix of its own.
pub async fn all(fixture: &dyn Fixture) {
    a_key_is_created_once(fixture).await;
    fences_grow_and_an_older_one_is_refused(fixture).await;
    a_transaction_is_whole_and_reads_with_it(fixture).await;
    a_listing_and_the_watch_behind_it_miss_nothing(fixture).await;
    a_prefix_is_isolated(fixture).await;
    a_long_listing_is_of_one_revision(fixture).await;
    a_large_transaction_arrives_in_one_piece(fixture).await;
    what_is_too_large_is_refused_before_it_is_sent(fixture).await;
    a_compacted_history_is_told(fixture).await;
    it_is_known_how_far_back_the_history_goes(fixture).await;
    a_lease_that_nobody_renews_ends_with_its_keys(fixture).await;
    a_revoked_lease_ends_at_once(fixture).await;
    a_kept_lease_lives_until_it_is_dropped(fixture).await;
    a_lease_without_a_pulse_ends(fixture).await;
}

/// Only the first of two creations happens, and the second learns who was first.
pub async fn a_key_is_created_once(fixture: &dyn Fixture) {
    let store = fixture.client();
    let key = "/conformance/create/owner";
    let create = |value: &'static str| {
        Transaction::new().when(Guard::Absent(key.to_owned())).put(key, value.as_bytes(), None).read(key)
    };
    let (revision, reads) = done(store.commit(create("first")).await);
    let entry = reads[0].clone().expect("the key was just written");
    assert_eq!(
        (entry.create_revision, entry.mod_revision, &entry.value[..]),
        (revision, revision, &b"first"[..])
    );
    let found = refused(fixture.client().commit(create("second")).await);
    assert_eq!(found[0].as_ref().map(|entry| &entry.value[..]), Some(&b"first"[..]));
    assert_eq!(found[0].as_ref().map(|entry| entry.create_revision), Some(revision));
}

/// A later creation has a higher revision; a write guarded by the earlier one changes nothing.
pub async fn fences_grow_and_an_older_one_is_refused(fixture: &dyn Fixture) {
    let store = fixture.client();
    let (owner, checkpoint) = ("/conformance/fence/owner", "/conformance/fence/checkpoint");
    let own = || Transaction::new().when(Guard::Absent(owner.to_owned())).put(owner, "x", None);
    let (first, _) = done(store.commit(own()).await);
    done(store.commit(Transaction::new().delete(owner)).await);
    let (second, _) = done(store.commit(own()).await);
    assert!(second > first);
    let save = |fence, value: &'static str| {
        Transaction::new().when(Guard::Created(owner.to_owned(), fence)).put(checkpoint, value, None)
    };
    done(store.commit(save(second, "new")).await);
    let found = refused(store.commit(save(first, "old")).await);
    assert_eq!(found[0].as_ref().map(|entry| entry.create_revision), Some(second));
    let stored = store.list(checkpoint).await.expect("listed").entries;
    assert_eq!(&stored[0].value[..], b"new");
    // Writing the owner's key again is not a new tenure; a guard on the last write sees it all the same.
    let written =
        |revision| Transaction::new().when(Guard::Written(owner.to_owned(), revision)).put(owner, "y", None);
    done(store.commit(written(second)).await);
    done(store.commit(save(second, "newer")).await);
    refused(store.commit(written(second)).await);
}

/// Writes and deletes of one transaction share a revision, and its reads see them.
pub async fn a_transaction_is_whole_and_reads_with_it(fixture: &dyn Fixture) {
    let store = fixture.client();
    let key = |name: &str| format!("/conformance/whole/{name}");
    done(store.commit(Transaction::new().put(key("gone"), "1", None).put(key("stays"), "2", None)).await);
    let both = Transaction::new()
        .when(Guard::Absent(key("new")))
        .delete(key("gone"))
        .put(key("new"), "3", None)
        .read(key("new"))
        .read(key("gone"))
        .read(key("stays"));
    let (revision, reads) = done(store.commit(both).await);
    let values: Vec<_> = reads.iter().map(|entry| entry.as_ref().map(|entry| entry.value.clone())).collect();
    assert_eq!(values, [Some("3".into()), None, Some(Bytes::from("2"))]);
    assert_eq!(reads[0].as_ref().map(|entry| entry.mod_revision), Some(revision));
    let untouched =
        Transaction::new().when(Guard::Absent(key("new"))).put(key("other"), "4", None).delete(key("stays"));
    refused(store.commit(untouched).await);
    let listing = store.list("/conformance/whole/").await.expect("listed");
    assert_eq!(keys(&listing.entries), [key("new"), key("stays")]);
}

/// Every change behind a listing comes once, in order, also those made before the watch was opened.
pub async fn a_listing_and_the_watch_behind_it_miss_nothing(fixture: &dyn Fixture) {
    let store = fixture.client();
    let prefix = "/conformance/watch/";
    done(store.commit(Transaction::new().put(format!("{prefix}a"), "1", None)).await);
    let listing = store.list(prefix).await.expect("listed");
    assert_eq!(keys(&listing.entries), [format!("{prefix}a")]);
    for value in ["2", "3"] {
        done(fixture.client().commit(Transaction::new().put(format!("{prefix}b"), value, None)).await);
    }
    let mut watch = store.watch(prefix, listing.revision + 1);
    let mut seen = gather(&mut watch, 2).await;
    done(store.commit(Transaction::new().delete(format!("{prefix}a"))).await);
    let (last, _) = done(store.commit(Transaction::new().put(format!("{prefix}c"), "4", None)).await);
    seen.extend(gather(&mut watch, 2).await);
    let told: Vec<String> = seen.iter().map(describe).collect();
    assert_eq!(told, ["b=2", "b=3", "a gone", "c=4"].map(|text| format!("{prefix}{text}")));
    assert!(revisions(&seen).is_sorted() && revisions(&seen).last() == Some(&last));
}

/// A neighbour that begins alike is neither listed nor watched.
pub async fn a_prefix_is_isolated(fixture: &dyn Fixture) {
    let store = fixture.client();
    let prefix = "/conformance/apart/";
    let mine = format!("{prefix}x");
    let mut watch = store.watch(prefix, store.list(prefix).await.expect("listed").revision + 1);
    for key in ["/conformance/apart", "/conformance/apart2/x", "/conformance/apar", &mine] {
        done(store.commit(Transaction::new().put(key, "1", None)).await);
    }
    assert_eq!(keys(&store.list(prefix).await.expect("listed").entries).join(" "), mine);
    assert_eq!(gather(&mut watch, 1).await[0].key(), mine);
}

/// A listing of many megabytes is whole and in order, while others write.
pub async fn a_long_listing_is_of_one_revision(fixture: &dyn Fixture) {
    let store = fixture.client();
    let prefix = "/conformance/long/";
    let value = Bytes::from(vec![b'v'; 4096]);
    for batch in 0..24 {
        let puts = (0..MAX_OPERATIONS).fold(Transaction::new(), |transaction, number| {
            transaction.put(format!("{prefix}{batch:03}-{number:03}"), value.clone(), None)
        });
        done(store.commit(puts).await);
    }
    let meddler = fixture.client();
    let (listing, ()) = tokio::join!(store.list(prefix), async {
        done(meddler.commit(Transaction::new().delete(format!("{prefix}023-099"))).await);
    });
    let listing = listing.expect("listed");
    assert!(listing.entries.len() == 2400 || listing.entries.len() == 2399, "{}", listing.entries.len());
    assert!(keys(&listing.entries).is_sorted());
    assert!(listing.entries.iter().all(|entry| entry.mod_revision <= listing.revision));
}

/// The changes of one transaction come together.
pub async fn a_large_transaction_arrives_in_one_piece(fixture: &dyn Fixture) {
    let store = fixture.client();
    let prefix = "/conformance/burst/";
    let from = store.list(prefix).await.expect("listed").revision + 1;
    let mut watch = store.watch(prefix, from);
    let value = Bytes::from(vec![b'v'; 4096]);
    let puts = (0..MAX_OPERATIONS).fold(Transaction::new(), |transaction, number| {
        transaction.put(format!("{prefix}{number}"), value.clone(), None)
    });
    let (revision, _) = done(store.commit(puts).await);
    let changes = next(&mut watch).await;
    assert_eq!((changes.changes.len(), changes.revision >= revision), (MAX_OPERATIONS, true));
}

/// Too many operations and too many bytes are told by the adapter itself.
pub async fn what_is_too_large_is_refused_before_it_is_sent(fixture: &dyn Fixture) {
    let store = fixture.client();
    let many = (0..=MAX_OPERATIONS).fold(Transaction::new(), |transaction, number| {
        transaction.put(format!("/conformance/large/{number}"), "x", None)
    });
    assert!(matches!(store.commit(many).await, Err(StoreError::TooLarge { operations: 101, .. })));
    let heavy = Bytes::from(vec![0; MAX_TRANSACTION_BYTES]);
    let heavy = Transaction::new().put("/conformance/large/heavy", heavy, None);
    assert!(matches!(store.commit(heavy).await, Err(StoreError::TooLarge { .. })));
    assert_eq!(store.list("/conformance/large/").await.expect("listed").entries, []);
}

/// A watch that comes too late says so.
pub async fn a_compacted_history_is_told(fixture: &dyn Fixture) {
    let store = fixture.client();
    let prefix = "/conformance/compacted/";
    let (first, _) = done(store.commit(Transaction::new().put(format!("{prefix}a"), "1", None)).await);
    for value in ["2", "3"] {
        done(store.commit(Transaction::new().put(format!("{prefix}a"), value, None)).await);
    }
    fixture.compact().await;
    let mut watch = store.watch(prefix, first);
    let told = timeout(SOON, watch.next()).await.expect("the watch ends soon");
    assert!(matches!(told, Some(Err(StoreError::Compacted { .. }))), "{told:?}");
    let listing = store.list(prefix).await.expect("listed");
    let mut watch = store.watch(prefix, listing.revision + 1);
    done(store.commit(Transaction::new().put(format!("{prefix}a"), "4", None)).await);
    assert_eq!(describe(&gather(&mut watch, 1).await[0]), format!("{prefix}a=4"));
}

/// What stood earlier is kept until the history is compacted; the answer tells how far the store has come meanwhile.
pub async fn it_is_known_how_far_back_the_history_goes(fixture: &dyn Fixture) {
    let store = fixture.client();
    let key = "/conformance/history/a";
    let (first, _) = done(store.commit(Transaction::new().put(key, "1", None)).await);
    let (second, _) = done(store.commit(Transaction::new().put(key, "2", None)).await);
    for since in [0, first, second] {
        let present = store.keeps(key, since).await.expect("it is kept");
        assert!(present >= second, "{present}");
    }
    fixture.compact().await;
    let told = store.keeps(key, first).await;
    assert!(matches!(told, Err(StoreError::Compacted { from }) if from == first), "{told:?}");
    let present = store.keeps(key, 0).await.expect("the present is always kept");
    assert_eq!(store.keeps(key, present).await.expect("it is kept"), present);
}

/// Without renewal the keys vanish, not before the TTL and not long after, and writes under the lease fail.
pub async fn a_lease_that_nobody_renews_ends_with_its_keys(fixture: &dyn Fixture) {
    let store = fixture.client();
    let key = "/conformance/expiry/member";
    let before = Instant::now();
    let grant = store.grant(fixture.ttl()).await.expect("granted");
    assert_eq!(grant.ttl, fixture.ttl());
    assert!(grant.clock.lost_at() >= before.into_std() + grant.ttl);
    let (revision, _) = done(store.commit(Transaction::new().put(key, "x", grant.lease)).await);
    let entry = store.list(key).await.expect("listed").entries.remove(0);
    assert_eq!(entry.lease, Some(grant.lease));
    let mut watch = store.watch(key, revision + 1);
    let change = gather(&mut watch, 1).await.remove(0);
    assert!(matches!(change, Change::Deleted { .. }));
    assert!(before.elapsed() >= grant.ttl, "{:?}", before.elapsed());
    let late = store.commit(Transaction::new().put(key, "y", grant.lease)).await;
    assert!(matches!(late, Err(StoreError::LeaseGone)), "{late:?}");
}

/// Revocation removes the keys at once; a second one is no error; the keeper learns of it.
pub async fn a_revoked_lease_ends_at_once(fixture: &dyn Fixture) {
    let store = fixture.client();
    let key = "/conformance/revoke/member";
    let grant = store.grant(fixture.ttl()).await.expect("granted");
    let mut renewals = store.keep(grant, Pulse::new());
    done(store.commit(Transaction::new().put(key, "x", grant.lease)).await);
    fixture.client().revoke(grant.lease).await.expect("revoked");
    assert_eq!(store.list(key).await.expect("listed").entries, []);
    store.revoke(grant.lease).await.expect("a lease that is gone is no error");
    store.revoke(LeaseId(0x7777)).await.expect("a lease that never was is no error");
    let lost = async {
        while renewals.clock().standing(now()) != Standing::Lost {
            renewals.changed().await;
        }
    };
    timeout(grant.ttl, lost).await.expect("the keeper hears of the revocation before the TTL is over");
}

/// A kept lease outlives its TTL; after the keeper is dropped it ends.
pub async fn a_kept_lease_lives_until_it_is_dropped(fixture: &dyn Fixture) {
    let store = fixture.client();
    let key = "/conformance/keep/member";
    let grant = store.grant(fixture.ttl()).await.expect("granted");
    let pulse = Pulse::new();
    let renewals = store.keep(grant, pulse.clone());
    let (revision, _) = done(store.commit(Transaction::new().put(key, "x", grant.lease)).await);
    let until = Instant::now() + grant.ttl * 2;
    while Instant::now() < until {
        pulse.beat();
        assert_eq!(renewals.clock().standing(now()), Standing::Held);
        sleep(grant.ttl / 10).await;
    }
    assert_eq!(store.list(key).await.expect("listed").entries.len(), 1);
    drop(renewals);
    let mut watch = store.watch(key, revision + 1);
    assert!(matches!(gather(&mut watch, 1).await[0], Change::Deleted { .. }));
}

/// A keeper whose work stands still lets the lease go.
pub async fn a_lease_without_a_pulse_ends(fixture: &dyn Fixture) {
    let store = fixture.client();
    let key = "/conformance/pulse/member";
    let grant = store.grant(fixture.ttl()).await.expect("granted");
    let renewals = store.keep(grant, Pulse::new());
    let (revision, _) = done(store.commit(Transaction::new().put(key, "x", grant.lease)).await);
    let mut watch = store.watch(key, revision + 1);
    let started = Instant::now();
    assert!(matches!(gather(&mut watch, 1).await[0], Change::Deleted { .. }));
    assert!(started.elapsed() < grant.ttl * 3, "{:?}", started.elapsed());
    assert_eq!(renewals.clock().standing(now()), Standing::Lost);
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn done(answer: Result<Committed, StoreError>) -> (u64, Vec<Option<Entry>>) {
    match answer {
        Ok(Committed::Done { revision, reads }) => (revision, reads),
        other => unreachable!("the transaction should have happened: {other:?}"),
    }
}

fn refused(answer: Result<Committed, StoreError>) -> Vec<Option<Entry>> {
    match answer {
        Ok(Committed::Refused { found, .. }) => found,
        other => unreachable!("a guard should have refused the transaction: {other:?}"),
    }
}

async fn next(watch: &mut BoxStream<'static, Result<Changes, StoreError>>) -> Changes {
    let changes = timeout(SOON, watch.next().boxed()).await.expect("something changes soon");
    changes.expect("the watch goes on").expect("the watch works")
}

/// So many changes, in however many pieces.
async fn gather(watch: &mut BoxStream<'static, Result<Changes, StoreError>>, count: usize) -> Vec<Change> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen.extend(next(watch).await.changes);
    }
    seen
}

fn keys(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| entry.key.clone()).collect()
}

fn revisions(changes: &[Change]) -> Vec<u64> {
    let revision = |change: &Change| match change {
        Change::Put(entry) => entry.mod_revision,
        Change::Deleted { revision, .. } => *revision,
    };
    changes.iter().map(revision).collect()
}

fn describe(change: &Change) -> String {
    match change {
        Change::Put(entry) => format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)),
        Change::Deleted { key, .. } => format!("{key} gone"),
    }
}

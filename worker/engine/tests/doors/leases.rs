//! The fake `LeaseStore` keeps what the port promises, in paused time.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_engine::ports::{Guard, LeaseStore, StoreError, Transaction};
use keyweir_engine::testing::conformance::lease_store::{Fixture, all};
use keyweir_engine::testing::fakes::MemoryLeases;

struct Memory(MemoryLeases);

impl Fixture for Memory {
    fn client(&self) -> Arc<dyn LeaseStore> {
        Arc::new(self.0.client())
    }

    fn compact(&self) -> BoxFuture<'_, ()> {
        async { self.0.compact() }.boxed()
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(3)
    }
}

#[tokio::test(start_paused = true)]
async fn the_fake_conforms() {
    all(&Memory(MemoryLeases::new())).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_leaves_the_write_in_doubt() {
    let store = MemoryLeases::new();
    let client = store.client();
    client.lose_answers(1);
    let create = || Transaction::new().when(Guard::Absent("/k".into())).put("/k", "mine", None);
    assert!(matches!(client.commit(create()).await, Err(StoreError::Unreachable { .. })));
    assert_eq!(store.standing("/k").entries.len(), 1);
    assert_eq!((store.writes(), store.refused()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_cut_off_hears_nothing_until_it_is_healed() {
    let store = MemoryLeases::new();
    let (near, far) = (store.client(), store.client());
    far.cut();
    assert!(matches!(far.list("/").await, Err(StoreError::Unreachable { .. })));
    assert!(near.commit(Transaction::new().put("/k", "1", None)).await.is_ok());
    far.heal();
    assert_eq!(far.list("/").await.unwrap().entries.len(), 1);
}

//! The engine's `LeaseStore` over etcd. Up: the [crate](crate).

use std::time::Duration;

use etcd_client::{Client, GetOptions, LeaseGrantResponse, ResponseHeader};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use keyweir_core::LeaseClock;
use keyweir_engine::ports::{
    Changes, Committed, Grant, LeaseId, LeaseStore, Listing, Pulse, Renewals, StoreError, Transaction,
};
use tokio::time::Instant;

use crate::client::Connection;
use crate::convert;
use crate::error::Incomplete;
use crate::range::{behind, prefix_end};
use crate::{keeper, watch};

/// How many keys are asked for at a time.
const PAGE: i64 = 500;

/// The largest answer that is read: a page of the largest values.
pub(crate) const LARGEST_ANSWER: usize = 320 * 1024 * 1024;

/// etcd as a store of keys under leases.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    connection: Connection,
}

impl EtcdStore {
    /// A store behind a connection.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// All pages of a prefix, at the revision of the first one.
    async fn pages(client: Client, prefix: &str) -> Result<Listing, Page> {
        let mut client = client.kv_client().max_decoding_message_size(LARGEST_ANSWER);
        let mut listing = Listing { revision: 0, entries: Vec::new() };
        let mut from = prefix.as_bytes().to_vec();
        loop {
            let mut options = GetOptions::new().with_range(prefix_end(prefix.as_bytes())).with_limit(PAGE);
            if listing.revision > 0 {
                options = options.with_revision(convert::signed(listing.revision));
            }
            let page = client.get(from, Some(options)).await.map_err(Page::Failed)?;
            if listing.revision == 0 {
                listing.revision = header_revision(page.header()).ok_or(Page::Incomplete)?;
            }
            listing.entries.extend(page.kvs().iter().map(convert::entry));
            match page.kvs().last().filter(|_| page.more()) {
                Some(last) => from = behind(last.key()),
                None => return Ok(listing),
            }
        }
    }
}

/// Why a listing ended early.
enum Page {
    Failed(etcd_client::Error),
    Incomplete,
}

impl LeaseStore for EtcdStore {
    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Grant, StoreError>> {
        const ACT: &str = "grant a lease";
        async move {
            // etcd counts in whole seconds, at least its election time; what it grants is in the answer.
            let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
            let sent = Instant::now();
            let answer: LeaseGrantResponse = self
                .connection
                .call(ACT, 0, async |client| client.lease_client().grant(seconds, None).await)
                .await?;
            let granted = Duration::from_secs(u64::try_from(answer.ttl()).unwrap_or_default());
            let clock = LeaseClock::granted(sent.into_std(), granted);
            Ok(Grant { lease: LeaseId(answer.id()), ttl: granted, clock })
        }
        .boxed()
    }

    fn keep(&self, grant: Grant, pulse: Pulse) -> Renewals {
        // Short calls: after one that hangs there is time to ask another server before dispatch has to stop.
        keeper::keep(self.connection.another(grant.ttl / 5), grant, pulse)
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let revoke = async |client: Client| client.lease_client().revoke(lease.0).await;
            match self.connection.call("revoke a lease", 0, revoke).await {
                Ok(_) | Err(StoreError::LeaseGone) => Ok(()),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing, StoreError>> {
        const ACT: &str = "list keys";
        async move {
            let pages = async |client: Client| match Self::pages(client, prefix).await {
                Ok(listing) => Ok(Some(listing)),
                Err(Page::Incomplete) => Ok(None),
                Err(Page::Failed(error)) => Err(error),
            };
            let listing = self.connection.call(ACT, 0, pages).await?;
            listing.ok_or_else(|| incomplete(ACT))
        }
        .boxed()
    }

    fn keeps<'a>(&'a self, key: &'a str, since: u64) -> BoxFuture<'a, Result<u64, StoreError>> {
        const ACT: &str = "look back";
        async move {
            // Reading at an old revision needs no more rights than the key; etcd's own word on its size may need root.
            let options = GetOptions::new().with_count_only().with_revision(convert::signed(since));
            let look = async |client: Client| client.kv_client().get(key, Some(options)).await;
            let answer = self.connection.call(ACT, since, look).await?;
            header_revision(answer.header()).ok_or_else(|| incomplete(ACT))
        }
        .boxed()
    }

    fn watch(&self, prefix: &str, from: u64) -> BoxStream<'static, Result<Changes, StoreError>> {
        watch::watch(self.connection.clone(), prefix.to_owned(), from)
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StoreError>> {
        const ACT: &str = "commit a transaction";
        async move {
            transaction.check_size()?;
            let transaction = convert::transaction(transaction);
            let answer = self
                .connection
                .call(ACT, 0, async |client| client.kv_client().txn(transaction).await)
                .await?;
            let revision = header_revision(answer.header()).ok_or_else(|| incomplete(ACT))?;
            let reads = convert::reads(&answer.op_responses());
            Ok(match answer.succeeded() {
                true => Committed::Done { revision, reads },
                false => Committed::Refused { revision, found: reads },
            })
        }
        .boxed()
    }
}

pub(crate) fn header_revision(header: Option<&ResponseHeader>) -> Option<u64> {
    header.map(|header| convert::revision(header.revision()))
}

pub(crate) fn incomplete(act: &'static str) -> StoreError {
    StoreError::Unreachable { act, source: Incomplete { part: "header" }.into() }
}

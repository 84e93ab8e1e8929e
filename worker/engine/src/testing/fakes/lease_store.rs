//! A `LeaseStore` in memory for any number of clients, with tokio's time (paused or not), faults on request and
//! counters of what it was asked to write.

mod state;

use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use keyweir_core::LeaseClock;
use keyweir_core::lease::RENEWALS_PER_TTL;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::lock;
use crate::ports::{
    Changes, Committed, Grant, LeaseId, LeaseStore, Listing, Pulse, Renewals, RenewalsTx, StoreError,
    Transaction,
};
use state::State;

/// How long a client that is cut off waits before it gives a call up.
const CALL_DEADLINE: Duration = Duration::from_secs(1);

/// The store that all clients share. Cheap to clone; all clones are one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryLeases {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

/// One process's way to the store, with faults of its own.
#[derive(Clone, Debug)]
pub struct MemoryLeaseClient {
    shared: Arc<Shared>,
    faults: Arc<Mutex<Faults>>,
    healed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Faults {
    cut: bool,
    /// So many writes are carried out and their answers lost.
    lose_answers: usize,
    /// So many writes are kept on their way.
    hold_back: usize,
    held: Vec<Transaction>,
    latency: Duration,
    /// How often it was asked how far back the history goes.
    looks: u64,
}

impl MemoryLeases {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> MemoryLeaseClient {
        MemoryLeaseClient { shared: Arc::clone(&self.shared), faults: Arc::default(), healed: Arc::default() }
    }

    /// Transactions that changed something, so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        lock(&self.shared.state).writes
    }

    /// Transactions that a guard refused, so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        lock(&self.shared.state).refused
    }

    /// What stands under a prefix.
    #[must_use]
    pub fn standing(&self, prefix: &str) -> Listing {
        self.shared.expire();
        lock(&self.shared.state).list(prefix)
    }

    /// Forgets the history.
    pub fn compact(&self) {
        lock(&self.shared.state).compact();
    }

    /// Ends every watch that is open.
    pub fn cut_watches(&self) {
        lock(&self.shared.state).cuts += 1;
        self.shared.changed.notify_waiters();
    }

    /// Writes as a stranger would.
    pub fn meddle(&self, transaction: Transaction) -> Result<Committed, StoreError> {
        let answer = lock(&self.shared.state).commit(transaction);
        self.shared.changed.notify_waiters();
        answer
    }
}

impl Shared {
    fn expire(&self) {
        if lock(&self.state).expire(Instant::now()) {
            self.changed.notify_waiters();
        }
    }

    fn next_expiry(&self) -> Option<Instant> {
        lock(&self.state).next_expiry()
    }

    fn cuts(&self) -> u64 {
        lock(&self.state).cuts
    }
}

impl MemoryLeaseClient {
    /// Cuts the client off: calls end at their deadline, watches stand still, renewals don't arrive.
    pub fn cut(&self) {
        lock(&self.faults).cut = true;
    }

    /// Lets the client in again.
    pub fn heal(&self) {
        lock(&self.faults).cut = false;
        self.healed.notify_waiters();
    }

    /// Carries the next writes out and loses their answers.
    pub fn lose_answers(&self, count: usize) {
        lock(&self.faults).lose_answers = count;
    }

    /// Keeps the next writes on their way: they are answered by silence, and carried out by [`Self::let_through`].
    pub fn hold_back(&self, count: usize) {
        lock(&self.faults).hold_back = count;
    }

    /// Lets arrive what was held back. Says how many of it a guard refused.
    pub fn let_through(&self) -> usize {
        let held = std::mem::take(&mut lock(&self.faults).held);
        let answers = held.into_iter().map(|transaction| lock(&self.shared.state).commit(transaction));
        let refused = answers.filter(|answer| !matches!(answer, Ok(Committed::Done { .. }))).count();
        self.shared.changed.notify_waiters();
        refused
    }

    /// Makes every call take that long.
    pub fn set_latency(&self, latency: Duration) {
        lock(&self.faults).latency = latency;
    }

    /// How often it was asked how far back the history goes.
    #[must_use]
    pub fn looks(&self) -> u64 {
        lock(&self.faults).looks
    }

    /// Whether it is cut off.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        lock(&self.faults).cut
    }

    /// A round trip to the store; half of the time passes before it acts.
    async fn call<T>(
        &self,
        act: &'static str,
        run: impl FnOnce(&mut State, Instant) -> T,
    ) -> Result<T, StoreError> {
        let latency = lock(&self.faults).latency;
        sleep(latency / 2).await;
        if self.is_cut() {
            sleep(CALL_DEADLINE).await;
            return Err(unreachable(act));
        }
        self.shared.expire();
        let answer = run(&mut lock(&self.shared.state), Instant::now());
        self.shared.changed.notify_waiters();
        sleep(latency - latency / 2).await;
        if self.is_cut() {
            sleep(CALL_DEADLINE).await;
            return Err(unreachable(act));
        }
        Ok(answer)
    }

    fn loses_an_answer(&self) -> bool {
        let mut faults = lock(&self.faults);
        let loses = faults.lose_answers > 0;
        faults.lose_answers = faults.lose_answers.saturating_sub(1);
        loses
    }

    /// Whether a transaction is kept on its way.
    fn holds_back(&self, transaction: &Transaction) -> bool {
        let mut faults = lock(&self.faults);
        let holds = faults.hold_back > 0 && !transaction.writes.is_empty();
        if holds {
            faults.hold_back -= 1;
            faults.held.push(transaction.clone());
        }
        holds
    }

    /// Renews until nobody wants the lease or there is none.
    async fn renew(self, grant: Grant, pulse: Pulse, renewals: RenewalsTx) {
        let mut wait = grant.ttl / RENEWALS_PER_TTL;
        loop {
            sleep(wait).await;
            // Until the next renewal is acknowledged there are many tries.
            wait = grant.ttl / 20;
            if pulse.age() > grant.ttl {
                continue;
            }
            let sent = Instant::now();
            match self.call("renew a lease", |state, now| state.renew(grant.lease, now)).await {
                Ok(Some(ttl)) => {
                    renewals.renewed(sent, ttl);
                    wait = ttl / RENEWALS_PER_TTL;
                }
                Ok(None) => {
                    renewals.gone();
                    return;
                }
                Err(_) => {}
            }
        }
    }

    /// The next changes from a revision on, waiting for them.
    async fn next_changes(&self, prefix: &str, from: u64, cuts: u64) -> Result<Changes, StoreError> {
        loop {
            let healed = self.healed.notified();
            let changed = self.shared.changed.notified();
            tokio::pin!(healed, changed);
            healed.as_mut().enable();
            changed.as_mut().enable();
            if self.is_cut() {
                healed.await;
                continue;
            }
            if self.shared.cuts() > cuts {
                return Err(unreachable("watch"));
            }
            self.shared.expire();
            if let Some(changes) = lock(&self.shared.state).changes(prefix, from)? {
                return Ok(changes);
            }
            match self.shared.next_expiry() {
                // A timer's time may round up to where the lease has just been renewed: look again in any case.
                Some(at) => drop(timeout(at.saturating_duration_since(Instant::now()), changed).await),
                None => changed.await,
            }
        }
    }
}

impl LeaseStore for MemoryLeaseClient {
    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<Grant, StoreError>> {
        async move {
            let sent = Instant::now();
            let lease = self.call("grant a lease", |state, now| state.grant(ttl, now)).await?;
            Ok(Grant { lease, ttl, clock: LeaseClock::granted(sent.into_std(), ttl) })
        }
        .boxed()
    }

    fn keep(&self, grant: Grant, pulse: Pulse) -> Renewals {
        let (tx, renewals) = Renewals::new(grant.clock);
        let stop = tx.stop_token();
        let renew = self.clone().renew(grant, pulse, tx);
        tokio::spawn(async move { stop.run_until_cancelled(renew).await });
        renewals
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call("revoke a lease", move |state, _| state.revoke(lease)).boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing, StoreError>> {
        self.call("list", move |state, _| state.list(prefix)).boxed()
    }

    fn keeps<'a>(&'a self, _key: &'a str, since: u64) -> BoxFuture<'a, Result<u64, StoreError>> {
        lock(&self.faults).looks += 1;
        async move { self.call("look back", |state, _| state.keeps(since)).await? }.boxed()
    }

    fn watch(&self, prefix: &str, from: u64) -> BoxStream<'static, Result<Changes, StoreError>> {
        let start = (self.clone(), prefix.to_owned(), Some(from), self.shared.cuts());
        stream::unfold(start, |(client, prefix, from, cuts)| async move {
            let latency = lock(&client.faults).latency;
            let changes = client.next_changes(&prefix, from?, cuts).await;
            sleep(latency / 2).await;
            let next = changes.as_ref().ok().map(|changes| changes.revision + 1);
            Some((changes, (client, prefix, next, cuts)))
        })
        .boxed()
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, StoreError>> {
        async move {
            if self.holds_back(&transaction) {
                return Err(unreachable("commit"));
            }
            let answer = self.call("commit", |state, _| state.commit(transaction)).await?;
            if matches!(answer, Ok(Committed::Done { .. })) && self.loses_an_answer() {
                return Err(unreachable("commit"));
            }
            answer
        }
        .boxed()
    }
}

impl MemoryLeases {
    /// Waits until the next lease ends: what a server does by itself.
    pub async fn until_next_expiry(&self) {
        if let Some(at) = self.shared.next_expiry() {
            sleep_until(at).await;
        }
        self.shared.expire();
    }
}

fn unreachable(act: &'static str) -> StoreError {
    StoreError::Unreachable { act, source: Error::new(ErrorKind::TimedOut, "asked to fail").into() }
}

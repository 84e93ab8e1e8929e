//! The two ends of a lease that is renewed elsewhere: the pulse that allows it, and the clock that tells of it.
//! Part of [`LeaseStore`](super::LeaseStore).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyweir_core::LeaseClock;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Shows a keeper that the work it speaks for still moves. Clones are one pulse.
#[derive(Debug, Clone)]
pub struct Pulse {
    born: Instant,
    /// Milliseconds from birth to the last beat. Atomic, since the keeper reads it on another thread.
    last: Arc<AtomicU64>,
}

impl Pulse {
    /// A pulse that beats now.
    #[must_use]
    pub fn new() -> Self {
        Self { born: Instant::now(), last: Arc::default() }
    }

    /// It beats.
    pub fn beat(&self) {
        let millis = self.born.elapsed().as_millis();
        self.last.fetch_max(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago it beat last.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new()
    }
}

/// What is known of a lease that is being renewed. Dropping it ends the renewing, not the lease.
#[derive(Debug)]
pub struct Renewals {
    clock: watch::Receiver<LeaseClock>,
    _stop: DropGuard,
}

/// The renewing side of [`Renewals`].
#[derive(Debug)]
pub struct RenewalsTx {
    clock: watch::Sender<LeaseClock>,
    stop: CancellationToken,
}

impl Renewals {
    /// Both sides, beginning with the clock of the grant.
    #[must_use]
    pub fn new(clock: LeaseClock) -> (RenewalsTx, Self) {
        let stop = CancellationToken::new();
        let (tx, rx) = watch::channel(clock);
        (RenewalsTx { clock: tx, stop: stop.clone() }, Self { clock: rx, _stop: stop.drop_guard() })
    }

    /// The clock as the last answer left it.
    #[must_use]
    pub fn clock(&self) -> LeaseClock {
        *self.clock.borrow()
    }

    /// Waits for the next answer of the store. Cancel-safe. Pends forever when nobody renews any more: then the
    /// clock alone tells the end.
    pub async fn changed(&mut self) {
        if self.clock.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl RenewalsTx {
    /// A renewal that was sent at `sent` was acknowledged.
    pub fn renewed(&self, sent: Instant, ttl: Duration) {
        self.clock.send_modify(|clock| clock.renewed(sent.into_std(), ttl));
    }

    /// The store said that the lease is gone.
    pub fn gone(&self) {
        self.clock.send_modify(LeaseClock::revoked);
    }

    /// The clock as it stands.
    #[must_use]
    pub fn clock(&self) -> LeaseClock {
        *self.clock.borrow()
    }

    /// Cancelled when nobody wants the lease any more.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }
}

//! What a lease allows: a clock's word, looked at before each dispatch and before anything that has ended counts.
//!
//! A process that was frozen wakes up with everything it had, and nobody has told it yet that its lease is over.
//! The clock has: so the pump looks at it itself.

use keyweir_core::LeaseClock;
use tokio::sync::watch;
use tokio::time::Instant;

/// What a lease allows, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Until then records may be dispatched.
    pub dispatch: Instant,
    /// What ends later does not count: another member may have started the record.
    pub count: Instant,
}

impl Allowance {
    /// What a lease of this clock allows.
    #[must_use]
    pub fn of(clock: &LeaseClock) -> Self {
        Self {
            dispatch: Instant::from_std(clock.doubtful_at()),
            count: Instant::from_std(clock.failing_at()),
        }
    }
}

/// Until when records may be dispatched, and their outcomes count. Without a lease there is no end.
#[derive(Clone, Debug, Default)]
pub struct DispatchLimit {
    allowance: Option<watch::Receiver<Option<Allowance>>>,
}

impl DispatchLimit {
    /// A limit that is moved by whoever keeps the lease. `None` = nothing may start.
    #[must_use]
    pub fn new() -> (watch::Sender<Option<Allowance>>, Self) {
        let (sender, allowance) = watch::channel(None);
        (sender, Self { allowance: Some(allowance) })
    }

    /// Whether a record may start now.
    #[inline]
    pub fn allows_now(&self) -> bool {
        self.is_before(|allowance| allowance.dispatch)
    }

    /// Whether what has ended by now counts.
    #[inline]
    pub fn counts_now(&self) -> bool {
        self.is_before(|allowance| allowance.count)
    }

    /// Until when what ends counts; `None` = there is no lease, and no end.
    pub fn counts_until(&self) -> Option<Instant> {
        let allowance = self.allowance.as_ref()?;
        // What was never granted is over.
        Some(allowance.borrow().as_ref().map_or_else(Instant::now, |known| known.count))
    }

    #[inline]
    fn is_before(&self, border: impl FnOnce(&Allowance) -> Instant) -> bool {
        match &self.allowance {
            None => true,
            Some(allowance) => {
                allowance.borrow().as_ref().is_some_and(|known| Instant::now() < border(known))
            }
        }
    }
}

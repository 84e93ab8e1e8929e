//! Until when records may be dispatched: a lease's word, looked at before each dispatch.
//!
//! A process that was frozen wakes up with everything it had, and nobody has told it yet that its lease is over.
//! The clock has: so the pump looks at it itself.

use tokio::sync::watch;
use tokio::time::Instant;

/// Until when records may be dispatched. Without one there is no end.
#[derive(Clone, Debug, Default)]
pub struct DispatchLimit {
    until: Option<watch::Receiver<Option<Instant>>>,
}

impl DispatchLimit {
    /// A limit that is moved by whoever keeps the lease. `None` = nothing may start.
    #[must_use]
    pub fn new() -> (watch::Sender<Option<Instant>>, Self) {
        let (sender, until) = watch::channel(None);
        (sender, Self { until: Some(until) })
    }

    /// Whether a record may start now.
    pub(super) fn allows_now(&self) -> bool {
        match &self.until {
            None => true,
            Some(until) => until.borrow().is_some_and(|until| Instant::now() < until),
        }
    }
}

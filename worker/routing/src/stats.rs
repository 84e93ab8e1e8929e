//! What routing counts, for metrics and tests. Up: the [crate](crate).

use std::sync::atomic::{AtomicU64, Ordering};

/// What has happened since the start. Counted wherever it happens, read by whoever asks.
#[derive(Debug, Default)]
pub struct RoutingStats {
    routed: AtomicU64,
    rerouted: AtomicU64,
    busy: AtomicU64,
    hosted: AtomicU64,
    refused: AtomicU64,
}

/// What [`RoutingStats`] said at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoutingCounters {
    /// Records sent to another member.
    pub routed: u64,
    /// Of those: sent and lost with their target, and executed anew.
    pub rerouted: u64,
    /// Answers of targets that were full.
    pub busy: u64,
    /// Records executed here for another member.
    pub hosted: u64,
    /// Greetings of strangers that were refused.
    pub refused: u64,
}

impl RoutingStats {
    pub(crate) fn routed(&self) {
        self.routed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rerouted(&self) {
        self.rerouted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn busy(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn hosted(&self) {
        self.hosted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters now.
    #[must_use]
    pub fn now(&self) -> RoutingCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RoutingCounters {
            routed: read(&self.routed),
            rerouted: read(&self.rerouted),
            busy: read(&self.busy),
            hosted: read(&self.hosted),
            refused: read(&self.refused),
        }
    }
}

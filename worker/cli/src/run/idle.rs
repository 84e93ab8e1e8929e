//! `--until-idle`: telling that nothing is left to do, or that nothing can be done.

use std::time::{Duration, Instant};

use keyweir_engine::pump::{Activity, Snapshot};
use keyweir_worker::ObjectView;
use keyweir_worker::lag::Lag;

/// Lag is looked up each second, so that a shorter calm may be an old look.
const SHORTEST: Duration = Duration::from_millis(2_500);

/// How long nothing was left to do.
pub(super) struct Idle {
    wanted: Duration,
    since: Option<Instant>,
    completed: u64,
}

impl Idle {
    pub(super) fn new(wanted: Duration) -> Self {
        Self { wanted: wanted.max(SHORTEST), since: None, completed: 0 }
    }

    /// Whether it has lasted long enough, now that these are the objects.
    pub(super) fn has_lasted(&mut self, views: &[ObjectView], fed: bool) -> bool {
        let snapshots: Vec<_> = views.iter().map(|view| (view.snapshot(), view.lag())).collect();
        let completed = snapshots.iter().map(|(snapshot, _)| snapshot.counters.completed).sum();
        let calm = fed && snapshots.iter().all(|(snapshot, lag)| is_idle(snapshot, lag.as_ref()));
        if !calm || completed != self.completed {
            (self.since, self.completed) = (None, completed);
            return false;
        }
        self.since.get_or_insert_with(Instant::now).elapsed() >= self.wanted
    }
}

/// How long nothing could be done.
pub(super) struct Stuck {
    patience: Duration,
    since: Option<Instant>,
    completed: u64,
}

impl Stuck {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, since: None, completed: 0 }
    }

    /// What has kept all work from going on for longer than the patience; empty = something may still be done.
    pub(super) fn has_lasted(&mut self, views: &[ObjectView]) -> Vec<String> {
        let (mut completed, mut works, mut kept) = (0, false, Vec::new());
        for view in views {
            let snapshot = view.snapshot();
            completed += snapshot.counters.completed;
            if is_idle(&snapshot, view.lag().as_ref()) {
                continue;
            }
            let missing = view.missing(&snapshot);
            works |= missing.is_empty();
            kept.extend(missing.into_iter().map(|what| format!("{} can't go on: {what}", view.name())));
        }
        if works || kept.is_empty() || completed != self.completed {
            (self.since, self.completed) = (None, completed);
            return Vec::new();
        }
        let lasts = self.since.get_or_insert_with(Instant::now).elapsed() >= self.patience;
        if lasts { kept } else { Vec::new() }
    }
}

/// Nothing behind, nothing executing, nothing waiting. Unknown lag is never zero. What was stopped by its policy has
/// nothing left to do.
fn is_idle(snapshot: &Snapshot, lag: Option<&Lag>) -> bool {
    let at_rest = snapshot.in_flight == 0
        && snapshot.waiting == 0
        && snapshot.in_sight == 0
        && snapshot.writing == 0
        && lag.is_some_and(|lag| lag.records == 0);
    at_rest || snapshot.activity == Activity::Stopped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_lag_is_never_zero_and_a_waiting_retry_is_work() {
        let rest = Snapshot::default();
        let none = Lag::default();
        assert!(is_idle(&rest, Some(&none)));
        assert!(!is_idle(&rest, None));
        assert!(!is_idle(&Snapshot { waiting: 1, ..Snapshot::default() }, Some(&none)));
        assert!(!is_idle(&rest, Some(&Lag { records: 1, ..Lag::default() })));
        assert!(is_idle(&Snapshot { activity: Activity::Stopped, ..Snapshot::default() }, None));
    }
}

//! Waits that grow while something does not come about. Up: the [crate](crate).

use std::time::Duration;

/// A wait that doubles from turn to turn up to a cap.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pace {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next wait.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.longest);
        wait
    }

    /// It came about.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

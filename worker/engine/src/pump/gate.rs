//! Whether a route's handler may be called now: unavailability with back-off and single probes.
//!
//! ```text
//!  Open ──unavailable──▶ Closed(until) ──time──▶ Probing ──answered──▶ Open
//!                             ▲                     │
//!                             └────unavailable──────┘   (the wait doubles up to the cap)
//! ```

use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::Failure;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// One route's gate.
#[derive(Debug)]
pub(super) struct Gate {
    state: State,
    wait: Duration,
    failure: Option<Failure>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    Closed(Instant),
    Probing,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self { state: State::Open, wait: FIRST_WAIT, failure: None }
    }

    /// How many calls may start now, given that many free permits.
    #[inline]
    pub(super) fn admits(&self, now: Instant) -> Admission {
        match self.state {
            State::Open => Admission::All,
            State::Closed(until) if until <= now => Admission::Probe,
            State::Closed(_) | State::Probing => Admission::None,
        }
    }

    /// A probe has been sent.
    pub(super) fn probe_started(&mut self) {
        self.state = State::Probing;
    }

    /// A call ended with an answer: the handler is there.
    #[inline]
    pub(super) fn answered(&mut self) {
        if self.state != State::Open {
            *self = Self::new();
        }
    }

    /// A probe ended without saying anything of the handler (its record was taken away).
    pub(super) fn probe_lost(&mut self, now: Instant) {
        if self.state == State::Probing {
            self.state = State::Closed(now);
        }
    }

    /// A call could not begin. Late answers of calls that began before do not lengthen the wait.
    pub(super) fn unavailable(&mut self, now: Instant, after: Option<Duration>, failure: Failure) {
        let was_open = self.state == State::Open;
        if let State::Closed(until) = self.state
            && until > now
        {
            return;
        }
        if !was_open {
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
        }
        // A handler that asks for more than a minute is asked again all the same: it may have been replaced.
        let wait = after.map_or(self.wait, |after| after.clamp(FIRST_WAIT, Duration::from_secs(60)));
        self.state = State::Closed(now + wait);
        self.failure = Some(failure);
    }

    /// When the next probe is due.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Closed(until) => Some(until),
            State::Open | State::Probing => None,
        }
    }

    /// Why it is closed.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }
}

/// What may start through a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    All,
    /// One single record.
    Probe,
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure::new("Unreachable", "refused")
    }

    #[test]
    fn the_wait_doubles_from_probe_to_probe_and_ends_with_an_answer() {
        let start = Instant::now();
        let mut gate = Gate::new();
        gate.unavailable(start, None, failure());
        gate.unavailable(start, None, failure());
        assert_eq!(gate.due(), Some(start + FIRST_WAIT));
        assert_eq!(gate.admits(start), Admission::None);
        let later = start + FIRST_WAIT;
        assert_eq!(gate.admits(later), Admission::Probe);
        gate.probe_started();
        assert_eq!(gate.admits(later), Admission::None);
        gate.unavailable(later, None, failure());
        assert_eq!(gate.due(), Some(later + FIRST_WAIT * 2));
        gate.answered();
        assert_eq!((gate.admits(later), gate.failure()), (Admission::All, None));
    }

    #[test]
    fn retry_after_is_honoured_within_bounds() {
        let start = Instant::now();
        let mut gate = Gate::new();
        gate.unavailable(start, Some(Duration::from_secs(7)), failure());
        assert_eq!(gate.due(), Some(start + Duration::from_secs(7)));
        let mut gate = Gate::new();
        gate.unavailable(start, Some(Duration::from_secs(86_400)), failure());
        assert_eq!(gate.due(), Some(start + Duration::from_secs(60)));
    }
}

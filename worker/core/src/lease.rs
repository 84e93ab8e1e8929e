//! The lease clock: how sure a member may be that its lease still stands, by its own monotonic clock alone.
//!
//! ```text
//!  sent                                  60 %           80 %          100 % of the TTL
//!   │ ◀────────────── Held ─────────────▶ │ ◀─ Doubtful ─▶ │ ◀─ Failing ─▶ │ Lost ...
//!   └ a renewal that was acknowledged      stop dispatch    cancel          forget
//! ```
//! It counts from the moment at which the last acknowledged renewal was **sent**: the store can't have counted
//! from earlier, so that the member gives up before the store does, however slow the answer was and whatever
//! the wall clocks say. Up: the [crate map](crate).

use std::time::{Duration, Instant};

/// How sure a member may be that its lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It stands.
    Held,
    /// Renewals are overdue: nothing new may start.
    Doubtful,
    /// It will soon be gone: what executes is cancelled, what is queued for writing is dropped.
    Failing,
    /// Others may own what was owned here.
    Lost,
}

/// When nothing new may start, in parts of a hundred of the TTL.
pub const DOUBTFUL_AT: u32 = 60;

/// When what executes is cancelled, in parts of a hundred of the TTL.
pub const FAILING_AT: u32 = 80;

/// How many renewals are sent in one TTL.
pub const RENEWALS_PER_TTL: u32 = 3;

/// The clock of one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseClock {
    sent: Instant,
    ttl: Duration,
    /// The store said that the lease is gone: no later answer brings it back.
    gone: bool,
}

impl LeaseClock {
    /// A lease that was asked for at `sent` and granted for `ttl` (the store's answer, not what was asked for).
    #[must_use]
    pub const fn granted(sent: Instant, ttl: Duration) -> Self {
        Self { sent, ttl, gone: false }
    }

    /// A renewal sent at `sent` was acknowledged with this TTL. Answers may come in any order: the latest counts.
    pub fn renewed(&mut self, sent: Instant, ttl: Duration) {
        if sent >= self.sent {
            self.sent = sent;
            self.ttl = ttl;
        }
    }

    /// The store said that there is no such lease.
    pub const fn revoked(&mut self) {
        self.gone = true;
    }

    /// How sure one may be at `now`. At a border the worse counts.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        if self.gone || now >= self.lost_at() {
            Standing::Lost
        } else if now >= self.failing_at() {
            Standing::Failing
        } else if now >= self.doubtful_at() {
            Standing::Doubtful
        } else {
            Standing::Held
        }
    }

    /// When the standing gets worse, if no renewal is acknowledged; `None` = it is lost.
    #[must_use]
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        match self.standing(now) {
            Standing::Held => Some(self.doubtful_at()),
            Standing::Doubtful => Some(self.failing_at()),
            Standing::Failing => Some(self.lost_at()),
            Standing::Lost => None,
        }
    }

    /// When nothing new may start any more.
    #[must_use]
    pub fn doubtful_at(&self) -> Instant {
        self.sent + self.ttl * DOUBTFUL_AT / 100
    }

    /// When what executes must be cancelled.
    #[must_use]
    pub fn failing_at(&self) -> Instant {
        self.sent + self.ttl * FAILING_AT / 100
    }

    /// When others may own what is owned here.
    #[must_use]
    pub fn lost_at(&self) -> Instant {
        self.sent + self.ttl
    }

    /// How long after one renewal the next one is sent.
    #[must_use]
    pub fn renewal_interval(&self) -> Duration {
        self.ttl / RENEWALS_PER_TTL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(5);

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn a_lease_ends_in_three_steps_counted_from_the_sending() {
        let start = Instant::now();
        let clock = LeaseClock::granted(start, TTL);
        let steps = [(0, Standing::Held), (2999, Standing::Held), (3000, Standing::Doubtful)];
        let later = [(4000, Standing::Failing), (4999, Standing::Failing), (5000, Standing::Lost)];
        for (millis, standing) in steps.into_iter().chain(later) {
            assert_eq!(clock.standing(at(start, millis)), standing, "after {millis} ms");
        }
        assert_eq!(clock.next_change(start), Some(at(start, 3000)));
        assert_eq!(clock.next_change(at(start, 3000)), Some(at(start, 4000)));
        assert_eq!(clock.next_change(at(start, 4500)), Some(at(start, 5000)));
        assert_eq!(clock.next_change(at(start, 9000)), None);
    }

    #[test]
    fn answers_out_of_order_never_shorten_a_lease() {
        let start = Instant::now();
        let mut clock = LeaseClock::granted(start, TTL);
        clock.renewed(at(start, 2000), TTL);
        clock.renewed(at(start, 1000), TTL);
        assert_eq!(clock.lost_at(), at(start, 7000));
    }

    #[test]
    fn a_lease_that_is_gone_stays_gone() {
        let start = Instant::now();
        let mut clock = LeaseClock::granted(start, TTL);
        clock.revoked();
        clock.renewed(at(start, 1), TTL);
        assert_eq!(clock.standing(at(start, 1)), Standing::Lost);
    }
}

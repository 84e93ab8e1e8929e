//! A rate: how many records may start each second.
//!
//! Kept as the time at which the next start would be due if all were evenly spaced; a tenth of a second's worth may
//! come at once. Time is an argument. Up: the [crate map](crate).

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// How far starts may run ahead of an even spacing.
const BURST: Duration = Duration::from_millis(100);

/// Spaces starts so that their rate is kept.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    interval: Duration,
    /// When the next start is due by an even spacing.
    due: Instant,
}

/// Whether a record may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// It may, and is counted.
    Granted,
    /// Not before this long; nothing is counted.
    Wait(Duration),
}

impl Rate {
    /// Starts at most so many records each second from now on.
    #[must_use]
    pub fn new(per_second: NonZeroU32, now: Instant) -> Self {
        Self { interval: interval(per_second), due: now }
    }

    /// Changes the rate. Starts that were granted keep counting.
    pub fn set(&mut self, per_second: NonZeroU32) {
        self.interval = interval(per_second);
    }

    /// Asks for one start.
    #[inline]
    pub fn take(&mut self, now: Instant) -> Permit {
        let ahead = self.due.saturating_duration_since(now);
        let allowed = BURST.saturating_sub(self.interval);
        if ahead > allowed {
            return Permit::Wait(ahead - allowed);
        }
        self.due = self.due.max(now) + self.interval;
        Permit::Granted
    }
}

/// Rounded up, so that the rate is never above what was asked.
fn interval(per_second: NonZeroU32) -> Duration {
    Duration::from_nanos(1_000_000_000u64.div_ceil(u64::from(per_second.get())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u32, now: Instant) -> Rate {
        Rate::new(NonZeroU32::new(per_second).unwrap(), now)
    }

    /// Starts within so many seconds for one who asks as soon as it may.
    fn starts(rate: &mut Rate, from: Instant, seconds: u64) -> u64 {
        let (mut now, mut count) = (from, 0);
        while now < from + Duration::from_secs(seconds) {
            match rate.take(now) {
                Permit::Granted => count += 1,
                Permit::Wait(wait) => now += wait,
            }
        }
        count
    }

    #[test]
    fn a_rate_is_kept_and_reached() {
        let now = Instant::now();
        for per_second in [1, 3, 500, 300_000] {
            let count = starts(&mut rate(per_second, now), now, 10);
            let want = u64::from(per_second) * 10;
            assert!((want * 99 / 100..=want * 102 / 100 + 1).contains(&count), "{count} of {want}");
        }
    }

    #[test]
    fn idle_time_is_saved_up_to_a_tenth_of_a_second_only() {
        let start = Instant::now();
        let mut rate = rate(1_000, start);
        let later = start + Duration::from_secs(60);
        let burst = (0..1_000).filter(|_| rate.take(later) == Permit::Granted).count();
        assert_eq!(burst, 100);
        assert_eq!(rate.take(later), Permit::Wait(Duration::from_millis(1)));
    }

    #[test]
    fn a_changed_rate_counts_at_once() {
        let now = Instant::now();
        let mut rate = rate(1, now);
        assert_eq!(rate.take(now), Permit::Granted);
        rate.set(NonZeroU32::new(1_000).unwrap());
        assert_eq!(rate.take(now), Permit::Wait(Duration::from_millis(901)));
    }
}

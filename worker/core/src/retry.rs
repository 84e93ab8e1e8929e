//! Retry: what follows a failed attempt, and after how long.
//!
//! Attempt n+1 comes `initial_delay × factor^(n-1)` after attempt n, at most `max_delay`, give or take the jitter.
//! Chance is a seed that the caller gives: the same seed and attempt give the same wait. What follows the last
//! attempt, and which reasons deserve another one, is for the pump to decide. Up: the [crate map](crate).

use std::time::Duration;

use keyweir_contract::policy::RetryPolicy;

use crate::ids::Attempt;

/// A handler that asks for a longer wait gets this one.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// No wait is longer: some 146 years, so that no sum of waits and jitter overflows.
const LONGEST: Duration = Duration::from_nanos(1 << 62);

/// How waits grow, and where they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// The wait after the first failed attempt.
    pub initial_delay: Duration,
    /// By what each further wait grows; 0 counts as 1.
    pub factor: u32,
    /// The longest wait, before jitter.
    pub max_delay: Duration,
    /// How far a wait may stray to either side, in percent of it; more than 100 counts as 100.
    pub jitter_percent: u32,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, not before this long.
    After(Duration),
    /// None: the record goes down its road.
    Exhausted,
}

impl Backoff {
    /// What follows when this attempt failed.
    ///
    /// A wait that the handler asked for replaces the computed one, jitter and cap included, up to
    /// [`LONGEST_RETRY_AFTER`]; it grants no attempt beyond the last.
    #[must_use]
    pub fn next(&self, failed: Attempt, retry_after: Option<Duration>, seed: u64) -> Next {
        if failed.0 >= self.max_attempts {
            return Next::Exhausted;
        }
        Next::After(match retry_after {
            Some(asked) => asked.min(LONGEST_RETRY_AFTER),
            None => self.delay(failed, seed),
        })
    }

    /// The wait after this attempt, jitter included, however many attempts there may be.
    #[must_use]
    pub fn delay(&self, failed: Attempt, seed: u64) -> Duration {
        let nominal = nanos(self.nominal_delay(failed));
        // At most 2^62 × 100: no overflow in 128 bits, and the sum below fits 64.
        let stray = nominal * u128::from(self.jitter_percent.min(100)) / 100;
        let chance = u128::from(mix(seed ^ u64::from(failed.0) << 32));
        let jitter = (chance * (2 * stray + 1)) >> 64;
        Duration::from_nanos(u64::try_from(nominal - stray + jitter).unwrap_or(u64::MAX))
    }

    /// The wait after this attempt without jitter. It never shrinks from one attempt to the next.
    #[must_use]
    pub fn nominal_delay(&self, failed: Attempt) -> Duration {
        let cap = self.max_delay.min(LONGEST);
        let growth = u128::from(self.factor.max(1)).saturating_pow(failed.0.saturating_sub(1));
        let grown = nanos(self.initial_delay).saturating_mul(growth);
        u64::try_from(grown).map_or(cap, |nanos| Duration::from_nanos(nanos).min(cap))
    }
}

impl From<&RetryPolicy> for Backoff {
    fn from(policy: &RetryPolicy) -> Self {
        Self {
            max_attempts: policy.max_attempts,
            initial_delay: policy.initial_delay,
            factor: policy.factor,
            max_delay: policy.max_delay,
            jitter_percent: policy.jitter_percent,
        }
    }
}

fn nanos(wait: Duration) -> u128 {
    wait.as_nanos()
}

/// Spreads a seed over all bits, so that neighbouring offsets stray differently (the finaliser of SplitMix64).
fn mix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::from(&RetryPolicy::default())
    }

    fn seconds(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_whole_table_of_jobs_has_no_overflow() {
        let jobs = Backoff {
            max_attempts: u32::MAX,
            initial_delay: seconds(5),
            factor: 2,
            max_delay: seconds(600),
            jitter_percent: 20,
        };
        let head: Vec<u64> = (1..=8).map(|n| jobs.nominal_delay(Attempt(n)).as_secs()).collect();
        assert_eq!(head, [5, 10, 20, 40, 80, 160, 320, 600]);
        for n in (8..=64).chain([127, 128, 129, u32::MAX - 1, u32::MAX]) {
            assert_eq!(jobs.nominal_delay(Attempt(n)), seconds(600), "attempt {n}");
        }
        for n in 1..=64 {
            let nominal = jobs.nominal_delay(Attempt(n));
            for seed in [0, 1, 77, u64::MAX] {
                let wait = jobs.delay(Attempt(n), seed);
                assert!(
                    wait >= nominal * 4 / 5 && wait <= nominal * 6 / 5,
                    "attempt {n}, seed {seed}: {wait:?}"
                );
            }
        }
    }

    #[test]
    fn the_greatest_numbers_give_a_wait_and_no_overflow() {
        let greatest = Backoff {
            max_attempts: u32::MAX,
            initial_delay: Duration::MAX,
            factor: u32::MAX,
            max_delay: Duration::MAX,
            jitter_percent: u32::MAX,
        };
        for n in [0, 1, 2, 64, u32::MAX] {
            assert_eq!(greatest.nominal_delay(Attempt(n)), LONGEST);
            assert!(greatest.delay(Attempt(n), u64::MAX) <= 2 * LONGEST);
        }
        let nothing = Backoff { initial_delay: Duration::ZERO, ..greatest };
        assert_eq!(nothing.delay(Attempt(64), 5), Duration::ZERO);
    }

    #[test]
    fn the_last_attempt_is_followed_by_none() {
        assert!(matches!(backoff().next(Attempt(5), None, 1), Next::After(_)));
        assert_eq!(backoff().next(Attempt(6), None, 1), Next::Exhausted);
        assert_eq!(backoff().next(Attempt(6), Some(seconds(1)), 1), Next::Exhausted);
        assert_eq!(Backoff { max_attempts: 0, ..backoff() }.next(Attempt(1), None, 1), Next::Exhausted);
    }

    #[test]
    fn a_wait_that_the_handler_asked_for_is_kept_within_a_day() {
        assert_eq!(backoff().next(Attempt(1), Some(seconds(3600)), 1), Next::After(seconds(3600)));
        assert_eq!(backoff().next(Attempt(1), Some(Duration::ZERO), 1), Next::After(Duration::ZERO));
        assert_eq!(backoff().next(Attempt(1), Some(Duration::MAX), 1), Next::After(LONGEST_RETRY_AFTER));
    }

    #[test]
    fn jitter_strays_to_both_sides_and_repeats_for_a_seed() {
        let waits: Vec<Duration> = (0..1_000).map(|seed| backoff().delay(Attempt(3), seed)).collect();
        let nominal = backoff().nominal_delay(Attempt(3));
        let longer = waits.iter().filter(|wait| **wait > nominal).count();
        assert!((400..600).contains(&longer), "{longer} of 1000 are longer");
        assert_eq!(waits[7], backoff().delay(Attempt(3), 7));
        let steady = Backoff { jitter_percent: 0, ..backoff() };
        assert_eq!(steady.delay(Attempt(3), 9), nominal);
    }
}

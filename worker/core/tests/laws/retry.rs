//! Laws of waiting before another attempt.

use std::time::Duration;

use keyweir_core::{Attempt, Backoff, Next};
use proptest::prelude::*;

use crate::laws;

proptest! {
    #![proptest_config(laws(512))]

    /// Waits never shrink up to the cap, jitter keeps to its percentage, and the last attempt is the last.
    #[test]
    fn waits_grow_up_to_the_cap(
        initial in 0u64..100_000,
        factor in 0u32..50,
        cap in 0u64..10_000_000,
        jitter_percent in 0u32..=100,
        max_attempts in 1u32..100,
        seed in any::<u64>(),
    ) {
        let backoff = Backoff {
            max_attempts,
            initial_delay: Duration::from_millis(initial),
            factor,
            max_delay: Duration::from_millis(cap),
            jitter_percent,
        };
        let mut before = Duration::ZERO;
        for n in 1..=max_attempts + 2 {
            let nominal = backoff.nominal_delay(Attempt(n));
            prop_assert!(nominal >= before && nominal <= backoff.max_delay);
            before = nominal;
            match backoff.next(Attempt(n), None, seed) {
                Next::After(wait) => {
                    let stray = nominal * jitter_percent / 100;
                    prop_assert!(n < max_attempts && wait >= nominal - stray && wait <= nominal + stray);
                }
                Next::Exhausted => prop_assert!(n >= max_attempts),
            }
        }
    }
}

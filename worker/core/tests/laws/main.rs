//! The laws of the core as properties, tried on generated histories. In words they stand in the crate's docs.
//!
//! Seeds are fixed: a run is the same everywhere, and a failure shows up again without a file beside it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says by panicking what did not hold")]

mod budget;
mod checkpoint;
mod lanes;
mod ledger;
mod ordinals;
mod placement;
mod retry;
mod slots;

use proptest::test_runner::{Config, RngSeed};

fn laws(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x6b77_6c61_7773),
        ..Config::default()
    }
}

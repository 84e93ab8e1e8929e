//! Fault runs: a storm of everything at once, and a probe of what each change costs. Short by default, long with
//! `make chaos` (`KEYWEIR_CHAOS=long`); `KEYWEIR_SEED=7` repeats a storm.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what did not hold")]

#[path = "chaos/crowd.rs"]
mod crowd;
#[path = "chaos/probe.rs"]
mod probe;
#[path = "chaos/storm.rs"]
mod storm;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether there is time for all of it.
fn is_long() -> bool {
    std::env::var("KEYWEIR_CHAOS").is_ok_and(|size| size == "long")
}

/// One run at a time: a probe beside a storm would measure the storm.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The engine: one pump and the doors around it.
//!
//! ```text
//!  Reader ──batch──▶ charge ▶ budget ▶ lanes ──▶ Handler::handle ─┐        Source   (which shards, bounds, mirror)
//!                    (keyweir-core, owned by the pump)            │        Producer (outputs, dead letters)
//!  CheckpointStore ◀── frontier ◀ ledger ◀ lanes ◀── outcome ◀────┘        ParkedStore, Observer
//! ```
//!
//! The [`pump`] owns the core by value; tasks outside talk to it by bounded channels; there is no lock. Adapters
//! stand behind [`ports`] and never see each other. What the engine may not do: know a vendor, read the
//! environment, or spawn.

pub mod notices;
pub mod opening;
pub mod outcome;
pub mod ownership;
pub mod ports;
mod provenance;
pub mod pump;
pub mod record;
pub mod solo;
#[cfg(feature = "testing")]
pub mod testing;

use std::error::Error;

pub use outcome::{Failure, Outcome, Output, Verdict};
pub use record::{Arena, NewRecord, Origin, Record};

/// The cause of all causes, where the layers above it say the same in other words.
pub fn root_cause<'a>(mut error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}

/// An error and all its causes in one line, for logs and status.
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

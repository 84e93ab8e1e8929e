//! Waiting for a condition, with a deadline and with the name of what was waited for.

use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What was waited for did not come.
#[derive(Debug, thiserror::Error)]
#[error("failed to see {what} within {within:?}")]
pub struct TimedOut {
    what: String,
    within: Duration,
}

/// Asks `done` every 20 ms until it says yes.
///
/// # Errors
/// When it does not within the time.
pub fn until(what: &str, within: Duration, mut done: impl FnMut() -> bool) -> Result<(), TimedOut> {
    some(what, within, || done().then_some(()))
}

/// Asks `look` every 20 ms until it finds something.
///
/// # Errors
/// When it does not within the time.
pub fn some<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T, TimedOut> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(TimedOut { what: what.to_owned(), within });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// True when something accepts connections at `address` (`host:port`).
#[must_use]
pub fn answers(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

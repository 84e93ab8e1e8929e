//! Seats: how many records execute here at a time, whoever owns them. Up: the [crate](crate).
//!
//! Own records wait in line for as long as they must. Those of other owners wait in the same line, but only as many as
//! there are seats: more are told at once that all is taken.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Seats of one member.
#[derive(Debug)]
pub(crate) struct Seats {
    line: Arc<Semaphore>,
    count: Mutex<Count>,
    /// Guests that wait in line.
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Count {
    seats: usize,
    /// Seats that were taken away while somebody sat on them.
    owed: usize,
}

/// A taken seat; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    _permit: OwnedSemaphorePermit,
}

/// A guest's place in line; it gives way when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a Seats);

impl Seats {
    pub(crate) fn new(seats: usize) -> Self {
        let seats = seats.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            line: Arc::new(Semaphore::new(seats)),
            count: Mutex::new(Count { seats, owed: 0 }),
            waiting: AtomicUsize::new(0),
        }
    }

    /// From now on there are so many. Who sits stays seated.
    pub(crate) fn set(&self, seats: usize) {
        let seats = seats.clamp(1, Semaphore::MAX_PERMITS);
        let mut count = self.count();
        if seats < count.seats {
            let fewer = count.seats - seats;
            count.owed += fewer - self.line.forget_permits(fewer);
        } else {
            let more = seats - count.seats;
            let kept = more.min(count.owed);
            count.owed -= kept;
            self.line.add_permits(more - kept);
        }
        count.seats = seats;
    }

    /// A place in line for a record of another owner; `None` = all is taken.
    pub(crate) fn enter(&self) -> Option<Place<'_>> {
        let seats = self.count().seats;
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(self);
        (waiting < seats || self.line.available_permits() > 0).then_some(place)
    }

    /// Waits for a seat. Cancel-safe; the line is fair.
    pub(crate) async fn take(&self) -> Seat {
        loop {
            match Arc::clone(&self.line).acquire_owned().await {
                Ok(permit) if self.is_owed() => permit.forget(),
                Ok(permit) => return Seat { _permit: permit },
                // The line is never closed.
                Err(_) => std::future::pending().await,
            }
        }
    }

    fn is_owed(&self) -> bool {
        let mut count = self.count();
        let owed = count.owed > 0;
        count.owed -= usize::from(owed);
        owed
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        // Held for a few additions only.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn guests_wait_as_long_as_the_line_is_no_longer_than_the_seats() {
        let seats = Seats::new(1);
        let taken = seats.take().now_or_never().expect("it is free");
        let first = seats.enter().expect("one may wait");
        assert!(seats.enter().is_none());
        drop(first);
        assert!(seats.enter().is_some());
        drop(taken);
        let _one = seats.enter();
        assert!(seats.enter().is_some(), "a seat is free");
    }

    #[test]
    fn seats_come_and_go_while_somebody_sits() {
        let seats = Seats::new(2);
        let (one, two) = (seats.take().now_or_never(), seats.take().now_or_never());
        seats.set(1);
        drop(one);
        assert!(seats.take().now_or_never().is_none());
        drop(two);
        let one = seats.take().now_or_never().expect("one is left");
        assert!(seats.take().now_or_never().is_none());
        seats.set(2);
        assert!(seats.take().now_or_never().is_some());
        drop(one);
    }
}

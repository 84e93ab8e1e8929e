//! A delay line: everything in it waits equally long, so the first in is the first out and one timer serves all.
//!
//! ```text
//!  start ─▶ [ newest … oldest ] ─▶ woken when due
//!             │keeper       │front: what the one timer is armed for
//! ```
//!
//! One of the waiting calls is the *keeper*: its waker is the timer's. Under load the timer hardly matters: each
//! call that starts or ends wakes whatever is due. A call costs no allocation and no timer registration.
//!
//! The lock is held for a few pushes and pops and never while a waker runs. Up: [`super::delay`].

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use smallvec::SmallVec;

/// The shortest time the timer is armed for: what falls due within it is woken together.
const GRAIN: Duration = Duration::from_micros(20);

/// How many are woken between two looks at the line.
const WOKEN_AT_ONCE: usize = 16;

/// The one timer of a line.
pub(crate) trait Timer: Send + Sync {
    /// The time by which the timer goes.
    fn now(&self) -> Instant;
    /// Fires once, this long from now; an earlier setting is forgotten.
    fn arm(&self, after: Duration);
    /// Whether it has fired since this was last asked; if not, the task is woken when it does.
    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Calls that wait equally long.
#[derive(Debug)]
pub(crate) struct DelayLine<T> {
    duration: Duration,
    timer: T,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Oldest first. A ticket's place is its distance from `first`.
    entries: VecDeque<Entry>,
    /// The ticket of the front entry: what is below has been woken.
    first: u64,
    /// Whose waker the timer has.
    keeper: Option<u64>,
    /// When the timer fires.
    armed: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    deadline: Instant,
    /// `None` = cancelled.
    waker: Option<Waker>,
}

impl<T: Timer> DelayLine<T> {
    /// A line on which everything waits so long.
    pub(crate) fn new(duration: Duration, timer: T) -> Self {
        Self { duration, timer, waiting: Mutex::default() }
    }

    /// A call that ends after the line's duration, counted from its first poll.
    pub(crate) fn wait(&self) -> Wait<'_, T> {
        Wait { line: self, ticket: None }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // A panic cannot leave the queue half changed: nothing here calls foreign code under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes all that is due.
    fn wake_due(&self, now: Instant) {
        loop {
            let mut due = SmallVec::<[Waker; WOKEN_AT_ONCE]>::new();
            let more = self.lock().take_due(now, &mut due);
            due.drain(..).for_each(Waker::wake);
            if !more {
                return;
            }
        }
    }

    /// Waits for the timer in the keeper's name, until nothing is due.
    fn keep(&self, cx: &mut Context<'_>) {
        loop {
            let now = self.timer.now();
            self.wake_due(now);
            let mut waiting = self.lock();
            let Some(front) = waiting.entries.front().map(|entry| entry.deadline) else { return };
            if waiting.armed.is_none_or(|armed| armed > front || armed <= now) {
                let at = front.max(now + GRAIN);
                waiting.armed = Some(at);
                self.timer.arm(at - now);
            }
            drop(waiting);
            if self.timer.poll_fired(cx).is_pending() {
                return;
            }
            // It may have fired for an older setting, or since the line was looked at: look again.
            self.lock().armed = None;
        }
    }
}

impl Waiting {
    /// Takes the wakers of what is due from the front; `true` = there may be more.
    fn take_due(&mut self, now: Instant, due: &mut SmallVec<[Waker; WOKEN_AT_ONCE]>) -> bool {
        while let Some(front) = self.entries.front_mut() {
            if front.waker.is_some() && front.deadline > now {
                return false;
            }
            if due.len() == WOKEN_AT_ONCE {
                return true;
            }
            due.extend(front.waker.take());
            self.entries.pop_front();
            self.first += 1;
        }
        false
    }

    fn push(&mut self, deadline: Instant, waker: &Waker) -> u64 {
        self.entries.push_back(Entry { deadline, waker: Some(waker.clone()) });
        self.first + self.entries.len() as u64 - 1
    }

    fn is_over(&self, ticket: u64) -> bool {
        ticket < self.first
    }

    fn entry(&mut self, ticket: u64) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(ticket.checked_sub(self.first)?).ok()?)
    }

    /// Gives up the keeper's duty; the newest waiting call, which has it for longest, must be woken to take it. Where
    /// nobody has it, the one that goes may be the one that was woken for it.
    fn resign(&mut self, ticket: u64) -> Option<Waker> {
        if self.keeper.is_some_and(|keeper| keeper != ticket) {
            return None;
        }
        self.keeper = None;
        self.entries.iter().rev().find_map(|entry| entry.waker.clone())
    }
}

/// One waiting call. Dropping it forgets it.
#[derive(Debug)]
pub(crate) struct Wait<'a, T: Timer> {
    line: &'a DelayLine<T>,
    /// Its place in the line, from the first poll until it is over.
    ticket: Option<u64>,
}

impl<T: Timer> Future for Wait<'_, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let line = self.line;
        let ticket = match self.ticket {
            Some(ticket) => ticket,
            None if line.duration.is_zero() => return Poll::Ready(()),
            None => {
                let now = line.timer.now();
                line.wake_due(now);
                *self.ticket.insert(line.lock().push(now + line.duration, cx.waker()))
            }
        };
        let mut waiting = line.lock();
        if let Some(waker) = waiting.entry(ticket).and_then(|entry| entry.waker.as_mut()) {
            waker.clone_from(cx.waker());
            if *waiting.keeper.get_or_insert(ticket) == ticket {
                drop(waiting);
                line.keep(cx);
                waiting = line.lock();
            }
        }
        if !waiting.is_over(ticket) {
            return Poll::Pending;
        }
        self.ticket = None;
        let heir = waiting.resign(ticket);
        drop(waiting);
        heir.into_iter().for_each(Waker::wake);
        Poll::Ready(())
    }
}

impl<T: Timer> Drop for Wait<'_, T> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut waiting = self.line.lock();
        if let Some(entry) = waiting.entry(ticket) {
            entry.waker = None;
        }
        let heir = waiting.resign(ticket);
        drop(waiting);
        heir.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A clock that stands until it is moved; it fires when moved past its setting.
    #[derive(Debug)]
    struct Manual(Mutex<(Instant, Option<Instant>, Option<Waker>)>);

    impl Manual {
        fn advance(&self, by: Duration) {
            let mut state = self.0.lock().expect("no panic holds it");
            state.0 += by;
            let fires = state.1.is_some_and(|at| at <= state.0);
            let waker = fires.then(|| state.2.take()).flatten();
            drop(state);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    impl Timer for &Manual {
        fn now(&self) -> Instant {
            self.0.lock().expect("no panic holds it").0
        }

        fn arm(&self, after: Duration) {
            let mut state = self.0.lock().expect("no panic holds it");
            state.1 = Some(state.0 + after);
        }

        fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()> {
            let mut state = self.0.lock().expect("no panic holds it");
            if state.1.is_some_and(|at| at <= state.0) {
                state.1 = None;
                return Poll::Ready(());
            }
            state.2 = Some(cx.waker().clone());
            Poll::Pending
        }
    }

    fn manual() -> Manual {
        Manual(Mutex::new((Instant::now(), None, None)))
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A call with a waker of its own, polled only when that waker was called.
    struct Call<'a> {
        wait: Pin<Box<Wait<'a, &'a Manual>>>,
        woken: Arc<Count>,
        seen: usize,
    }

    impl<'a> Call<'a> {
        fn start(line: &'a DelayLine<&'a Manual>) -> Self {
            let mut call = Self { wait: Box::pin(line.wait()), woken: Arc::default(), seen: 0 };
            assert!(!call.poll());
            call
        }

        fn poll(&mut self) -> bool {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.wait.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        }

        fn is_over(&mut self) -> bool {
            let woken = self.woken.0.load(Ordering::Relaxed);
            woken != std::mem::replace(&mut self.seen, woken) && self.poll()
        }
    }

    /// Polls what was woken until nothing is, and drops what is over.
    fn settle(calls: &mut Vec<Call<'_>>) {
        let mut before = calls.len() + 1;
        while calls.len() < before {
            before = calls.len();
            for _ in 0..3 {
                calls.retain_mut(|call| !call.is_over());
            }
        }
    }

    #[test]
    fn each_call_ends_after_its_own_time_and_not_before() {
        let clock = manual();
        let line = DelayLine::new(MS * 10, &clock);
        let mut calls = Vec::new();
        for _ in 0..50 {
            calls.push(Call::start(&line));
            clock.advance(MS);
            settle(&mut calls);
            assert!(calls.len() <= 10, "{}", calls.len());
        }
        assert_eq!(calls.len(), 9);
        clock.advance(MS * 8);
        settle(&mut calls);
        assert_eq!(calls.len(), 1);
        clock.advance(MS);
        settle(&mut calls);
        assert!(calls.is_empty());
    }

    #[test]
    fn the_duty_passes_on_when_its_keeper_ends_or_is_cancelled() {
        let clock = manual();
        let line = DelayLine::new(MS * 10, &clock);
        let mut calls: Vec<_> = (0..40).map(|_| Call::start(&line)).collect();
        calls.remove(0);
        calls.remove(38);
        settle(&mut calls);
        clock.advance(MS * 5);
        calls.push(Call::start(&line));
        clock.advance(MS * 5);
        settle(&mut calls);
        assert_eq!(calls.len(), 1, "what was started later still waits");
        clock.advance(MS * 5);
        settle(&mut calls);
        assert!(calls.is_empty());
        assert!(line.lock().keeper.is_none());
    }

    #[test]
    fn the_duty_passes_on_when_who_was_woken_for_it_goes_before_it_has_heard_of_it() {
        let clock = manual();
        let line = DelayLine::new(MS * 10, &clock);
        let mut calls: Vec<_> = (0..3).map(|_| Call::start(&line)).collect();
        // The keeper goes, and before the heir has heard of it the heir goes too.
        drop(calls.remove(0));
        drop(calls.remove(1));
        clock.advance(MS * 5);
        settle(&mut calls);
        clock.advance(MS * 5);
        settle(&mut calls);
        assert!(calls.is_empty());
    }

    #[test]
    fn no_time_is_over_at_once() {
        let clock = manual();
        let line = DelayLine::new(Duration::ZERO, &clock);
        let waker = Waker::noop();
        let mut wait = std::pin::pin!(line.wait());
        assert!(wait.as_mut().poll(&mut Context::from_waker(waker)).is_ready());
    }
}

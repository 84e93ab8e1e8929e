//! The fine timer under a [`DelayLine`]: tokio's own rounds up to a millisecond, a kernel timer does not.
//!
//! It is a file descriptor that the runtime's reactor watches beside its sockets: no thread, no wake-up across
//! threads. Up: [`super`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::line::{DelayLine, Timer};

/// A delay line on the kernel's timer.
pub(crate) type Delay = DelayLine<KernelTimer>;

/// A one-shot timer of the kernel, exact to some microseconds.
#[derive(Debug)]
pub(crate) struct KernelTimer(AsyncFd<Descriptor>);

#[derive(Debug)]
struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl KernelTimer {
    /// A timer watched by the runtime that this is called in.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        // SAFETY: the descriptor is the timer's own and stays the same until the timer is dropped with this.
        Ok(Self(unsafe { AsyncFd::register_with_interest(Descriptor(timer), Interest::READABLE) }?))
    }
}

impl Timer for KernelTimer {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn arm(&self, after: Duration) {
        // Zero would disarm it. The kernel refuses only times that no `Duration` of a manifest can be.
        let after = TimeSpec::from_duration(after.max(Duration::from_nanos(1)));
        let _ = self.0.get_ref().0.set(Expiration::OneShot(after), TimerSetTimeFlags::empty());
    }

    fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Setting the timer again forgets its count, so nothing needs to be read from it.
        match ready!(self.0.poll_read_ready(cx)) {
            Ok(mut guard) => {
                guard.clear_ready();
                Poll::Ready(())
            }
            // The runtime is shutting down: nothing will be woken any more.
            Err(_) => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::stream::{FuturesUnordered, StreamExt as _};

    use super::*;

    #[tokio::test]
    async fn the_kernel_timer_ends_calls_in_time() {
        let line = Delay::new(Duration::from_millis(3), KernelTimer::new().expect("a timer"));
        for _ in 0..5 {
            let started = Instant::now();
            let mut calls: FuturesUnordered<_> = (0..100).map(|_| line.wait()).collect();
            while calls.next().await.is_some() {}
            assert!(started.elapsed() >= Duration::from_millis(3));
        }
        let alone = Instant::now();
        line.wait().await;
        let took = alone.elapsed();
        assert!(took >= Duration::from_millis(3) && took < Duration::from_secs(3), "{took:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn no_call_is_forgotten_whoever_is_cancelled_on_whichever_thread() {
        let line = Arc::new(Delay::new(Duration::from_micros(700), KernelTimer::new().expect("a timer")));
        let tasks: Vec<_> = (0..64_u64)
            .map(|task| {
                let line = Arc::clone(&line);
                tokio::spawn(async move {
                    for round in 0..100 {
                        let mut wait = std::pin::pin!(line.wait());
                        if (task * 31 + round * 17) % 5 == 0 {
                            // Polled once, and given up a little later.
                            let _ = futures::poll!(wait.as_mut());
                            tokio::task::yield_now().await;
                        } else {
                            wait.await;
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(60), task).await.expect("in time").expect("no panic");
        }
    }
}

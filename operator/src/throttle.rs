//! The operator's own limit on requests to the API server: a burst, then a steady rate.
//!
//! The server's fairness would hold them back too, but not without making others wait.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// How fast requests may go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, for good.
    pub per_second: u32,
    /// Requests that may go out at once after a silence.
    pub burst: u32,
}

/// Puts a [`Throttle`] around a client's transport.
#[derive(Clone)]
pub struct ThrottleLayer {
    turnstile: Arc<Turnstile>,
    metrics: Metrics,
}

impl ThrottleLayer {
    /// A limit that all clients made through this layer share.
    pub fn new(rate: Rate, metrics: Metrics) -> Self {
        Self { turnstile: Arc::new(Turnstile::new(rate)), metrics }
    }
}

impl<S> Layer<S> for ThrottleLayer {
    type Service = Throttle<S>;

    fn layer(&self, inner: S) -> Throttle<S> {
        Throttle { inner, turnstile: Arc::clone(&self.turnstile), metrics: self.metrics.clone() }
    }
}

/// A transport whose requests wait for their turn.
#[derive(Clone)]
pub struct Throttle<S> {
    inner: S,
    turnstile: Arc<Turnstile>,
    metrics: Metrics,
}

impl<S, B> Service<http::Request<B>> for Throttle<S>
where
    S: Service<http::Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let turn = self.turnstile.turn(Instant::now());
        self.metrics.requested(request.method());
        // The transport's future does nothing before it is polled.
        let answer = self.inner.call(request);
        Box::pin(async move {
            sleep_until(turn).await;
            answer.await
        })
    }
}

struct Turnstile {
    interval: Duration,
    burst: Duration,
    /// When the next request may go out if all before it went out evenly.
    next: Mutex<Instant>,
}

impl Turnstile {
    fn new(rate: Rate) -> Self {
        let interval = Duration::from_secs(1) / rate.per_second.max(1);
        Self { interval, burst: interval * rate.burst.max(1), next: Mutex::new(Instant::now()) }
    }

    /// The moment at which the caller may go.
    fn turn(&self, now: Instant) -> Instant {
        // Held for three additions, never across an await.
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(now);
        *next = turn + self.interval;
        turn.checked_sub(self.burst - self.interval).map_or(now, |early| early.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_the_rest_evenly() {
        let turnstile = Turnstile::new(Rate { per_second: 10, burst: 3 });
        let now = Instant::now() + Duration::from_secs(1);
        let waits: Vec<_> = (0..5).map(|_| (turnstile.turn(now) - now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        let later = now + Duration::from_secs(10);
        assert_eq!(turnstile.turn(later), later);
    }
}

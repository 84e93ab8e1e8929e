//! [`Routed`]: a handler whose records execute on the member that their key maps to. Up: the [crate](crate).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::Either;
use keyweir_core::Slot;
use keyweir_core::slots::key_hash;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::courier::{Delivery, Dropped, Parcel};
use crate::couriers::Couriers;
use crate::frame::Run;
use crate::hosting::Hosting;
use crate::pace::Pace;
use crate::stats::RoutingStats;
use crate::table::{Counter, Table};
use crate::words::TARGET_LOST;
use keyweir_engine::outcome::{Failure, Outcome, Verdict};
use keyweir_engine::ports::{BatchLimits, Handler, Request};

/// How long a record waits whose handler is unavailable, wherever it was asked.
const UNAVAILABLE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// However long a handler asks to be left alone.
const LONGEST: Duration = Duration::from_secs(60);

/// Sends records where their keys map to.
pub struct Router<H> {
    hosting: Arc<Hosting<H>>,
    table: watch::Receiver<Arc<Table>>,
    stats: Arc<RoutingStats>,
    next_id: AtomicU64,
}

/// A handler that is called here, or on the member that the record's key maps to.
pub struct Routed<H> {
    local: Arc<H>,
    route: u8,
    router: Option<Arc<Router<H>>>,
}

impl<H: Handler> Router<H> {
    /// Sends by these couriers and executes its own share there.
    pub fn new(hosting: Arc<Hosting<H>>, couriers: &Couriers) -> Self {
        let (table, stats) = (couriers.table(), couriers.stats());
        Self { hosting, table, stats, next_id: AtomicU64::new(0) }
    }

    async fn route(&self, route: u8, request: Request) -> Outcome {
        let slot = slot_of(&request);
        let mut pace = Pace::new(UNAVAILABLE.0, UNAVAILABLE.1);
        let mut lost = false;
        loop {
            let counter = self.table.borrow().counter(slot).cloned();
            let delivery = match counter {
                Some(counter) => self.send(&counter, route, request.clone()).await,
                None => Delivery::NotBegun,
            };
            let outcome = match delivery {
                Delivery::Answered(outcome) => outcome,
                Delivery::NotBegun => self.hosting.run_here(route, request.clone()).await,
                Delivery::Lost if lost => {
                    return Outcome::retry(TARGET_LOST, "twice the member is gone that executed it");
                }
                Delivery::Lost => {
                    lost = true;
                    self.stats.rerouted();
                    continue;
                }
            };
            match outcome.verdict {
                // The pump would stop sending to all members. Meanwhile this one may have lost its slots.
                Verdict::Unavailable { after, .. } => {
                    sleep(after.unwrap_or_else(|| pace.wait()).min(LONGEST)).await;
                }
                _ => return outcome,
            }
        }
    }

    /// Gives a record to a courier and waits for what becomes of it, however long that takes.
    async fn send(&self, counter: &Counter, route: u8, request: Request) -> Delivery {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        let parcel = Parcel { run: Run { id, route, request }, reply };
        let mut waiting = Waiting { id, dropped: &counter.dropped, is_over: false };
        if counter.parcels.send(parcel).await.is_err() {
            return Delivery::NotBegun;
        }
        match answer.await {
            Ok(delivery) => {
                waiting.is_over = true;
                delivery
            }
            // The couriers of this incarnation are no more, and nobody knows: the pump gives the record up.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Its key's; one without a key may go anywhere.
fn slot_of(request: &Request) -> Slot {
    let place = || key_hash(&request.record.offset.0.to_le_bytes());
    Slot::of(request.key_hash.unwrap_or_else(place))
}

/// Says so when nobody waits any more.
struct Waiting<'a> {
    id: u64,
    dropped: &'a Dropped,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.dropped.push(self.id);
        }
    }
}

impl<H: Handler> Routed<H> {
    /// A handler that is always called here.
    pub fn here(local: Arc<H>) -> Self {
        Self { local, route: 0, router: None }
    }

    /// The handler of that route, called where the router sends its records.
    pub fn by(router: Arc<Router<H>>, local: Arc<H>, route: u8) -> Self {
        Self { local, route, router: Some(router) }
    }
}

impl<H: Handler> Handler for Routed<H> {
    #[inline]
    fn handle(&self, request: Request) -> impl Future<Output = Outcome> + Send {
        match &self.router {
            None => Either::Left(self.local.handle(request)),
            Some(router) => Either::Right(Box::pin(router.route(self.route, request))),
        }
    }

    fn handle_batch(
        &self,
        requests: Vec<Request>,
    ) -> impl Future<Output = Result<Vec<Outcome>, Failure>> + Send {
        self.local.handle_batch(requests)
    }

    fn batch(&self) -> BatchLimits {
        match &self.router {
            None => self.local.batch(),
            // Records of one batch would have to go to one member.
            Some(_) => BatchLimits::ONE,
        }
    }

    fn spread(&self) -> Option<usize> {
        self.router.as_ref().map(|router| router.table.borrow().spread())
    }

    async fn close(&self) {
        self.local.close().await;
    }
}

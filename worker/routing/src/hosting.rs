//! Hosting: records execute here, on seats that own records and those of other owners share. Up: the [crate](crate).

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use keyweir_core::{Fence, MemberId, ShardId};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::frame::{End, Run};
use crate::greeting::{WireError, meet};
use crate::seats::{Seat, Seats};
use crate::stats::RoutingStats;
use crate::stay::Stay;
use crate::visits::Visits;
use crate::{Secret, Stream};
use keyweir_engine::error_chain;
use keyweir_engine::outcome::{Failure, Outcome, Verdict};
use keyweir_engine::outcome::{PANICKED, TIMEOUT};
use keyweir_engine::ownership::Roll;
use keyweir_engine::ports::{Handler, Request};
use keyweir_engine::pump::DispatchLimit;

/// How long a greeting may take.
pub(crate) const GREETING: Duration = Duration::from_secs(5);

/// How often somebody looks whether the lease allows dispatch again.
const LOOK: Duration = Duration::from_millis(20);

/// Where records execute is told to.
///
/// What implementers owe: return at once.
pub trait ExecutionLog: Send + Sync + 'static {
    /// A record begins to execute on this member, whoever owns it.
    fn began(&self, request: &Request);

    /// It has ended here; `None` = it was cancelled, or does not count any more.
    fn ended(&self, request: &Request, verdict: Option<&Verdict>);
}

/// What hosting stands on.
pub struct HostingSettings<H> {
    /// One for each route: first the object's own, then those of its routes, in order.
    pub handlers: Vec<Arc<H>>,
    /// The prefix of the object: owners of another one are sent away.
    pub object: String,
    /// How many records execute at a time.
    pub seats: usize,
    /// Who is there.
    pub roll: watch::Receiver<Option<Arc<Roll>>>,
    /// What the lease of this member allows.
    pub limit: DispatchLimit,
    /// Cancelled = nothing new of other owners is taken.
    pub leave: CancellationToken,
    /// How many records of other owners execute here.
    pub hosted: watch::Sender<usize>,
    /// What happens is counted here.
    pub stats: Arc<RoutingStats>,
    /// What executes is told there.
    pub log: Option<Arc<dyn ExecutionLog>>,
}

/// Why handlers can't be had, by route: what they said last, where that was that they are unavailable.
pub type Unavailable = BTreeMap<u8, Failure>;

/// Executes records of this member and of others.
pub struct Hosting<H> {
    pub(crate) settings: HostingSettings<H>,
    pub(crate) seats: Seats,
    visits: Visits,
    /// The newest fence of each shard; held for a look-up only.
    fences: Mutex<HashMap<Arc<ShardId>, Fence>>,
    unavailable: watch::Sender<Unavailable>,
}

/// A record that has ended, as long as nobody has said whether that counts.
pub(crate) struct Ending {
    begun: Begun,
    outcome: Outcome,
    _seat: Seat,
}

impl Ending {
    /// It counts.
    pub(crate) fn count(mut self) -> Outcome {
        self.begun.end(Some(&self.outcome.verdict));
        self.outcome
    }
}

impl<H: Handler> Hosting<H> {
    /// Nothing executes yet.
    pub fn new(settings: HostingSettings<H>) -> Self {
        Self {
            seats: Seats::new(settings.seats),
            visits: Visits::default(),
            fences: Mutex::default(),
            unavailable: watch::Sender::default(),
            settings,
        }
    }

    /// From now on so many records execute at a time.
    pub fn set_seats(&self, seats: usize) {
        self.seats.set(seats);
    }

    /// Handlers that said last that they are unavailable.
    pub fn unavailable(&self) -> watch::Receiver<Unavailable> {
        self.unavailable.subscribe()
    }

    /// Executes a record of this member's own.
    pub(crate) async fn run_here(&self, route: u8, request: Request) -> Outcome {
        self.note_fence(&request);
        let seat = self.seats.take().await;
        while !self.settings.limit.allows_now() {
            sleep(LOOK).await;
        }
        let ending = self.execute(route, request, seat).await;
        if self.settings.limit.counts_now() { ending.count() } else { ending.outcome }
    }

    /// Executes what another member sends over this stream, until one of both ends it.
    pub async fn serve(&self, stream: Box<dyn Stream>, secret: &Secret) {
        match self.receive(stream, secret).await {
            Ok(()) => {}
            Err(error @ (WireError::Stranger | WireError::Garbage)) => {
                self.settings.stats.refused();
                tracing::warn!(error = error_chain(&error), "a stranger was refused");
            }
            Err(error) => tracing::info!(error = error_chain(&error), "a wire to an owner has ended"),
        }
    }

    async fn receive(&self, stream: Box<dyn Stream>, secret: &Secret) -> Result<(), WireError> {
        let met = meet(stream, secret, |hello| {
            hello.object == self.settings.object && self.me().as_ref() == Some(&hello.to)
        });
        let (hello, exchange) = timeout(GREETING, met).await.map_err(|_| WireError::Silent)??;
        let visit = self.visits.begin(hello.from).await;
        // It is dropped, with all that it executes, before the visit.
        let stay = Stay::new(self, exchange, hello.to, visit.over());
        stay.last().await
    }

    /// The present incarnation of this member.
    pub(crate) fn me(&self) -> Option<MemberId> {
        self.settings.roll.borrow().as_ref().map(|roll| roll.me.clone())
    }

    /// Notes the fence of a record's owner; says whether it is the newest of the shard.
    fn note_fence(&self, request: &Request) -> bool {
        let mut fences = self.fences.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = fences.entry(Arc::clone(&request.shard)).or_default();
        *newest = request.fence.max(*newest);
        request.fence == *newest
    }

    /// Executes a record of another owner that may begin now; `Err` = it was not begun.
    pub(crate) async fn host(&self, run: Run) -> Result<Ending, End> {
        if self.settings.leave.is_cancelled()
            || !self.note_fence(&run.request)
            || usize::from(run.route) >= self.settings.handlers.len()
        {
            return Err(End::Refused);
        }
        let place = self.seats.enter().ok_or(End::Busy)?;
        let _hosted = Hosted::new(&self.settings.hosted);
        let seat = self.seats.take().await;
        drop(place);
        self.settings.stats.hosted();
        Ok(self.execute(run.route, run.request, seat).await)
    }

    async fn execute(&self, route: u8, request: Request, seat: Seat) -> Ending {
        let begun = Begun::new(self.settings.log.clone(), &request);
        let outcome = match self.settings.handlers.get(usize::from(route)) {
            Some(handler) => call(handler.as_ref(), request).await,
            None => Outcome::unavailable("NoRoute", "this member has no such route"),
        };
        self.note(route, &outcome.verdict);
        Ending { begun, outcome, _seat: seat }
    }

    fn note(&self, route: u8, verdict: &Verdict) {
        self.unavailable.send_if_modified(|known| match verdict {
            Verdict::Unavailable { failure, .. } => known.insert(route, failure.clone()).is_none(),
            _ => !known.is_empty() && known.remove(&route).is_some(),
        });
    }
}

/// One call of user code: its time is limited here, and a panic is its own failure.
async fn call<H: Handler>(handler: &H, request: Request) -> Outcome {
    let limit = request.time_left;
    let called = AssertUnwindSafe(handler.handle(request)).catch_unwind();
    let answered = match limit {
        None => Ok(called.await),
        Some(limit) => timeout(limit, called).await,
    };
    match answered {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Outcome::retry(PANICKED, "the handler panicked; its log has the text"),
        Err(_) => Outcome::retry(TIMEOUT, format!("no answer within {:.1?}", limit.unwrap_or_default())),
    }
}

/// Counts a record of another owner for as long as it waits or executes here.
struct Hosted<'a>(&'a watch::Sender<usize>);

impl<'a> Hosted<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Hosted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// A record that executes, for the log: one that is dropped without an end was cancelled.
struct Begun(Option<(Arc<dyn ExecutionLog>, Request)>);

impl Begun {
    fn new(log: Option<Arc<dyn ExecutionLog>>, request: &Request) -> Self {
        Self(log.map(|log| {
            log.began(request);
            (log, request.clone())
        }))
    }

    fn end(&mut self, verdict: Option<&Verdict>) {
        if let Some((log, request)) = self.0.take() {
            log.ended(&request, verdict);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.end(None);
    }
}

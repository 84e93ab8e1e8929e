//! Handlers that are programs: long-lived child processes that read requests on stdin and answer on stdout.
//!
//! ```text
//!  handle ─▶ a free place ─▶ child's task ─▶ stdin ┐
//!    ▲          ▲  │none: start one, or wait       child
//!    └─ outcome ┘  └ nobody can start: Unavailable └─▶ stdout, stderr ─▶ log
//! ```
//!
//! What a handler's author reads is PROTOCOL.md. What holds here:
//! - A child holds one record at a time, or as many as the manifest says. Where the manifest says how many children
//!   may run, a record goes to the one that holds the fewest, and a further one is started before one gets a second
//!   record. Else as few run as can hold all that is under way, and not more than 64.
//! - A child that ends, writes garbage, too long a line or an answer for a record it does not hold costs one attempt
//!   of the records it had read, and is replaced. Records that it had not read go to another child.
//! - A program that can't be started, or ends before it reads anything, is `Unavailable`: no attempt is used.
//!   Starts that lead nowhere are repeated with growing pauses.
//! - A cancelled record ends its child (SIGTERM, a moment later SIGKILL, to the whole process group), because it may
//!   be half way through; what it had done by then is done.
//! - Children die with the worker: their stdin ends, and the kernel kills them when the worker is gone.
//!
//! Up: [`crate::AnyHandler`].

mod child;
mod launcher;
mod places;
pub(crate) mod program;
mod protocol;
mod stderr;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keyweir_contract::handler::{ExecHandler as Config, HandlerOptions};
use keyweir_engine::ports::Request;
use keyweir_engine::{Failure, Outcome, Verdict};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep_until};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, warn};

use self::child::{Ask, Ended, Life, Manners, attend};
use self::launcher::Launcher;
use self::places::{Place, Places};
use crate::answer::failed;
use crate::id::record_id;
use crate::reason;

/// Children at the most, where the manifest does not say how many.
const UNASKED: usize = 64;
/// How often a record that was not read is given to another child before that counts as not available.
const CHILDREN_TRIED: u32 = 3;
/// The pause after a start that led nowhere, doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Children of one program.
#[derive(Debug)]
pub(crate) struct ExecHandler {
    pool: Arc<Pool>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Pool {
    launcher: Launcher,
    manners: Manners,
    /// Children at the most.
    most: usize,
    /// Whether all of them are wanted before one holds two records.
    spreads: bool,
    state: Mutex<State>,
    /// A place may be free, or a child may be started.
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    places: Places,
    alive: usize,
    /// Of those that live: whose places are not there yet.
    starting: usize,
    closing: bool,
    /// Starts in a row that led nowhere, the last one's failure, and when the next may be.
    barren: u32,
    failure: Option<Failure>,
    not_before: Option<Instant>,
}

/// What there is for a record.
enum Find {
    Place(Place),
    Start(Alive, Starting),
    Wait(Option<Instant>),
    Nothing(Outcome),
}

/// One child that lives or is being started.
struct Alive(Arc<Pool>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.lock().alive -= 1;
        self.0.freed.notify_one();
    }
}

/// One child that is being started.
struct Starting(Arc<Pool>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.lock().starting -= 1;
        // Who waited for its places rather than be the second record of another child looks again.
        self.0.freed.notify_waiters();
    }
}

impl ExecHandler {
    /// A pool without children: they are started when they are needed. Must be called in a runtime.
    pub(crate) fn new(config: &Config, options: &HandlerOptions, runtime: Handle) -> std::io::Result<Self> {
        let manners = Manners {
            records: usize::try_from(config.records_per_process.max(1)).unwrap_or(1),
            answer: usize::try_from(options.max_response_bytes.get()).unwrap_or(usize::MAX),
            silence: options.heartbeat.map(|heartbeat| heartbeat * 3),
        };
        let most = config.processes.map_or(UNASKED, |count| usize::try_from(count.max(1)).unwrap_or(1));
        let spreads = config.processes.is_some();
        let launcher = Launcher::new(config.clone(), runtime)?;
        let pool = Pool { launcher, manners, most, spreads, state: Mutex::default(), freed: Notify::new() };
        Ok(Self { pool: Arc::new(pool), tasks: TaskTracker::new() })
    }

    /// Handles a record. Dropping the future ends the child that holds it.
    pub(crate) async fn handle(&self, request: Request) -> Outcome {
        let id = record_id(&request);
        let begun = Instant::now();
        let mut unread = None;
        for _ in 0..CHILDREN_TRIED {
            let place = match self.place().await {
                Ok(place) => place,
                Err(outcome) => return outcome,
            };
            let time_left = request.time_left.map(|left| left.saturating_sub(begun.elapsed()));
            let line = protocol::request_line(&request, &id, time_left);
            let (reply, ended) = oneshot::channel();
            if place.try_send(Ask { id: id.clone(), line, reply }).is_err() {
                continue;
            }
            match ended.await {
                Ok(Ended::Answered(outcome)) => {
                    self.pool.give_back(place);
                    return outcome;
                }
                Ok(Ended::Lost(failure)) => return failed(failure),
                Ok(Ended::Unread(failure)) => unread = Some(failure),
                // The child ended between two records: it never saw this one.
                Err(_) => {}
            }
        }
        let nothing = || Failure::new(reason::CANNOT_START, "each child was gone before it read the record");
        let failure = unread.unwrap_or_else(nothing);
        Outcome::from(Verdict::Unavailable { after: None, failure })
    }

    /// Makes sure that a child is there.
    pub(crate) async fn reach(&self) -> Result<(), Failure> {
        match self.place().await {
            Ok(place) => {
                self.pool.give_back(place);
                Ok(())
            }
            Err(Outcome { verdict: Verdict::Unavailable { failure, .. }, .. }) => Err(failure),
            Err(_) => Ok(()),
        }
    }

    /// Asks the children to finish, and waits until all are gone.
    pub(crate) async fn close(&self) {
        self.pool.close();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// A place at a child; `Err` = there can't be one now.
    async fn place(&self) -> Result<Place, Outcome> {
        loop {
            let mut freed = std::pin::pin!(self.pool.freed.notified());
            // What is freed from here on is noticed, even before it is waited for.
            freed.as_mut().enable();
            match Pool::find(&self.pool) {
                Find::Place(place) => return Ok(place),
                Find::Start(alive, starting) => match self.start(alive, starting).await {
                    Ok(place) => return Ok(place),
                    // A child that is there can take the record, if not at once.
                    Err(outcome) => return self.pool.lock().places.take().ok_or(outcome),
                },
                Find::Wait(None) => freed.await,
                Find::Wait(Some(until)) => tokio::select! {
                    biased; // A free place is better than a new child.
                    () = freed => {}
                    () = sleep_until(until) => {}
                },
                Find::Nothing(outcome) => return Err(outcome),
            }
        }
    }

    async fn start(&self, alive: Alive, starting: Starting) -> Result<Place, Outcome> {
        let child = match self.pool.launcher.start().await {
            Ok(child) => child,
            Err(failure) => {
                let after = Some(self.pool.lock().led_nowhere(failure.clone()));
                return Err(Outcome::from(Verdict::Unavailable { after, failure }));
            }
        };
        let manners = self.pool.manners;
        let (place, asks) = mpsc::channel(manners.records);
        let process = child.id();
        let attending = async move {
            let life = attend(child, asks, manners).await;
            if let Some(failure) = &life.failure {
                warn!(process, %failure, "a handler's child process is gone");
            }
            alive.0.lock().learn(life);
            drop(alive);
        };
        // What the child says is said of the object that it works for.
        self.tasks.spawn(attending.in_current_span());
        self.pool.add(place.clone(), manners.records - 1);
        drop(starting);
        Ok(place)
    }
}

impl Drop for ExecHandler {
    fn drop(&mut self) {
        self.pool.close();
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Held for a few pushes and pops, never across a wait; no step between them can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(pool: &Arc<Self>) -> Find {
        let mut state = pool.lock();
        let may_start = state.alive < pool.most;
        let may_start_now = may_start && state.not_before.is_none_or(|until| until <= Instant::now());
        let starts_rather = pool.spreads && (may_start_now || state.starting > 0);
        let free = state.places.most();
        if free.is_some_and(|free| free == pool.manners.records || !starts_rather)
            && let Some(place) = state.places.take()
        {
            return Find::Place(place);
        }
        if state.closing {
            return Find::Nothing(Outcome::unavailable(reason::CANNOT_START, "the worker is stopping"));
        }
        if !may_start {
            return Find::Wait(None);
        }
        match state.not_before.map(|until| (until, until.saturating_duration_since(Instant::now()))) {
            Some((until, left)) if !left.is_zero() && state.alive > 0 => Find::Wait(Some(until)),
            Some((_, left)) if !left.is_zero() => Find::Nothing(state.pausing(left)),
            _ => {
                state.alive += 1;
                state.starting += 1;
                Find::Start(Alive(Arc::clone(pool)), Starting(Arc::clone(pool)))
            }
        }
    }

    fn give_back(&self, place: Place) {
        let mut state = self.lock();
        if !state.closing {
            state.places.give_back(place, self.manners.records);
        }
        drop(state);
        self.freed.notify_one();
    }

    /// Further places of a child that has just been started.
    fn add(&self, place: Place, count: usize) {
        let mut state = self.lock();
        if !state.closing {
            state.places.add(place, count);
        }
        drop(state);
        (0..count).for_each(|_| self.freed.notify_one());
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        let places = std::mem::take(&mut state.places);
        drop(state);
        drop(places);
        self.freed.notify_waiters();
    }
}

impl State {
    /// What a child's life says about starting another one.
    fn learn(&mut self, life: Life) {
        match life {
            Life { answered: true, .. } => (self.barren, self.not_before) = (0, None),
            Life { failure: Some(failure), .. } => {
                self.led_nowhere(failure);
            }
            Life { failure: None, .. } => {}
        }
    }

    /// Notes a start that led nowhere, and says how long to wait for the next.
    fn led_nowhere(&mut self, failure: Failure) -> Duration {
        let now = Instant::now();
        if let Some(until) = self.not_before.filter(|until| *until > now) {
            // Children that were started together fail together: that counts once.
            return until - now;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.barren.min(16)).min(LONGEST_PAUSE);
        self.barren += 1;
        self.failure = Some(failure);
        self.not_before = Some(now + pause);
        pause
    }

    fn pausing(&self, left: Duration) -> Outcome {
        let text = self.failure.as_ref().map_or_else(Default::default, |failure| failure.text.clone());
        let failure = Failure::new(reason::CANNOT_START, text);
        Outcome::from(Verdict::Unavailable { after: Some(left), failure })
    }
}

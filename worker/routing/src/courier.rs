//! A courier: brings an owner's records to one target, and what became of them back. Up: the [crate](crate).
//!
//! It knows which records were sent and not answered, over all streams. A stream that breaks leaves them unanswered
//! until the target says welcome again, or its member key is gone.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_queue::SegQueue;
use keyweir_core::MemberId;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::exchange::Exchange;
use crate::frame::{End, Frame, Run};
use crate::greeting::{Hello, WireError, greet};
use crate::hosting::GREETING;
use crate::pace::Pace;
use crate::stats::RoutingStats;
use crate::{Dial, Secrets};
use keyweir_engine::error_chain;
use keyweir_engine::outcome::Outcome;
use keyweir_engine::pump::DispatchLimit;

/// How many records are sent at first before one has come back; it grows while the target takes them.
const FIRST_WINDOW: usize = 32;
const MOST_WINDOW: usize = 8192;

/// How long a full target is left alone.
const BUSY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// How long one that can't be reached is.
const AWAY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How much longer than its grant a target may be silent.
const SILENCE: Duration = Duration::from_secs(2);
/// How often somebody looks whether the lease allows dispatch again.
const LOOK: Duration = Duration::from_millis(20);

/// A record for a target.
pub(crate) struct Parcel {
    pub(crate) run: Run,
    pub(crate) reply: oneshot::Sender<Delivery>,
}

/// What became of it.
pub(crate) enum Delivery {
    /// The handler answered.
    Answered(Outcome),
    /// It was not begun there, and would not be the next time.
    NotBegun,
    /// It was sent, and has ended there without an answer.
    Lost,
}

/// Whether a target is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Here,
    /// Its member key is gone: nothing of it counts any more.
    Gone,
}

/// Records that nobody waits for any more.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    ids: SegQueue<u64>,
    bell: Notify,
}

impl Dropped {
    pub(crate) fn push(&self, id: u64) {
        self.ids.push(id);
        self.bell.notify_one();
    }
}

/// What couriers of one owner have in common.
pub(crate) struct Office {
    /// The prefix of the object.
    pub(crate) object: String,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) limit: DispatchLimit,
    pub(crate) stats: Arc<RoutingStats>,
}

/// Brings records to one target.
pub(crate) struct Courier {
    pub(crate) office: Arc<Office>,
    pub(crate) me: MemberId,
    pub(crate) target: MemberId,
    pub(crate) address: String,
    pub(crate) parcels: mpsc::Receiver<Parcel>,
    pub(crate) dropped: Arc<Dropped>,
    pub(crate) presence: watch::Receiver<Presence>,
}

/// Records on their way.
struct Rounds {
    sent: HashMap<u64, Parcel>,
    /// What a full target gave back, and what comes next.
    line: VecDeque<Parcel>,
    window: usize,
    /// Answers since the window last grew.
    answers: usize,
    pace: Pace,
    /// Nothing is sent before.
    pause_until: Option<Instant>,
    /// A target that says nothing until then is not there any more.
    silent_at: Instant,
}

impl Courier {
    /// Until the target is gone. What is dropped before that leaves its records unanswered, for ever.
    pub(crate) async fn run(mut self) {
        let mut rounds = Rounds::new();
        let mut away = Pace::new(AWAY.0, AWAY.1);
        let mut presence = self.presence.clone();
        // The end first: whatever else there is, it is over.
        tokio::select! {
            biased;
            _ = presence.wait_for(|presence| *presence == Presence::Gone) => {}
            () = async {
                loop {
                    match self.connect().await {
                        Ok(mut exchange) => {
                            away.reset();
                            rounds.begin_anew();
                            let ended = rounds.go(&mut self, &mut exchange).await;
                            let error = ended.err().map(|error| error_chain(&error));
                            tracing::info!(target = %self.target, error, "the wire to a target has ended");
                        }
                        Err(error) => {
                            let error = error_chain(&error);
                            tracing::debug!(target = %self.target, error, "no wire to a target yet");
                        }
                    }
                    rounds.wait_for(&mut self, away.wait()).await;
                }
            } => {}
        }
        rounds.lose_sent();
        rounds.refuse_line();
        self.parcels.close();
        while let Some(parcel) = self.parcels.recv().await {
            parcel.answer(Delivery::NotBegun);
        }
    }

    async fn connect(&self) -> Result<Exchange, WireError> {
        let hello = Hello::new(&self.office.object, self.me.clone(), self.target.clone())?;
        let connecting = async {
            let secret = self.office.secrets.secret().await.map_err(WireError::Secret)?;
            let stream = self.office.dial.dial(&self.address).await;
            let address = || self.address.clone();
            let stream = stream.map_err(|source| WireError::Unreachable { address: address(), source })?;
            greet(stream, &secret, &hello).await
        };
        timeout(GREETING, connecting).await.map_err(|_| WireError::Silent)?
    }
}

impl Parcel {
    fn answer(self, delivery: Delivery) {
        // Nobody waiting any more is the pump's choice.
        let _ = self.reply.send(delivery);
    }
}

impl Rounds {
    fn new() -> Self {
        Self {
            sent: HashMap::new(),
            line: VecDeque::new(),
            window: FIRST_WINDOW,
            answers: 0,
            pace: Pace::new(BUSY.0, BUSY.1),
            pause_until: None,
            silent_at: Instant::now(),
        }
    }

    /// The target is welcoming: what was sent before has ended there.
    fn begin_anew(&mut self) {
        self.lose_sent();
        self.window = FIRST_WINDOW;
        self.silent_at = Instant::now() + SILENCE;
    }

    fn lose_sent(&mut self) {
        self.sent.drain().for_each(|(_, parcel)| parcel.answer(Delivery::Lost));
    }

    fn refuse_line(&mut self) {
        self.line.drain(..).for_each(|parcel| parcel.answer(Delivery::NotBegun));
    }

    /// Sends nothing for a while: what comes is executed elsewhere.
    async fn wait_for(&mut self, courier: &mut Courier, wait: Duration) {
        let until = Instant::now() + wait;
        self.refuse_line();
        loop {
            tokio::select! {
                biased;
                // Records first: they need not wait for the end of the wait.
                Some(parcel) = courier.parcels.recv() => parcel.answer(Delivery::NotBegun),
                () = sleep_until(until) => return,
            }
        }
    }

    /// One stream, until it breaks.
    ///
    /// The order: what comes back before what is new, so that windows empty before they fill; what nobody waits for
    /// any more before that; the clock last, as the loop looks at it in every turn. Every arm is cancel-safe.
    async fn go(&mut self, courier: &mut Courier, exchange: &mut Exchange) -> Result<(), WireError> {
        loop {
            let now = Instant::now();
            if self.silent_at <= now {
                return Err(WireError::Silent);
            }
            let timer = self.send(courier, exchange, now);
            tokio::select! {
                biased;
                carried = exchange.carry() => {
                    carried?;
                    while let Some(frame) = exchange.hear()? {
                        self.take(frame, courier, exchange)?;
                    }
                }
                () = courier.dropped.bell.notified() => self.cancel(courier, exchange),
                Some(parcel) = courier.parcels.recv(), if self.line.is_empty() => self.line.push_back(parcel),
                () = sleep_until(timer) => {}
            }
        }
    }

    /// Sends what may be sent; says when to look again.
    fn send(&mut self, courier: &mut Courier, exchange: &mut Exchange, now: Instant) -> Instant {
        if let Some(until) = self.pause_until.filter(|until| *until > now) {
            return until.min(self.silent_at);
        }
        self.pause_until = None;
        while self.sent.len() < self.window && !exchange.is_full() {
            let Some(parcel) = self.line.pop_front().or_else(|| courier.parcels.try_recv().ok()) else {
                break;
            };
            if parcel.reply.is_closed() {
                continue;
            }
            if !courier.office.limit.allows_now() {
                self.line.push_front(parcel);
                return (now + LOOK).min(self.silent_at);
            }
            exchange.say(&Frame::Run(parcel.run.clone()));
            self.sent.insert(parcel.run.id, parcel);
        }
        self.silent_at
    }

    fn take(&mut self, frame: Frame, courier: &Courier, exchange: &mut Exchange) -> Result<(), WireError> {
        match frame {
            Frame::Ask(number) => {
                let now = Instant::now();
                let left = match courier.office.limit.counts_until() {
                    Some(until) => until.saturating_duration_since(now),
                    // Without a lease there is no end; somebody must ask again all the same.
                    None => SILENCE,
                };
                self.silent_at = now + left + SILENCE;
                exchange.say(&Frame::Granted(number, left));
            }
            Frame::Ended(id, end) => self.ended(id, end, courier),
            _ => return Err(WireError::Garbage),
        }
        Ok(())
    }

    fn ended(&mut self, id: u64, end: End, courier: &Courier) {
        let Some(parcel) = self.sent.remove(&id) else {
            return;
        };
        match end {
            End::Answered(outcome) => {
                self.widen();
                courier.office.stats.routed();
                parcel.answer(Delivery::Answered(outcome));
            }
            End::Busy => {
                courier.office.stats.busy();
                // Each answer makes room for one: only where none is to come there is a wait, others fill the target then.
                self.window = self.sent.len().max(1);
                self.answers = 0;
                if self.sent.is_empty() {
                    self.pause_until = Some(Instant::now() + self.pace.wait());
                }
                self.line.push_front(parcel);
            }
            End::Refused => parcel.answer(Delivery::NotBegun),
            End::Cancelled => parcel.answer(Delivery::Lost),
        }
    }

    /// A target that takes what it gets gets more.
    fn widen(&mut self) {
        self.pace.reset();
        self.answers += 1;
        if self.answers >= self.window {
            self.answers = 0;
            self.window = (self.window + 1 + self.window / 8).min(MOST_WINDOW);
        }
    }

    fn cancel(&mut self, courier: &Courier, exchange: &mut Exchange) {
        while let Some(id) = courier.dropped.ids.pop() {
            if self.sent.contains_key(&id) {
                exchange.say(&Frame::Cancel(id));
            }
        }
    }
}

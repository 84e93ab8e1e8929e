//! The pump: the only loop. It owns the core by value; everything else talks to it by bounded channels.
//!
//! ```text
//!   take.rs ─▶ lanes ─▶ dispatch.rs ─▶ calls.rs ─▶ settle.rs ─▶ ledger ─▶ checkpoints.rs
//!                 ▲                                   │  └────▶ exhausted.rs (dead letter, park, skip, stop)
//!                 │└───────── retry, unavailable ─────┘         release.rs (give up a shard, drain, pause)
//!                 └ spill.rs, recall.rs (contents given back while the budget is short, and read again)
//! ```
//!
//! One turn of the loop starts what may start, then waits for any of, in this order: the shutdown, the alarm
//! (tick, retry due, probe due, linger), a command, what has ended (calls and slow work), the source. See
//! [`Pump::turn`] for the reason of the order. Nothing that fills a bounded queue is the one that drains it: the
//! pump never waits for room anywhere.

mod blocked;
mod calls;
mod checkpoints;
mod command;
mod desk;
mod dispatch;
mod elsewhere;
mod exhausted;
mod gate;
mod hooks;
mod limit;
mod owed;
mod reading;
mod recall;
mod release;
mod settle;
mod shard;
mod spill;
mod stats;
mod take;
mod task;
mod timers;
mod trial;
mod warned;

use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyweir_contract::worker_config::{FixedConfig, LiveConfig};
use keyweir_core::{Budget, Fence, Lanes, Offset, Route, ShardId, ShardIndex};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use calls::{Calls, Ending};
use checkpoints::Mirrors;
pub use command::{Command, Fate, Ownership, PumpEnded, PumpHandle, ReleaseMode, Released, Replay};
use desk::{Desk, Job};
use dispatch::{Answer, Cargo, Work};
use gate::Gate;
use hooks::Hooks;
pub use limit::{Allowance, DispatchLimit};
use owed::Debts;
use reading::Reading;
use shard::{Phase, Shard};
use spill::Spilling;
pub use stats::{Activity, Counters, Durations, LastFailure, ShardSnapshot, Snapshot, TIME_BOUNDS, Trouble};
use task::Task;
use timers::Timers;
use warned::Warned;

use crate::notices::Notices;
use crate::outcome::Failure;
use crate::ports::{
    CheckpointStore, Handler, Intake, Observer, ParkedStore, Producer, Reader, Recall, Source,
};

/// How often the pump looks after time-outs, checkpoints and its snapshot.
const TICK: Duration = Duration::from_millis(50);

/// How many turns without a wait before others on the thread get theirs.
const TURNS_BEFORE_YIELD: u32 = 32;

/// The cold ports of one object.
#[derive(Clone)]
pub struct Ports {
    /// Bounds, mirrors, identity.
    pub source: Arc<dyn Source>,
    /// Where frontiers survive.
    pub checkpoints: Arc<dyn CheckpointStore>,
    /// Where outputs and dead letters go.
    pub producer: Arc<dyn Producer>,
    /// Where records are kept aside, where there is such a place.
    pub parked: Option<Arc<dyn ParkedStore>>,
    /// Reads records again, where the source can: without it the contents of all that was read are kept.
    pub recall: Option<Arc<dyn Recall>>,
    /// What people should hear of.
    pub notices: Notices,
}

/// All that a pump is made of.
pub struct Parts<R, H> {
    /// Gives records.
    pub reader: R,
    /// One for each route: first the object's own, then those of `fixed.routes`, in order.
    pub handlers: Vec<Arc<H>>,
    /// The cold ports.
    pub ports: Ports,
    /// Hooks, told in this order.
    pub observers: Vec<Box<dyn Observer>>,
    /// How records are read and where their road ends.
    pub fixed: Arc<FixedConfig>,
    /// What may change while it runs.
    pub live: LiveConfig,
    /// CPUs that this process may use, for concurrency profiles.
    pub cpus: u32,
    /// Varies hashes and jitter between processes.
    pub seed: u64,
    /// Gets records that ended here after their shard was handed over: offset, and whether it is complete.
    pub departed: Option<mpsc::Sender<Departed>>,
    /// Until when records may be dispatched, and their outcomes count.
    pub limit: DispatchLimit,
    /// Cancelled = drain and end.
    pub shutdown: CancellationToken,
    /// Cancelled = end now: cancel what is executing, write the last checkpoints, no more.
    pub hurry: CancellationToken,
}

/// A record that ended here after its shard was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// The shard.
    pub shard: ShardId,
    /// The tenure under which it began.
    pub fence: Fence,
    /// The record's place.
    pub offset: Offset,
    /// How it ended.
    pub fate: Fate,
}

/// How a pump ended.
#[derive(Clone, Debug, PartialEq)]
pub struct PumpReport {
    /// Why it stopped by itself (`Stop` policy); `None` = it was asked to.
    pub stopped: Option<Failure>,
    /// Records that were executing at the end of the drain time and were cancelled.
    pub cancelled: usize,
    /// Shards whose last checkpoint could not be saved.
    pub unsaved: Vec<ShardId>,
    /// The last snapshot.
    pub last: Arc<Snapshot>,
}

/// Makes a pump: a handle to ask it by, and the future that is the pump.
pub fn pump<R: Reader, H: Handler>(
    parts: Parts<R, H>,
) -> (PumpHandle, impl Future<Output = PumpReport> + Send) {
    let (publish, snapshots) = watch::channel(Arc::default());
    let (handle, commands) = PumpHandle::new(snapshots);
    let run = async move {
        let calls = Calls::new();
        Pump::new(parts, commands, publish, calls, dispatch::call::<H>).run().await
    };
    (handle, run)
}

/// The pump's whole state.
struct Pump<R, H, F: Future, L> {
    reader: R,
    handlers: Vec<Arc<H>>,
    launch: L,
    calls: Calls<F, Cargo>,
    desk: Desk,
    lanes: Lanes<Task>,
    budget: Budget,
    spilling: Spilling,
    /// When records were last read again, until that has come to rest.
    recalled_at: Option<Instant>,
    shards: Vec<Option<Shard>>,
    streams: HashMap<Arc<str>, u16>,
    gates: Vec<Gate>,
    /// Since when a batch of that route waits for more records.
    linger: Vec<Option<Instant>>,
    next_route: usize,
    timers: Timers,
    reading: Reading,
    fixed: Arc<FixedConfig>,
    live: LiveConfig,
    limits: dispatch::Permits,
    ports: Ports,
    hooks: Hooks,
    departed: Option<mpsc::Sender<Departed>>,
    limit: DispatchLimit,
    commands: mpsc::Receiver<Command>,
    publish: watch::Sender<Arc<Snapshot>>,
    shutdown: CancellationToken,
    hurry: CancellationToken,
    activity: Activity,
    stopped: Option<Failure>,
    /// When the drain ends; `None` = not draining.
    drain_until: Option<Instant>,
    cancelled: usize,
    unsaved: Vec<ShardId>,
    /// Since when checkpoints are being saved; `None` = they are not.
    saving: Option<Instant>,
    /// A shard's checkpoints have been refused for long.
    refused_for_long: bool,
    mirrors: Mirrors,
    save_after: Instant,
    writing: usize,
    owed: Debts,
    /// Parked records that were handled again and parked again: their copy stays.
    parked_anew: HashSet<(ShardIndex, Offset)>,
    counters: Counters,
    handler_time: Durations,
    checkpoint_time: Durations,
    troubles: HashMap<String, Trouble>,
    last_failure: Option<LastFailure>,
    warned: Warned,
    cpus: u32,
    seed: u64,
    born: (Instant, SystemTime),
    now: Instant,
    next_tick: Instant,
    ticks: u32,
    /// Something may start that had no turn yet.
    more: bool,
    /// A shard runs one record at a time.
    trials: bool,
    ended: Vec<(Cargo, Ending<Answer>)>,
    jobs: Vec<Job>,
    /// Looks at endings in a row after which there were more.
    unread: u32,
}

/// While endings keep coming the source is read in each so many-th look at them: a batch takes longer than a look.
const LOOKS_PER_READ: u32 = 4;

/// What a turn of the loop woke up for.
enum Woken {
    Shutdown,
    Alarm,
    Command(Command),
    Work(Option<Intake>),
}

impl<R, H, F, L> Pump<R, H, F, L>
where
    R: Reader,
    H: Handler,
    F: Future<Output = Answer>,
    L: Fn(Arc<H>, Work) -> F,
{
    fn new(
        parts: Parts<R, H>,
        commands: mpsc::Receiver<Command>,
        publish: watch::Sender<Arc<Snapshot>>,
        calls: Calls<F, Cargo>,
        launch: L,
    ) -> Self {
        let now = Instant::now();
        let reading = Reading::new(&parts.fixed);
        let routes = reading.routes();
        Self {
            lanes: Lanes::new(parts.seed, routes),
            budget: Budget::new(dispatch::budget_limits(&parts.live)),
            limits: dispatch::Permits::new(&parts.live, parts.cpus, now),
            gates: (0..routes).map(|_| Gate::new()).collect(),
            linger: vec![None; routes],
            timers: Timers::default(),
            spilling: Spilling::default(),
            recalled_at: None,
            shards: Vec::new(),
            streams: HashMap::new(),
            next_route: 0,
            desk: Desk::new(),
            activity: Activity::Running,
            stopped: None,
            drain_until: None,
            cancelled: 0,
            unsaved: Vec::new(),
            saving: None,
            refused_for_long: false,
            mirrors: Mirrors::default(),
            save_after: now,
            writing: 0,
            owed: Debts::default(),
            parked_anew: HashSet::new(),
            counters: Counters::default(),
            handler_time: Durations::default(),
            checkpoint_time: Durations::default(),
            troubles: HashMap::new(),
            last_failure: None,
            warned: Warned::default(),
            born: (now, SystemTime::now()),
            now,
            next_tick: now + TICK,
            ticks: 0,
            more: false,
            trials: false,
            ended: Vec::new(),
            jobs: Vec::new(),
            unread: 0,
            reader: parts.reader,
            handlers: parts.handlers,
            fixed: parts.fixed,
            live: parts.live,
            ports: parts.ports,
            hooks: Hooks::new(parts.observers),
            departed: parts.departed,
            limit: parts.limit,
            shutdown: parts.shutdown,
            hurry: parts.hurry,
            cpus: parts.cpus,
            seed: parts.seed,
            reading,
            calls,
            launch,
            commands,
            publish,
        }
    }

    async fn run(mut self) -> PumpReport {
        let mut alarm = pin!(tokio::time::sleep_until(self.next_tick));
        let shutdown = self.shutdown.clone();
        let mut shutdown = pin!(shutdown.cancelled());
        let mut turns = 0;
        self.hooks.tell(|observer| observer.start());
        while !self.is_over() {
            if self.lanes.take_thirst() {
                self.recall();
            }
            self.dispatch();
            let due = self.next_due();
            if alarm.deadline() != due {
                alarm.as_mut().reset(due);
            }
            let (woken, waited) = self.turn(alarm.as_mut(), shutdown.as_mut()).await;
            self.now = Instant::now();
            self.react(woken);
            turns = if waited { 0 } else { turns + 1 };
            if turns >= TURNS_BEFORE_YIELD {
                turns = 0;
                tokio::task::yield_now().await;
            }
        }
        self.end().await
    }

    /// Waits for the next thing to do; says also whether it had to wait.
    ///
    /// The order: the shutdown first, since nothing may delay it; the alarm, since time-outs and checkpoints must
    /// not starve under load; commands, which are rare and decide what may start; what has ended before what is
    /// new, so that permits and memory come back before more is taken. While there are more endings than one look
    /// takes, the source is polled in some turns only, but never forgotten. Each arm is cancel-safe: an ending, a job
    /// or a command is taken out only where it is given back.
    async fn turn(
        &mut self,
        mut alarm: Pin<&mut Sleep>,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> (Woken, bool) {
        let taking = self.takes();
        let listens_for_shutdown = self.drain_until.is_none();
        let Self { reader, calls, desk, commands, ended, jobs, more, unread, .. } = self;
        let mut intake = pin!(reader.next());
        let mut polls = 0;
        let woken = poll_fn(|cx| {
            polls += 1;
            if listens_for_shutdown && shutdown.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Shutdown);
            }
            if alarm.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Alarm);
            }
            if let Poll::Ready(Some(command)) = commands.poll_recv(cx) {
                return Poll::Ready(Woken::Command(command));
            }
            let goes_on = calls.poll_ended(cx, ended);
            desk::poll_jobs(desk, cx, jobs);
            *unread = if goes_on { *unread + 1 } else { 0 };
            if taking
                && unread.is_multiple_of(LOOKS_PER_READ)
                && let Poll::Ready(intake) = intake.as_mut().poll(cx)
            {
                return Poll::Ready(Woken::Work(Some(intake)));
            }
            let idle = ended.is_empty() && jobs.is_empty() && !*more;
            if idle { Poll::Pending } else { Poll::Ready(Woken::Work(None)) }
        })
        .await;
        (woken, polls > 1)
    }

    fn react(&mut self, woken: Woken) {
        match woken {
            Woken::Shutdown => self.drain(),
            Woken::Alarm => self.on_alarm(),
            Woken::Command(command) => self.on_command(command),
            Woken::Work(intake) => {
                self.settle_ended();
                self.settle_jobs();
                if let Some(intake) = intake {
                    // A permit that came back is not left idle while a batch is taken in.
                    self.dispatch();
                    self.take(intake);
                }
            }
        }
    }

    fn on_alarm(&mut self) {
        self.wake_due();
        if self.now < self.next_tick {
            return;
        }
        self.next_tick = self.now + TICK;
        self.ticks = self.ticks.wrapping_add(1);
        self.end_overdue();
        self.look_for_trials();
        self.look_for_refusals();
        self.spill();
        self.balance_shards();
        self.recall();
        self.rest_from_recalls();
        self.advance_releases();
        self.observe_tick();
        self.save_checkpoints();
        self.mirror();
        if self.ticks.is_multiple_of(4) || self.drain_until.is_some() {
            self.publish_snapshot();
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Own(ownership) => self.own(ownership),
            Command::Release { shard, mode, reply } => self.release(&shard, mode, reply),
            Command::EndedElsewhere { shard, records } => self.ended_elsewhere(&shard, records),
            Command::Freeze => self.set_activity(Activity::Running, Activity::Frozen),
            Command::Thaw => self.set_activity(Activity::Frozen, self.wanted_activity()),
            Command::Abandon { done } => {
                self.abandon();
                // Nobody listening any more is the listener's choice.
                let _ = done.send(());
            }
            Command::Tune(live) => self.tune(*live),
            Command::Replay { parked, reply } => drop(reply.send(self.replay(&parked))),
            Command::Skipped { id, key, reply } => drop(reply.send(self.skipped(&id, &key))),
        }
    }

    /// When the alarm has to ring next. What is due already and has not started waits for something else, which wakes the
    /// pump itself or is seen at the next tick: to be woken for it again would be to spin.
    fn next_due(&self) -> Instant {
        let gates = self.gates.iter().enumerate().filter(|(route, _)| self.lanes.has_ready(*route as Route));
        let probe = gates.filter_map(|(_, gate)| gate.due()).min();
        let linger = self
            .linger
            .iter()
            .zip(&self.handlers)
            .filter_map(|(since, handler)| since.map(|since| since + handler.batch().linger));
        let starts = [probe, linger.min(), self.limits.refill_due()].into_iter().flatten();
        let starts = starts.filter(|due| *due > self.now);
        starts.chain(self.timers.next()).chain([self.next_tick]).min().unwrap_or(self.next_tick).max(self.now)
    }

    /// The shards that are owned; not those of which only records still execute here.
    fn shards_of_now(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().flatten().filter(|shard| !matches!(shard.phase, Phase::HandedOver))
    }

    fn shard(&mut self, index: ShardIndex) -> Option<&mut Shard> {
        self.shards.get_mut(index.as_usize())?.as_mut()
    }

    /// Milliseconds since the epoch at `at`, by the monotonic clock: a step of the wall clock moves no retry.
    fn wall(&self, at: Instant) -> u64 {
        let (born, wall) = self.born;
        let since_epoch =
            wall.duration_since(UNIX_EPOCH).unwrap_or_default() + at.saturating_duration_since(born);
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }

    fn trouble(&mut self, about: &str, reason: &'static str, text: String) {
        let known = self.troubles.get(about).is_some_and(|trouble| trouble.reason == reason);
        if !known {
            tracing::warn!(about, reason, text, "trouble");
        }
        self.troubles.insert(about.to_owned(), Trouble { about: about.to_owned(), reason, text });
    }

    fn recovered(&mut self, about: &str) {
        if !self.troubles.is_empty() && self.troubles.remove(about).is_some() {
            tracing::info!(about, "trouble is over");
        }
    }
}

//! The session: one incarnation of a member, from its membership to its end. Up: [ownership](super).
//!
//! One loop owns all of its state. What takes time is a [`Job`] beside it; what a job brings changes the state and
//! leads to another look at the view.

mod acting;
mod hindrances;
mod settling;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use keyweir_core::{Fence, ShardId, Standing};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::executing::{Departing, Elsewhere, Told, Waiting};
use super::history::{self, Memory};
use super::jobs::{Desk, Job};
use super::join::Joined;
use super::ordinals::Ordinals;
use super::plan::{Accepting, Leaving, Local, Unclaimed};
use super::pumps::Pumps;
use super::roll::Neighbours;
use super::status::OwnershipSnapshot;
use super::values::MemberValue;
use super::view::View;
use super::{Owners, Settings};
use crate::ports::{Changes, Pulse, Renewals, StoreError};
use crate::pump::{Allowance, Departed};
use hindrances::Hindrances;

/// How long changes are gathered before the view is acted upon: a burst of them costs one look.
const GATHER: Duration = Duration::from_millis(2);

/// How often somebody's reset of a shard's start is looked for.
const RESETS: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Everything is handed over.
    Left,
    /// The lease is lost, or about to be.
    Lost,
    /// There is nobody left to work.
    PumpsEnded,
}

/// One incarnation of a member.
pub(super) struct Session<'a> {
    settings: &'a Settings,
    pumps: Arc<dyn Pumps>,
    healthy: &'a mut watch::Receiver<bool>,
    departed: &'a mut mpsc::Receiver<Departed>,
    neighbours: &'a mut Neighbours,
    status: &'a watch::Sender<Arc<OwnershipSnapshot>>,
    limit: &'a watch::Sender<Option<Allowance>>,
    leave: CancellationToken,
    report: &'a mut OwnershipSnapshot,

    desk: Desk,
    renewals: Renewals,
    standing: Standing,
    pulse: Pulse,
    beats: BoxStream<'static, ()>,

    view: View,
    /// `None` = it has ended and a listing is under way.
    watch: Option<BoxStream<'static, Result<Changes, StoreError>>>,
    listing_wait: Duration,
    /// Our member key has been in the view.
    seen_myself: bool,
    /// Which shards are whose, where placement is static.
    ordinals: Option<Ordinals>,

    local: HashMap<ShardId, Local>,
    /// The newest fence under which the pumps have had each shard.
    opened: HashMap<ShardId, Fence>,
    accepting: HashMap<ShardId, Accepting>,
    unclaimed: Unclaimed,
    departing: Departing,
    elsewhere: Elsewhere,
    /// Shards of ours whose records still execute in another order than ours.
    waiting: HashMap<ShardId, Waiting>,
    told: Told,
    hindrances: Hindrances,

    /// The member's value as it should stand, and whether it does.
    value: MemberValue,
    value_due: bool,
    value_under_way: bool,
    claim_under_way: bool,
    jobs: FuturesUnordered<BoxFuture<'static, Job>>,

    /// When to look at the view again.
    look_at: Option<Instant>,
    discover_at: Option<Instant>,
    discovery_wait: Duration,
    /// When to look for somebody's resets; `None` = it is being looked.
    resets_at: Option<Instant>,
    memory: Memory,
    /// When to ask how far back the store's history goes; `None` = it is being asked.
    look_back_at: Option<Instant>,
    leaving: Option<Leaving>,
    leave_by: Option<Instant>,
}

/// What a turn of the loop woke up for.
enum Woken {
    Renewed,
    Beat(bool),
    Leave,
    Job(Job),
    Departed(Departed),
    Hosted,
    Watch(Option<Result<Changes, StoreError>>),
    Health,
    Replicas,
    Timer,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        owners: &'a mut Owners,
        joined: Joined,
        pulse: Pulse,
        report: &'a mut OwnershipSnapshot,
    ) -> Self {
        let Joined { me, grant, renewals, view, epoch, value } = joined;
        let store = Arc::clone(&owners.store);
        let prefix = owners.settings.prefix.clone();
        let begun_at = view.revision();
        let watch = store.watch(&prefix.live(), begun_at + 1);
        report.member = Some(me.clone());
        report.ttl = grant.ttl;
        report.hindrance = None;
        report.counters.listings += 1;
        let now = Instant::now();
        Self {
            desk: Desk {
                store,
                prefix,
                ports: owners.ports.clone(),
                me,
                lease: grant.lease,
                epoch,
                order: Arc::clone(&owners.settings.order),
            },
            pumps: Arc::clone(&owners.pumps),
            beats: owners.pumps.beats(),
            settings: &owners.settings,
            healthy: &mut owners.healthy,
            departed: &mut owners.departed,
            neighbours: &mut owners.neighbours,
            status: &owners.status,
            limit: &owners.limit,
            leave: owners.leave.clone(),
            report,
            renewals,
            standing: Standing::Held,
            pulse,
            view,
            watch: Some(watch),
            listing_wait: Duration::ZERO,
            seen_myself: false,
            ordinals: Ordinals::of(&owners.settings.placing),
            local: HashMap::new(),
            opened: HashMap::new(),
            accepting: HashMap::new(),
            unclaimed: Unclaimed::default(),
            departing: Departing::default(),
            elsewhere: Elsewhere::default(),
            waiting: HashMap::new(),
            told: Told::default(),
            hindrances: Hindrances::default(),
            value,
            value_due: false,
            value_under_way: false,
            claim_under_way: false,
            jobs: FuturesUnordered::new(),
            look_at: Some(now),
            discover_at: Some(now),
            discovery_wait: Duration::ZERO,
            resets_at: Some(now + RESETS),
            memory: Memory::begin(begun_at, now),
            look_back_at: Some(now + history::LOOK),
            leaving: None,
            leave_by: None,
        }
    }

    pub(super) async fn run(mut self) -> End {
        // What ended under an earlier incarnation's lease concerns nobody any more.
        while self.departed.try_recv().is_ok() {}
        // That incarnation may have ended while dispatch was stopped.
        if self.pumps.thaw().await.is_err() {
            return End::PumpsEnded;
        }
        loop {
            let woken = self.turn().await;
            if let Some(end) = self.react(woken).await {
                return end;
            }
            if let Some(end) = self.act(Instant::now()).await {
                return end;
            }
            self.publish();
        }
    }

    /// Waits for the next thing to do.
    ///
    /// The order: the lease first, since all else depends on it; the pumps' beat, which keeps the lease; leaving;
    /// what has ended before what is new, so that bounded queues empty before they fill; timers last, as they only
    /// bring the session back to look at its state, which it does after every turn. Every arm is cancel-safe: jobs
    /// and streams keep what they have, receivers and timers lose nothing.
    async fn turn(&mut self) -> Woken {
        let now = Instant::now();
        let standing_change = self.renewals.clock().next_change(now.into_std()).map(Instant::from_std);
        let timer = self.next_timer(standing_change);
        let leave = self.leave.clone();
        let Self { renewals, beats, jobs, departed, neighbours, watch, healthy, leaving, ordinals, .. } =
            self;
        tokio::select! {
            biased;
            () = renewals.changed() => Woken::Renewed,
            beat = beats.next() => Woken::Beat(beat.is_some()),
            () = leave.cancelled(), if leaving.is_none() => Woken::Leave,
            Some(job) = jobs.next(), if !jobs.is_empty() => Woken::Job(job),
            Some(departed) = departed.recv() => Woken::Departed(departed),
            () = neighbours.changed(), if leaving.is_some() => Woken::Hosted,
            changes = next_changes(watch) => Woken::Watch(changes),
            Ok(()) = healthy.changed() => Woken::Health,
            () = replicas_changed(ordinals) => Woken::Replicas,
            () = sleep_until(timer) => Woken::Timer,
        }
    }

    fn next_timer(&self, standing_change: Option<Instant>) -> Instant {
        let timers = [
            standing_change,
            self.look_at,
            self.discover_at,
            self.resets_at,
            self.look_back_at,
            self.told.next_due(),
            self.departing.next_due(|shard| acting::is_releasing(&self.local, shard)),
            self.leave_by,
            self.accepting.values().map(|accepting| accepting.until).min(),
        ];
        // The beat of the pumps comes far more often than that.
        timers.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + Duration::from_secs(60))
    }

    async fn react(&mut self, woken: Woken) -> Option<End> {
        match woken {
            Woken::Renewed | Woken::Timer | Woken::Hosted => {}
            Woken::Beat(true) => self.pulse.beat(),
            Woken::Beat(false) => return Some(End::PumpsEnded),
            Woken::Leave => self.begin_to_leave(),
            Woken::Job(job) => return self.settle(job).await,
            Woken::Departed(departed) => self.departing.ended(departed, Instant::now()),
            Woken::Watch(Some(Ok(changes))) => {
                self.view.apply(&changes);
                return self.view_changed().await;
            }
            Woken::Watch(Some(Err(error))) => self.list_again(Some(error)),
            Woken::Watch(None) => self.list_again(None),
            Woken::Health => self.tell_member(),
            Woken::Replicas => self.look_soon(),
        }
        None
    }

    fn begin_to_leave(&mut self) {
        let now = Instant::now();
        // As it is now: it may have changed since the start.
        let drain = *self.settings.drain.borrow();
        tracing::info!(?drain, "leaving: everything is handed over");
        self.leaving = Some(Leaving { impatient_at: now + drain / 4 });
        self.leave_by = Some(now + drain);
        self.tell_member();
    }

    /// The member's value has changed.
    fn tell_member(&mut self) {
        self.value.healthy = *self.healthy.borrow_and_update();
        self.value.leaving = self.leaving.is_some();
        self.value_due = true;
        // By ordinal the view does not show it.
        self.look_soon();
    }

    /// Looks at the view soon, together with what else changes meanwhile.
    fn look_soon(&mut self) {
        self.look_by(Instant::now() + GATHER);
    }

    fn look_by(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |known| known.min(at)));
    }

    fn start(&mut self, job: impl Future<Output = Job> + Send + 'static) {
        self.jobs.push(job.boxed());
    }

    fn publish(&mut self) {
        let count = |wanted: fn(Local) -> bool| self.local.values().filter(|local| wanted(**local)).count();
        self.report.standing = Some(self.standing);
        let lost_at = self.renewals.clock().lost_at();
        self.report.renewed = lost_at.checked_sub(self.report.ttl).map(Instant::from_std);
        // By ordinal nobody knows of others.
        self.report.members = if self.ordinals.is_some() { 1 } else { self.view.members().len() };
        let me = &self.desk.me;
        let others = || self.view.members().iter().filter(|(id, _)| *id != me);
        self.report.leaving = others().filter(|(_, other)| other.value.leaving).count();
        // An ordinal without a shard goes whenever it likes: nobody misses it.
        let idle = self.ordinals.is_some() && self.local.is_empty();
        self.report.eldest = idle || self.view.eldest().is_none_or(|eldest| eldest == me);
        self.report.owned = count(|local| matches!(local, Local::Owned(_)));
        self.report.moving = count(|local| local.is_held() && !matches!(local, Local::Owned(_)));
        self.report.departing = self.departing.len();
        self.report.foreign = self.view.foreign().len();
        self.hindrances.keep_shards(|shard| self.local.contains_key(shard));
        self.report.hindrance = self.hindrances.first().cloned();
        if **self.status.borrow() != *self.report {
            self.status.send_replace(Arc::new(self.report.clone()));
        }
    }
}

/// Until there are more or fewer ordinals; pends where placement is dynamic. Cancel-safe.
async fn replicas_changed(ordinals: &mut Option<Ordinals>) {
    match ordinals {
        Some(ordinals) => ordinals.changed().await,
        None => std::future::pending().await,
    }
}

/// The next changes; pends while there is no watch. Cancel-safe as the stream is.
async fn next_changes(
    watch: &mut Option<BoxStream<'static, Result<Changes, StoreError>>>,
) -> Option<Result<Changes, StoreError>> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

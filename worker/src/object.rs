//! One object at work: its pump, its ownership, its lag, and what may be asked of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use keyweir_contract::WorkerConfig;
use keyweir_contract::worker_config::LiveConfig;
use keyweir_embedded::DataDir;
use keyweir_engine::notices::Notices;
use keyweir_engine::ports::{Observer, ParkedStore};
use keyweir_engine::pump::{
    Allowance, Command, DispatchLimit, Parts, PumpEnded, PumpHandle, PumpReport, pump,
};
use keyweir_engine::solo::Solo;
use keyweir_handlers::{AnyHandler, Registry};
use keyweir_routing::{ExecutionLog, Routed};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::aside;
use crate::event_log::EventLog;
use crate::lag::{self, Lag};
use crate::membership::{self, Hindrances, Membership};
use crate::reach::{self, Reach};
use crate::routing::{self, Ground, Routing, Sight};
use crate::wiring::{self, Adapters, StartError};

/// How often an object's lag is looked up.
const LAG_INTERVAL: Duration = Duration::from_secs(1);

/// How many outcomes of records that were handed over wait to be told.
const DEPARTED: usize = 4096;

/// One object at work.
pub(crate) struct Object {
    name: String,
    config: WorkerConfig,
    pump: PumpHandle,
    parked: Option<Arc<dyn ParkedStore>>,
    hindrance: Hindrances,
    reach: Reach,
    routing: Option<Sight>,
    lag: watch::Receiver<Option<Lag>>,
    kept_aside: watch::Receiver<Option<u64>>,
    notices: Notices,
    /// How long executing records may finish when it leaves.
    drain: watch::Sender<Duration>,
    /// How many ordinals share the shards, where placement is static.
    replicas: watch::Sender<u32>,
    leave: CancellationToken,
    shutdown: CancellationToken,
    /// Cancelled = the pump has ended.
    off: CancellationToken,
    cpus: u32,
    helpers: Vec<JoinHandle<()>>,
    run: JoinHandle<PumpReport>,
}

/// What an object is made with, besides its configuration.
pub(crate) struct Surroundings<'a> {
    pub(crate) directory: Option<&'a DataDir>,
    pub(crate) natives: &'a Registry,
    pub(crate) member: &'a Arc<str>,
    /// What only one process at a time can call itself.
    pub(crate) worker: Option<&'a Arc<str>>,
    /// Which one it is, where placement is static.
    pub(crate) ordinal: Option<u32>,
    /// Where other members reach this process, if that is not where it listens.
    pub(crate) address: Option<IpAddr>,
    /// Where the process says what it does.
    pub(crate) page: Option<&'a str>,
    /// How many CPUs it may count on.
    pub(crate) cpus: u32,
    /// Cancelled = drain and end.
    pub(crate) stop: CancellationToken,
    pub(crate) hurry: CancellationToken,
}

impl Object {
    pub(crate) async fn start(config: WorkerConfig, around: Surroundings<'_>) -> Result<Self, StartError> {
        let (placing, replicas) = membership::placing(&config, around.ordinal)?;
        let adapters = wiring::build(&config, around.directory, around.natives, around.member).await?;
        let (leave, shutdown, off) =
            (around.stop.clone(), CancellationToken::new(), CancellationToken::new());
        let drain = watch::Sender::new(config.live.drain_timeout);
        let (departed_to, departed) = mpsc::channel(DEPARTED);
        let (limit_to, limit) = limit_of(&adapters);
        let mut routing = part_in_routing(&config, &adapters, &limit, &around, &off).await?;
        let (ports, handlers) = (adapters.ports, adapters.handlers);
        let (handle, run) = pump(Parts {
            reader: adapters.reader,
            handlers: routed(&handlers, routing.as_mut()),
            ports: ports.clone(),
            observers: observers(adapters.observer, around.natives),
            fixed: Arc::new(config.fixed.clone()),
            live: config.live.clone(),
            cpus: around.cpus,
            seed: seed(),
            departed: adapters.fleet.is_some().then_some(departed_to),
            limit,
            shutdown: shutdown.clone(),
            hurry: around.hurry.clone(),
        });
        let ((lag_to, lag), source) = (watch::channel(None), ports.source.clone());
        let following = lag::follow(source, handle.clone(), LAG_INTERVAL, lag_to, shutdown.clone());
        let (reach_to, reach) = watch::channel(Vec::new());
        let sight = routing.as_ref().map(|routing| routing.sight.clone());
        let unavailable = sight.as_ref().map(Sight::unavailable);
        let asking = reach::follow(handlers, handle.clone(), unavailable, reach_to, leave.clone());
        let name = wiring::object_name(&config);
        // Of several objects in one process each line of the log says whose it is, at whatever level.
        let span = tracing::error_span!("object", object = name);
        let mut helpers = vec![spawn(&span, following), spawn(&span, asking)];
        let (kept_aside, counting) = aside::begin(ports.parked.clone(), &handle, &shutdown);
        helpers.extend(counting.map(|counting| spawn(&span, counting)));
        helpers.extend(routing.iter_mut().flat_map(|routing| std::mem::take(&mut routing.tasks)));
        let hindrance = match adapters.fleet {
            None => {
                let (start, discovery) = (adapters.start, adapters.discovery);
                let solo = Solo { ports: ports.clone(), start, discovery };
                let (hindrance, alone) = alone(solo, &handle, &leave, &shutdown);
                helpers.extend(alone.map(|task| spawn(&span, task)));
                hindrance
            }
            Some(fleet) => {
                let membership = Membership {
                    ports: ports.clone(),
                    start: adapters.start,
                    discovery: adapters.discovery,
                    departed,
                    limit: limit_to,
                    pump: handle.clone(),
                    placing,
                    cpus: around.cpus,
                    worker: around.worker.cloned(),
                    page: around.page.map(str::to_owned),
                    drain: drain.subscribe(),
                    reach: reach.clone(),
                    routing,
                    leave: leave.clone(),
                    drained: shutdown.clone(),
                };
                let joining = || membership::join(&config, fleet, membership, around.member);
                let (status, joined) = span.in_scope(joining);
                helpers.extend(joined);
                Hindrances::Fleet(status)
            }
        };
        Ok(Self {
            name,
            config,
            pump: handle,
            parked: ports.parked,
            notices: ports.notices,
            kept_aside,
            hindrance,
            reach,
            routing: sight,
            lag,
            drain,
            replicas,
            leave,
            shutdown,
            off,
            cpus: around.cpus,
            helpers,
            run: spawn(&span, run),
        })
    }

    /// `namespace/name`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it was started or last tuned with.
    pub(crate) fn config(&self) -> &WorkerConfig {
        &self.config
    }

    /// Its pump.
    pub(crate) fn pump(&self) -> &PumpHandle {
        &self.pump
    }

    /// Where its parked records are.
    pub(crate) fn parked(&self) -> Option<&Arc<dyn ParkedStore>> {
        self.parked.as_ref()
    }

    pub(crate) fn hindrances(&self) -> Hindrances {
        self.hindrance.clone()
    }

    pub(crate) fn lag_watch(&self) -> watch::Receiver<Option<Lag>> {
        self.lag.clone()
    }

    /// How many records are kept aside.
    pub(crate) fn kept_aside_watch(&self) -> watch::Receiver<Option<u64>> {
        self.kept_aside.clone()
    }

    /// What has happened with it that people should hear of.
    pub(crate) fn notices(&self) -> Notices {
        self.notices.clone()
    }

    /// Its handlers that can't be reached.
    pub(crate) fn reach(&self) -> Reach {
        self.reach.clone()
    }

    /// Its routing by key, where it has one.
    pub(crate) fn routing(&self) -> Option<&Sight> {
        self.routing.as_ref()
    }

    /// Cancelled once it drains.
    pub(crate) fn leaving(&self) -> CancellationToken {
        self.leave.clone()
    }

    /// Whether its pump has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.run.is_finished()
    }

    /// Takes up changed live settings.
    pub(crate) async fn tune(&mut self, live: LiveConfig) -> Result<(), PumpEnded> {
        self.config.live = live.clone();
        self.drain.send_replace(live.drain_timeout);
        let replicas = live.replicas.unwrap_or_default();
        self.replicas.send_if_modified(|known| std::mem::replace(known, replicas) != replicas);
        if let Some(routing) = &self.routing {
            routing.set_seats(live.execution.concurrency.resolve(self.cpus) as usize);
        }
        self.pump.send(Command::Tune(Box::new(live))).await
    }

    /// Begins to drain.
    pub(crate) fn shut_down(&self) {
        self.leave.cancel();
    }

    /// Waits until it has ended. `None` = its pump panicked.
    pub(crate) async fn ended(self) -> Option<PumpReport> {
        let report = self.run.await;
        self.leave.cancel();
        self.shutdown.cancel();
        self.off.cancel();
        for helper in self.helpers {
            // A helper ends with the token; one that panicked has said so in the log.
            let _ = helper.await;
        }
        report.ok()
    }
}

/// A task of an object, whose log lines name it.
fn spawn<F>(span: &Span, task: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task.instrument(span.clone()))
}

/// One for each route: those that send records to where their keys map to, where keys are routed.
fn routed(handlers: &[Arc<AnyHandler>], routing: Option<&mut Routing>) -> Vec<Arc<Routed<AnyHandler>>> {
    let here = || handlers.iter().map(|handler| Arc::new(Routed::here(Arc::clone(handler)))).collect();
    routing.map_or_else(here, |routing| std::mem::take(&mut routing.handlers))
}

/// The event log first: it misses no step, whatever other hooks do.
fn observers(event_log: Option<EventLog>, natives: &Registry) -> Vec<Box<dyn Observer>> {
    let event_log = event_log.map(|log| Box::new(log) as Box<dyn Observer>);
    event_log.into_iter().chain(natives.observers()).collect()
}

/// Until when it may dispatch: without a lease there is no end.
fn limit_of(adapters: &Adapters) -> (watch::Sender<Option<Allowance>>, DispatchLimit) {
    let endless = || (watch::Sender::new(None), DispatchLimit::default());
    adapters.fleet.as_ref().map_or_else(endless, |_| DispatchLimit::new())
}

/// Nobody else works on it: all its shards are its own, and nothing has to be handed over.
fn alone(
    solo: Solo,
    pump: &PumpHandle,
    leave: &CancellationToken,
    shutdown: &CancellationToken,
) -> (Hindrances, [BoxFuture<'static, ()>; 2]) {
    let (hindrance_to, hindrance) = watch::channel(None);
    let owning = solo.run(pump.clone(), hindrance_to, shutdown.clone());
    let draining = drain_at_once(leave.clone(), shutdown.clone());
    (Hindrances::Solo(hindrance), [owning.boxed(), draining.boxed()])
}

/// Its part in routing, where the keys of a fleet are routed.
async fn part_in_routing(
    config: &WorkerConfig,
    adapters: &Adapters,
    limit: &DispatchLimit,
    around: &Surroundings<'_>,
    off: &CancellationToken,
) -> Result<Option<Routing>, StartError> {
    let (Some(fleet), Some(wire)) = (&adapters.fleet, routing::wire(config)) else {
        return Ok(None);
    };
    let ground = Ground {
        handlers: adapters.handlers.clone(),
        limit: limit.clone(),
        log: adapters.observer.clone().map(|log| Arc::new(log) as Arc<dyn ExecutionLog>),
        object: fleet.prefix.as_str().to_owned(),
        seats: config.live.execution.concurrency.resolve(around.cpus) as usize,
        advertised: around.address,
        leave: around.stop.clone(),
        off: off.clone(),
    };
    routing::start(config, wire, ground).await.map(Some)
}

/// There is nobody to hand anything to: the pump drains once it is to leave.
async fn drain_at_once(leave: CancellationToken, drained: CancellationToken) {
    leave.cancelled().await;
    drained.cancel();
}

/// Varies hashes and jitter between processes.
fn seed() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low
}

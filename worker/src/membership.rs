//! One object's part in a fleet: its membership in etcd beside its pump.

use std::sync::Arc;
use std::time::Duration;

use keyweir_contract::WorkerConfig;
use keyweir_core::Ordinal;
use keyweir_engine::error_chain;
use keyweir_engine::ownership::{Neighbours, Owners, OwnershipSnapshot, Placing, Settings};
use keyweir_engine::ports::StartAt;
use keyweir_engine::pump::{Allowance, Departed, Ports, PumpHandle, Snapshot, Trouble};
use keyweir_engine::solo::Hindrance;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::reach::Reach;
use crate::routing::Routing;
use crate::wiring::{Fleet, StartError};

/// What membership stands on.
pub(crate) struct Membership {
    pub(crate) ports: Ports,
    pub(crate) start: StartAt,
    pub(crate) discovery: Duration,
    pub(crate) departed: mpsc::Receiver<Departed>,
    /// Tells the pump until when it may dispatch.
    pub(crate) limit: watch::Sender<Option<Allowance>>,
    pub(crate) pump: PumpHandle,
    /// By which rule it finds its shards.
    pub(crate) placing: Placing,
    /// How many CPUs it may count on: its share of the work beside the others'.
    pub(crate) cpus: u32,
    /// Where it says what it does.
    pub(crate) page: Option<String>,
    /// What only one process at a time can call itself.
    pub(crate) worker: Option<Arc<str>>,
    /// How long executing records may finish, as the manifest says it now.
    pub(crate) drain: watch::Receiver<Duration>,
    /// Its handlers that can't be reached.
    pub(crate) reach: Reach,
    /// How records come to it from other members, where keys are routed.
    pub(crate) routing: Option<Routing>,
    /// Cancelled = hand everything over.
    pub(crate) leave: CancellationToken,
    /// Cancelled by this once everything is handed over: the pump may drain and end.
    pub(crate) drained: CancellationToken,
}

/// What keeps an object from owning its shards, whoever decides about them.
#[derive(Clone)]
pub(crate) enum Hindrances {
    Solo(watch::Receiver<Hindrance>),
    Fleet(watch::Receiver<Arc<OwnershipSnapshot>>),
}

impl Hindrances {
    /// What it is now; `None` = nothing.
    pub(crate) fn now(&self) -> Option<Trouble> {
        let (about, reason, text) = match self {
            Self::Solo(solo) => {
                let error = solo.borrow().clone()?;
                (error.about(), error.reason(), error_chain(error.as_ref()))
            }
            Self::Fleet(fleet) => {
                let said = fleet.borrow();
                let hindrance = said.hindrance.as_ref().map(|why| (why.about, why.reason, why.text.clone()));
                let joining = || ("coordination", "NotJoined", "not yet a member".to_owned());
                hindrance.or_else(|| said.member.is_none().then(joining))?
            }
        };
        Some(Trouble { about: about.to_owned(), reason, text })
    }

    /// What all members know of each other; `None` where there is only one.
    pub(crate) fn fleet(&self) -> Option<Arc<OwnershipSnapshot>> {
        match self {
            Self::Solo(_) => None,
            Self::Fleet(fleet) => Some(Arc::clone(&fleet.borrow())),
        }
    }
}

/// By which rule a process of that ordinal finds its shards, and what tells it how many ordinals there are.
pub(crate) fn placing(
    config: &WorkerConfig,
    ordinal: Option<u32>,
) -> Result<(Placing, watch::Sender<u32>), StartError> {
    let replicas = watch::Sender::new(config.live.replicas.unwrap_or_default());
    if !config.fixed.coordination.is_static() {
        return Ok((Placing::Dynamic, replicas));
    }
    let Some(ordinal) = ordinal.map(Ordinal) else {
        let what = "coordination.placement: Static is for workers that know their ordinal: say --ordinal N, from 0 on, or \
                    run it in a StatefulSet";
        return Err(StartError::Unsupported { what: what.to_owned() });
    };
    Ok((Placing::Static { ordinal, replicas: replicas.subscribe() }, replicas))
}

/// Joins the fleet; gives what it says of itself, and its tasks.
pub(crate) fn join(
    config: &WorkerConfig,
    fleet: Fleet,
    membership: Membership,
    member: &Arc<str>,
) -> (watch::Receiver<Arc<OwnershipSnapshot>>, Vec<JoinHandle<()>>) {
    let Membership { ports, start, discovery, departed, limit, pump, drain, reach, routing, .. } = membership;
    let Membership { placing, cpus, page, worker, leave, drained, .. } = membership;
    let (address, wire, neighbours) = match routing {
        Some(Routing { address, wire, neighbours, .. }) => (Some(address), Some(wire), neighbours),
        None => (None, None, Neighbours::none()),
    };
    let (status, said) = watch::channel(Arc::default());
    let (healthy_to, healthy) = watch::channel(true);
    let settings = Settings {
        prefix: fleet.prefix,
        object_uid: config.object.uid.clone(),
        member_uid: worker.as_ref().unwrap_or(member).to_string(),
        placing,
        sole_incarnation: worker.is_some(),
        address,
        page,
        wire,
        capacity: cpus,
        zone: None,
        ttl: fleet.ttl,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        start,
        discovery,
        drain,
        order: config.order_hash().into(),
        streams: crate::wiring::streams(config),
    };
    let snapshots = pump.snapshots();
    let owners = Owners {
        settings,
        store: fleet.store,
        ports,
        pumps: Arc::new(pump),
        healthy,
        departed,
        neighbours,
        limit,
        status,
        leave,
    };
    let watching = watch_health(snapshots, reach, healthy_to, drained.clone()).in_current_span();
    let watching = tokio::spawn(watching);
    let taking_part = async move {
        owners.run().await;
        drained.cancel();
    };
    let taking_part = tokio::spawn(taking_part.in_current_span());
    (said, vec![watching, taking_part])
}

/// A member whose handler or source is down takes no shards while others can.
async fn watch_health(
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut reach: Reach,
    healthy: watch::Sender<bool>,
    cancel: CancellationToken,
) {
    loop {
        let down = |about: &str| about == "source" || about.starts_with("handler/");
        let works = !snapshots.borrow_and_update().troubles.iter().any(|trouble| down(&trouble.about));
        let well = works && reach.borrow_and_update().is_empty();
        healthy.send_if_modified(|known| std::mem::replace(known, well) != well);
        tokio::select! {
            biased;
            // The end first: nobody asks any more.
            () = cancel.cancelled() => return,
            changed = snapshots.changed() => if changed.is_err() { return },
            // Last: it changes seldom. Once nobody asks any more, the pump is about to end.
            changed = reach.changed() => if changed.is_err() { return },
        }
    }
}

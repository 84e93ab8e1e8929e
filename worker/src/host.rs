//! One process, many objects: started, changed, restarted and stopped, each on its own.
//!
//! What one object does (fail to start, stop, panic) harms no other. Readers outside see [`ObjectView`]s through one
//! watch channel and never wait for the host.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use keyweir_contract::WorkerConfig;
use keyweir_contract::worker_config::RunState;
use keyweir_embedded::{DataDir, DataDirOptions, OpenError};
use keyweir_engine::notices::Notices;
use keyweir_engine::ownership::OwnershipSnapshot;
use keyweir_engine::ports::ParkedStore;
use keyweir_engine::pump::{Activity, PumpHandle, PumpReport, Snapshot, Trouble};
use keyweir_handlers::Registry;
use keyweir_routing::RoutingCounters;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cpus;
use crate::http::{self, Server};
use crate::lag::Lag;
use crate::membership::{self, Hindrances};
use crate::object::{Object, Surroundings};
use crate::reach::Reach;
use crate::routing::Sight;
use crate::signals::Signals;
use crate::wiring::StartError;

/// What a process is made with.
#[derive(Default)]
pub struct HostOptions {
    /// The data directory; `None` = there is none.
    pub data: Option<PathBuf>,
    /// Where `/livez`, `/readyz`, `/metrics` and the local endpoints listen; `None` = nowhere. Port 0 = any free one.
    pub listen: Option<SocketAddr>,
    /// Handlers compiled in, by name.
    pub natives: Registry,
    /// How this process calls itself in the event log.
    pub member: String,
    /// What only one process at a time can call itself, such as the uid of its pod; the next one of that name proves that
    /// this one is dead. `None` = the id of the data directory, where there is one.
    pub worker: Option<String>,
    /// Which one it is of the workers that have fixed identities; `None` = it has none.
    pub ordinal: Option<u32>,
    /// Where members of its objects reach it, if they don't find it where it listens.
    pub address: Option<IpAddr>,
    /// What it may count on where no quota limits its CPUs.
    pub share: cpus::Share,
}

/// Why a process could not begin.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The data directory can't be used.
    #[error("failed to open the data directory")]
    DataDirectory(#[source] OpenError),
    /// Opening the data directory panicked, or the runtime is ending.
    #[error("failed to finish opening the data directory")]
    Interrupted(#[source] tokio::task::JoinError),
    /// Nothing can listen there.
    #[error("failed to listen on {address}; choose another address with --listen, port 0 for any free one")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What became of one configuration.
#[derive(Debug)]
pub enum Applied {
    /// A new object was started.
    Started,
    /// Nothing has changed.
    Unchanged,
    /// Live settings were taken up.
    Tuned,
    /// It was drained and started anew, since more than live settings had changed.
    Restarted,
    /// It was drained, because the manifest is gone or says `Stopped`.
    Stopped,
    /// It could not be started.
    Failed(StartError),
}

/// An object as readers outside see it.
#[derive(Clone)]
pub struct ObjectView {
    name: Arc<str>,
    pump: PumpHandle,
    parked: Option<Arc<dyn ParkedStore>>,
    hindrances: Hindrances,
    lag: watch::Receiver<Option<Lag>>,
    kept_aside: watch::Receiver<Option<u64>>,
    notices: Notices,
    reach: Reach,
    routing: Option<Sight>,
    leave: CancellationToken,
}

impl std::fmt::Debug for ObjectView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectView").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An object that can't begin yet.
#[derive(Clone, Debug)]
pub struct Awaited {
    /// `namespace/name`.
    pub name: String,
    /// What it lacks.
    pub troubles: Vec<Trouble>,
}

/// All objects of a process, as readers outside see them.
pub type Views = watch::Receiver<Vec<ObjectView>>;

impl ObjectView {
    pub(crate) fn of(object: &Object) -> Self {
        Self {
            name: object.name().into(),
            pump: object.pump().clone(),
            parked: object.parked().cloned(),
            hindrances: object.hindrances(),
            lag: object.lag_watch(),
            kept_aside: object.kept_aside_watch(),
            notices: object.notices(),
            reach: object.reach(),
            routing: object.routing().cloned(),
            leave: object.leaving(),
        }
    }

    /// `namespace/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its pump last said.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.pump.snapshot()
    }

    /// Its pump.
    pub fn pump(&self) -> &PumpHandle {
        &self.pump
    }

    /// Where its parked records are.
    pub fn parked(&self) -> Option<&Arc<dyn ParkedStore>> {
        self.parked.as_ref()
    }

    /// How far it is behind; `None` = not known.
    pub fn lag(&self) -> Option<Lag> {
        self.lag.borrow().clone()
    }

    /// How many records are kept aside; `None` = not known.
    pub fn kept_aside(&self) -> Option<u64> {
        *self.kept_aside.borrow()
    }

    /// What has happened with it that people should hear of.
    pub fn notices(&self) -> &Notices {
        &self.notices
    }

    /// What is wrong with it; never a shard that another member owns, nor that it was asked to stop.
    pub fn troubles(&self, snapshot: &Snapshot) -> Vec<Trouble> {
        let stopped = (snapshot.activity == Activity::Stopped).then(|| Trouble {
            about: "records".to_owned(),
            reason: "Stopped",
            text: "a record could not be handled and the policy says Stop".to_owned(),
        });
        let hindrance = stopped.or_else(|| self.hindrances.now().filter(|_| !self.leave.is_cancelled()));
        let unreached = self.reach.borrow();
        let unreached = unreached.iter().filter_map(|unreached| unreached.told(snapshot));
        let unavailable = self.routing.iter().flat_map(Sight::troubles);
        let said = hindrance.into_iter().chain(snapshot.troubles.iter().cloned()).chain(unavailable);
        said.chain(unreached).collect()
    }

    /// What keeps it from being ready, in words: what is wrong with it, and that it was asked to stop.
    pub fn missing(&self, snapshot: &Snapshot) -> Vec<String> {
        let stopping = self.leave.is_cancelled() && snapshot.activity != Activity::Stopped;
        let stopping = stopping.then(|| "Stopping: it finishes what is executing".to_owned());
        let troubles = self.troubles(snapshot).into_iter();
        let said =
            troubles.map(|trouble| format!("{} ({}): {}", trouble.reason, trouble.about, trouble.text));
        stopping.into_iter().chain(said).collect()
    }

    /// What its routing has counted; `None` where keys are not routed.
    pub fn routing(&self) -> Option<RoutingCounters> {
        self.routing.as_ref().map(Sight::counters)
    }

    /// What all members know of each other; `None` where there is only one.
    pub fn fleet(&self) -> Option<Arc<OwnershipSnapshot>> {
        self.hindrances.fleet()
    }
}

/// One process, many objects.
pub struct Host {
    objects: Vec<Object>,
    ended: Vec<(String, Option<PumpReport>)>,
    views: watch::Sender<Vec<ObjectView>>,
    at_rest: watch::Sender<bool>,
    awaited: watch::Sender<Vec<Awaited>>,
    directory: Option<DataDir>,
    natives: Registry,
    member: Arc<str>,
    worker: Option<Arc<str>>,
    ordinal: Option<u32>,
    address: Option<IpAddr>,
    /// How many CPUs it may count on.
    cpus: u32,
    stop: CancellationToken,
    hurry: CancellationToken,
    server: Option<Server>,
}

impl Host {
    /// Opens the data directory and begins to listen; nothing is handled yet.
    pub async fn start(options: HostOptions) -> Result<Self, HostError> {
        let directory = match options.data {
            Some(path) => {
                let opened = tokio::task::spawn_blocking(|| DataDir::open(path, DataDirOptions::default()));
                let opened = opened.await.map_err(HostError::Interrupted)?;
                Some(opened.map_err(HostError::DataDirectory)?)
            }
            None => None,
        };
        let of_directory = || directory.as_ref().map(|directory| directory.cluster_id().into());
        let worker = options.worker.map(Into::into).or_else(of_directory);
        let (views, seen) = watch::channel(Vec::new());
        let (at_rest, rests) = watch::channel(false);
        let (awaited, waits) = watch::channel(Vec::new());
        let server = http::serve(options.listen, directory.as_ref(), seen, rests, waits).await?;
        Ok(Self {
            objects: Vec::new(),
            ended: Vec::new(),
            views,
            at_rest,
            awaited,
            directory,
            natives: options.natives,
            member: options.member.into(),
            worker,
            ordinal: options.ordinal,
            address: options.address,
            cpus: cpus::available(options.share),
            stop: CancellationToken::new(),
            hurry: CancellationToken::new(),
            server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().and_then(Server::address)
    }

    /// Where others find what it says of itself.
    fn page(&self) -> Option<String> {
        let listens = self.server.as_ref().and_then(Server::address)?;
        let address = self.address.or_else(|| Some(listens.ip()).filter(|ip| !ip.is_unspecified()))?;
        Some(SocketAddr::new(address, listens.port()).to_string())
    }

    /// The objects, for readers outside.
    pub fn views(&self) -> Views {
        self.views.subscribe()
    }

    /// The embedded log, where there is a data directory.
    pub fn directory(&self) -> Option<&DataDir> {
        self.directory.as_ref()
    }

    /// Says what an object lacks that can't begin yet; nothing = it can.
    pub fn awaits(&self, config: &WorkerConfig, troubles: Vec<Trouble>) {
        let name = crate::wiring::object_name(config);
        let lacking = (!troubles.is_empty()).then_some(Awaited { name, troubles });
        self.awaited.send_replace(lacking.into_iter().collect());
    }

    /// Makes the objects be exactly these. Says what became of each, by `namespace/name`.
    pub async fn apply(&mut self, configs: Vec<WorkerConfig>) -> Vec<(String, Applied)> {
        let mut outcomes = Vec::new();
        let wanted: Vec<String> = configs.iter().map(crate::wiring::object_name).collect();
        while let Some(gone) =
            self.objects.iter().position(|object| !wanted.contains(&object.name().to_owned()))
        {
            let name = self.objects[gone].name().to_owned();
            self.stop(gone).await;
            outcomes.push((name, Applied::Stopped));
        }
        let all_stopped = configs.iter().all(|config| config.live.state == RunState::Stopped);
        for config in configs {
            let name = crate::wiring::object_name(&config);
            outcomes.push((name, self.apply_one(config).await));
        }
        self.at_rest.send_replace(all_stopped && !wanted.is_empty());
        self.views.send_replace(self.objects.iter().map(ObjectView::of).collect());
        outcomes
    }

    /// As [`Host::apply`], which waits for the drain of what it replaces: a signal meanwhile drains all, a further one
    /// forces. Says also whether there was one.
    pub async fn apply_heeding(
        &mut self,
        configs: Vec<WorkerConfig>,
        signals: &mut Signals,
    ) -> (Vec<(String, Applied)>, bool) {
        let (stop, hurry) = (self.stop.clone(), self.hurry.clone());
        let mut applying = std::pin::pin!(self.apply(configs));
        loop {
            tokio::select! {
                biased;
                // A signal first: it must not wait for what it ends.
                () = signals.next() => if stop.is_cancelled() { hurry.cancel() } else { stop.cancel() },
                outcomes = &mut applying => return (outcomes, stop.is_cancelled()),
            }
        }
    }

    async fn apply_one(&mut self, config: WorkerConfig) -> Applied {
        let name = crate::wiring::object_name(&config);
        let stops = config.live.state == RunState::Stopped;
        let Some(place) = self.objects.iter().position(|object| object.name() == name) else {
            return if stops { Applied::Stopped } else { self.begin(config, Applied::Started).await };
        };
        if stops {
            self.stop(place).await;
            return Applied::Stopped;
        }
        let present = self.objects[place].config();
        if *present == config && !self.objects[place].has_ended() {
            return Applied::Unchanged;
        }
        if present.restart_hash() == config.restart_hash()
            && self.objects[place].tune(config.live.clone()).await.is_ok()
        {
            return Applied::Tuned;
        }
        // What can't start must not end what runs.
        let placed = || membership::placing(&config, self.ordinal).map(drop);
        if let Err(error) = crate::wiring::check(&config, &self.natives).and_then(|()| placed()) {
            return Applied::Failed(error);
        }
        self.stop(place).await;
        self.begin(config, Applied::Restarted).await
    }

    async fn begin(&mut self, config: WorkerConfig, applied: Applied) -> Applied {
        let page = self.page();
        let around = Surroundings {
            directory: self.directory.as_ref(),
            natives: &self.natives,
            member: &self.member,
            worker: self.worker.as_ref(),
            ordinal: self.ordinal,
            address: self.address,
            page: page.as_deref(),
            cpus: self.cpus,
            stop: self.stop.child_token(),
            hurry: self.hurry.child_token(),
        };
        match Object::start(config, around).await {
            Ok(object) => {
                self.objects.push(object);
                applied
            }
            Err(error) => Applied::Failed(error),
        }
    }

    async fn stop(&mut self, place: usize) {
        let object = self.objects.remove(place);
        object.shut_down();
        let name = object.name().to_owned();
        self.ended.push((name, object.ended().await));
    }

    /// Whether every object has ended by itself (policy `Stop`).
    pub fn has_ended(&self) -> bool {
        !self.objects.is_empty() && self.objects.iter().all(Object::has_ended)
    }

    /// Tells people of something that concerns all objects.
    pub fn tell(&self, reason: &'static str, text: &str) {
        for object in &self.objects {
            object.notices().tell(reason, text.to_owned());
        }
    }

    /// Cancels what is executing: the second signal.
    pub fn hurry(&self) -> CancellationToken {
        self.hurry.clone()
    }

    /// Drains everything, all objects at once, and ends. Gives each object's report; `None` = its pump panicked.
    pub async fn shut_down(mut self) -> Vec<(String, Option<PumpReport>)> {
        self.stop.cancel();
        for object in std::mem::take(&mut self.objects) {
            let name = object.name().to_owned();
            self.ended.push((name, object.ended().await));
        }
        self.views.send_replace(Vec::new());
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        if let Some(directory) = self.directory.take() {
            // Whoever still holds a part closes it; nothing is lost either way.
            let _ = tokio::task::spawn_blocking(move || directory.close()).await;
        }
        self.ended
    }
}

//! A fleet: real worker processes of one object on a real Kafka and a real etcd, or on etcd alone, started, stopped, killed and
//! frozen under load; at the end `keyweir verify` judges the event logs of all of them together.
//!
//! ```text
//!  Load ──records──▶ Kafka ──▶ keyweir-worker ×N ──▶ an event log each ──┐
//!   └──────────────────────── sent.jsonl ────────────────────────────────┴──▶ keyweir verify ──▶ Findings
//! ```
//! The programs are those of `cargo build --release --locked --workspace --bins`.

mod changes;
mod error;
mod link;
mod live;
mod load;
mod meter;
mod proof;
mod space;
mod timeline;
mod worker;
mod writes;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

pub use changes::{Cost, CostTable, Crew, Trial};
pub use error::FleetError;
pub use link::Link;
pub use load::unix_millis;
pub use load::{Load, Sent};
pub use meter::Meter;
pub use proof::{Broken, Findings};
pub use space::Space;
pub use timeline::{Latencies, Timeline};
pub use worker::Worker;
pub use writes::Writes;

use crate::kafka::{Kafka, unique};
use crate::process;
use crate::scratch::Scratch;
use crate::wait;

/// How long anything may take that should happen soon: generous, since the machine may be busy with everything else.
const SOON: Duration = Duration::from_secs(60);

/// What a fleet is made of.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// Partitions of its topic.
    pub partitions: i32,
    /// How long a silent member counts as alive, as a manifest says it (`2s`).
    pub member_ttl: &'static str,
    /// By which rule shards find their workers, as a manifest says it.
    pub placement: &'static str,
    /// The handler, as a manifest says it.
    pub handler: Value,
    /// More of the manifest's `spec`.
    pub spec: Value,
    /// Whether workers write every step down for `keyweir verify`: a benchmark would measure that.
    pub event_logs: bool,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self {
            partitions: 8,
            member_ttl: "2s",
            placement: "Dynamic",
            handler: json!({"builtin": {"type": "Delay", "delay": "10ms"}}),
            spec: json!({}),
            event_logs: true,
        }
    }
}

/// Where a fleet's records come from.
#[derive(Debug)]
enum Origin {
    Kafka(Kafka),
    /// A path of the etcd at that endpoint.
    Etcd(String),
}

/// Workers of one object. Dropping it kills them and removes their files.
#[derive(Debug)]
pub struct Fleet {
    dir: Scratch,
    origin: Origin,
    name: String,
    topic: String,
    partitions: i32,
    config: Value,
    event_logs: bool,
    workers: BTreeMap<usize, Worker>,
    started: usize,
}

impl Fleet {
    /// A fleet without workers yet: its topic is made and its manifest rendered.
    ///
    /// # Errors
    /// When the broker refuses, or the manifest is wrong.
    pub fn make(kafka: Kafka, etcd: &str, options: &FleetOptions) -> Result<Fleet, FleetError> {
        let name = unique("fleet");
        kafka.create_topic(&name, options.partitions, &[]).map_err(FleetError::Kafka)?;
        let source = json!({"kafka": {
            "bootstrapServers": [kafka.bootstrap()],
            "topics": [name],
            "group": name,
            "partitionDiscoveryInterval": "2s",
        }});
        let topic = name.clone();
        Fleet::rendered(name, topic, Origin::Kafka(kafka), source, etcd, options)
    }

    /// The same on every change below a path of that etcd from now on; its slots are the options' partitions.
    ///
    /// # Errors
    /// When the manifest is wrong.
    pub fn make_on_etcd(etcd: &str, options: &FleetOptions) -> Result<Fleet, FleetError> {
        let name = unique("fleet");
        let path = format!("/things/{name}");
        let source = json!({"etcd": {
            "endpoints": [etcd],
            "paths": [path],
            "slots": options.partitions,
            "delivery": "Every",
            "startAt": "Now",
        }});
        Fleet::rendered(name, path, Origin::Etcd(etcd.to_owned()), source, etcd, options)
    }

    fn rendered(
        name: String,
        topic: String,
        origin: Origin,
        source: Value,
        etcd: &str,
        options: &FleetOptions,
    ) -> Result<Fleet, FleetError> {
        let dir = Scratch::make("fleet").map_err(FleetError::Prepare)?;
        let manifest = manifest(&name, source, etcd, options);
        let path = dir.path().join("manifest.yaml");
        std::fs::write(&path, manifest.to_string()).map_err(FleetError::Prepare)?;
        let mut render = Command::new(program("keyweir"));
        render.args(["render", "-f"]).arg(&path);
        let said = process::run("keyweir render", render).map_err(FleetError::Process)?;
        let mut config: Value = serde_json::from_str(&said).map_err(|source| FleetError::Answer {
            program: "keyweir render",
            said,
            source,
        })?;
        // A pod has no data directory.
        config["fixed"]["process"]["dataDirectory"] = Value::Null;
        let FleetOptions { partitions, event_logs, .. } = *options;
        let workers = BTreeMap::new();
        Ok(Fleet { dir, origin, name, topic, partitions, config, event_logs, workers, started: 0 })
    }

    /// Its topic, the group has the same name; or its path.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Where its files lie.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The manifest's file.
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.dir.path().join("manifest.yaml")
    }

    fn kafka(&self) -> Result<&Kafka, FleetError> {
        match &self.origin {
            Origin::Kafka(kafka) => Ok(kafka),
            Origin::Etcd(_) => Err(FleetError::Prepare(io::Error::other("this fleet reads etcd"))),
        }
    }

    /// The workers that run, by their numbers.
    pub fn running(&self) -> impl Iterator<Item = usize> + '_ {
        self.workers.keys().copied()
    }

    /// One worker.
    ///
    /// # Panics
    /// When there is none of that number.
    #[must_use]
    pub fn worker(&self, number: usize) -> &Worker {
        &self.workers[&number]
    }

    /// Starts a worker; it need not be a member yet.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&mut self) -> Result<usize, FleetError> {
        self.start_with(|_| {})
    }

    /// Starts a worker whose configuration differs from the others'.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_with(&mut self, change: impl FnOnce(&mut Value)) -> Result<usize, FleetError> {
        let mut config = self.config.clone();
        change(&mut config);
        self.launch(config, &[], None)
    }

    /// Starts a worker with more variables in its environment.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_in(&mut self, environment: &[(&str, &str)]) -> Result<usize, FleetError> {
        self.launch(self.config.clone(), environment, None)
    }

    /// Starts a worker in a network namespace.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_inside(&mut self, space: &Space) -> Result<usize, FleetError> {
        self.launch(self.config.clone(), &[], Some(space))
    }

    fn launch(
        &mut self,
        mut config: Value,
        environment: &[(&str, &str)],
        space: Option<&Space>,
    ) -> Result<usize, FleetError> {
        config["fixed"]["process"]["eventLog"] = self.event_logs.into();
        let number = self.started;
        let worker = Worker::start(number, self.dir.path(), config, environment, space)?;
        self.started += 1;
        self.workers.insert(number, worker);
        Ok(number)
    }

    /// Asks a worker to end (SIGTERM) and waits for it: what it has is handed over.
    ///
    /// # Errors
    /// When it does not end in order.
    pub fn leave(&mut self, number: usize) -> Result<(), FleetError> {
        let Some(mut worker) = self.workers.remove(&number) else {
            return Ok(());
        };
        let status = worker.stop(SOON)?;
        if status.success() {
            return Ok(());
        }
        Err(FleetError::Unclean { worker: number, status, log: worker.log_tail(40) })
    }

    /// Asks several workers to end at once (SIGTERM), and waits for all of them.
    ///
    /// # Errors
    /// When one does not end in order.
    pub fn leave_together(&mut self, numbers: &[usize]) -> Result<(), FleetError> {
        for number in numbers {
            self.signal(*number, Signal::SIGTERM)?;
        }
        for number in numbers {
            let Some(mut worker) = self.workers.remove(number) else { continue };
            let status = wait::some("the end of a worker", SOON, || worker.ended())
                .map_err(|source| FleetError::Late { source, state: worker.log_tail(40) })?;
            if !status.success() {
                return Err(FleetError::Unclean { worker: *number, status, log: worker.log_tail(40) });
            }
        }
        Ok(())
    }

    /// Kills a worker (SIGKILL).
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn kill9(&mut self, number: usize) -> Result<(), FleetError> {
        self.workers.remove(&number).map_or(Ok(()), |mut worker| worker.kill9())
    }

    /// Whether a worker runs. One that has ended by itself is none of the fleet's any more.
    pub fn is_alive(&mut self, number: usize) -> bool {
        let alive = self.must_run(number).is_ok() && self.workers.contains_key(&number);
        if !alive {
            self.workers.remove(&number);
        }
        alive
    }

    /// Freezes a worker (SIGSTOP).
    ///
    /// # Errors
    /// When it can't be signalled.
    pub fn freeze(&mut self, number: usize) -> Result<(), FleetError> {
        self.signal(number, Signal::SIGSTOP)
    }

    /// Lets a frozen worker go on (SIGCONT).
    ///
    /// # Errors
    /// When it can't be signalled.
    pub fn thaw(&mut self, number: usize) -> Result<(), FleetError> {
        self.signal(number, Signal::SIGCONT)
    }

    fn signal(&mut self, number: usize, signal: Signal) -> Result<(), FleetError> {
        self.workers.get_mut(&number).map_or(Ok(()), |worker| worker.signal(signal))
    }

    /// Waits until every worker is ready, each shard has one owner among them, and all have their share.
    ///
    /// # Errors
    /// When it does not come to that, or a worker has ended.
    pub fn settle(&mut self) -> Result<(), FleetError> {
        self.settle_among(&self.running().collect::<Vec<_>>())
    }

    /// The same among some of the workers: the others are frozen or cut off.
    ///
    /// # Errors
    /// When it does not come to that, or one of these workers has ended.
    pub fn settle_among(&mut self, numbers: &[usize]) -> Result<(), FleetError> {
        let mut state = String::new();
        let mut alive = Ok(());
        let settled = wait::until("every shard with one owner, and fair shares", SOON, || {
            alive = numbers.iter().try_for_each(|number| self.must_run(*number));
            state = self.unsettled(numbers).unwrap_or_default();
            alive.is_err() || state.is_empty()
        });
        alive?;
        settled.map_err(|source| FleetError::Late { source, state })
    }

    fn must_run(&mut self, number: usize) -> Result<(), FleetError> {
        self.workers.get_mut(&number).map_or(Ok(()), Worker::must_run)
    }

    fn unsettled(&self, numbers: &[usize]) -> Option<String> {
        let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut loads = Vec::new();
        for number in numbers {
            let worker = self.workers.get(number)?;
            if let Some(missing) = worker.missing() {
                return Some(format!("worker {number} is not ready: {missing}"));
            }
            let shards = worker.shards();
            loads.push(shards.len());
            for shard in shards {
                owners.entry(shard).or_default().push(*number);
            }
        }
        let uneven = loads.iter().max()?.abs_diff(*loads.iter().min()?) > 1;
        let single = owners.values().all(|of| of.len() == 1);
        let all = owners.len() == self.partitions.unsigned_abs() as usize;
        (uneven || !single || !all).then(|| format!("shards by worker: {owners:?}"))
    }

    /// Purges what the object of that uid has left.
    ///
    /// # Errors
    /// When something is left, with what the program said.
    pub fn purge(&self, uid: &str) -> Result<(), FleetError> {
        let mut config = self.config.clone();
        config["object"]["uid"] = uid.into();
        let file = self.dir.path().join("purge.json");
        std::fs::write(&file, config.to_string()).map_err(FleetError::Prepare)?;
        let mut command = Command::new(program("keyweir-worker"));
        command.args(["purge", "--config"]).arg(file);
        process::run("keyweir-worker purge", command).map(drop).map_err(FleetError::Process)
    }

    /// Begins to produce records.
    ///
    /// # Errors
    /// When no producer can be made.
    pub fn load(&self, records_per_second: u32, keys: u32) -> Result<Load, FleetError> {
        Load::start(self.kafka()?, &self.topic, self.partitions, records_per_second, keys)
            .map_err(FleetError::Kafka)
    }

    /// Begins to change keys below its path; it must read etcd.
    ///
    /// # Errors
    /// When it reads something else.
    pub fn writes(&self, writes_per_second: u32, keys: u32) -> Result<Writes, FleetError> {
        match &self.origin {
            Origin::Etcd(endpoint) => {
                let slots = self.partitions.unsigned_abs();
                Ok(Writes::start(endpoint, &self.topic, slots, writes_per_second, keys))
            }
            Origin::Kafka(_) => Err(FleetError::Prepare(io::Error::other("this fleet reads Kafka"))),
        }
    }

    /// Waits until everything that was sent is done, as the event logs say it.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn handled(&self, sent: &[Sent], within: Duration) -> Result<(), FleetError> {
        let mut missing = sent.len();
        wait::until("everything that was sent is done", within, || {
            missing = Timeline::read(&self.event_logs()).unwrap_or_default().never_done(sent);
            missing == 0
        })
        .map_err(|source| FleetError::Late { source, state: format!("{missing} of {} are not", sent.len()) })
    }

    /// Waits until everything that was sent is complete, as the group's offsets say it.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn drained(&self, within: Duration) -> Result<(), FleetError> {
        let kafka = self.kafka()?;
        let mut lag = Ok(0);
        wait::until("a lag of 0", within, || {
            lag = kafka.lag(&self.name, &self.topic);
            matches!(lag, Ok(0))
        })
        .map_err(|source| FleetError::Late { source, state: format!("the lag is {lag:?}") })
    }

    /// What `keyweir WORDS -f MANIFEST` prints.
    ///
    /// # Errors
    /// When it fails; the error carries what it said.
    pub fn ask(&self, words: &[&str]) -> Result<String, FleetError> {
        let manifest = self.manifest().display().to_string();
        self.ask_of(&[words, &["-f", &manifest]].concat())
    }

    /// What `keyweir WORDS` prints.
    ///
    /// # Errors
    /// When it fails; the error carries what it said.
    pub fn ask_of(&self, words: &[&str]) -> Result<String, FleetError> {
        let mut command = Command::new(program("keyweir"));
        command.args(words);
        process::run("keyweir", command).map_err(FleetError::Process)
    }

    /// Judges all event logs together, those of workers that are gone included.
    ///
    /// # Errors
    /// When the logs can't be read.
    pub fn verify(&self, sent: &[Sent]) -> Result<Findings, FleetError> {
        proof::verify(self.dir.path(), &self.event_logs(), &self.topic, sent)
    }

    fn event_logs(&self) -> Vec<PathBuf> {
        (0..self.started).map(|number| self.event_log(number)).collect()
    }

    /// The event log of a worker.
    #[must_use]
    pub fn event_log(&self, number: usize) -> PathBuf {
        worker::event_log(self.dir.path(), number)
    }
}

fn manifest(name: &str, source: Value, etcd: &str, options: &FleetOptions) -> Value {
    let mut spec = json!({
        "source": source,
        "coordination": {
            "type": "Etcd",
            "etcd": {"endpoints": [etcd], "prefix": "/keyweir/fleets"},
            "memberTTL": options.member_ttl,
            "placement": options.placement,
        },
        "handler": options.handler,
    });
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), options.spec.as_object()) {
        spec.extend(more.clone());
    }
    json!({
        "apiVersion": "keyweir.io/v1alpha1",
        "kind": "StreamConsumer",
        "metadata": {"name": name, "namespace": "fleets"},
        "spec": spec,
    })
}

/// A program of this workspace, beside the test that runs.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let beside = test.ancestors().skip(1).map(|dir| dir.join(name));
    beside.into_iter().find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}
